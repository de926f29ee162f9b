//! The embedded engine: FoundationDB's model in this process, over redb.
//!
//! ```text
//! transaction ── reads ──▶ snapshot (a redb read transaction, shared by all transactions of one version)
//!     │   buffer (own writes, merged over the snapshot)
//!     └─ commit ─▶ queue ─▶ committer thread ─▶ conflict window ─▶ commit log (one fsync) ─▶ redb tree
//!                                                      publish the version ◀── fire watches ◀──┘
//! ```
//!
//! **Durability.** A batch of transactions is appended to the commit log and fsynced once; then it is applied to the
//! redb tree by a commit that redb keeps in memory, and only then published and acknowledged. Now and then a
//! checkpoint makes the tree durable (redb's `Durability::Immediate` with quick repair) and starts the log over.
//! Opening replays what the log has beyond the tree. redb alone would need two fsyncs and a rewritten allocator state
//! per batch to be durable and quick to reopen; measured, the log makes a lone commit several times cheaper.
//!
//! **Reads block in place.** A point read is a walk down a cached B-tree: microseconds, cheaper than a hop to another
//! thread. It is done inside the async function that asks for it; only a page that is not cached costs a disk read.
//!
//! **Memory.** redb's page cache, the writes of the last five seconds (the conflict window), a bounded queue.

mod committer;
mod conflicts;
mod directory;
#[cfg(test)]
mod fault_tests;
mod held;
mod log;
mod long_read;
mod long_reads;
mod open;
mod queue;
mod shared;
mod transaction;
mod tree;
mod tuning;
mod watches;

pub(crate) use long_read::EmbeddedSnapshot;
pub(crate) use open::Embedded;
pub(crate) use transaction::EmbeddedTransaction;
pub(crate) use watches::EmbeddedWatch;
