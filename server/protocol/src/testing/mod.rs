//! What tests of this crate and of those above build rooms with: a slow reference that resolves states from scratch, a
//! generator of random rooms, and the targets of fuzzing. Compiled for tests only (feature `testing`).

mod actions;
pub mod fuzz;
pub mod generator;
pub mod reference;

pub use generator::{Dag, DagPlan, Generated};
pub use reference::{Reference, Verdict};
