//! The Accounts database: users, passwords, sessions, devices, profiles, account data, filters, push rules.
//!
//! [`Accounts`] is the only way in. Knows no other database: what spans databases (leaving rooms on deactivation,
//! rewriting member events after a profile change) is done by the caller.
//!
//! No account becomes an administrator by being the first: the flag is given by whoever creates the account (command
//! line, admin API, shared-secret registration) or by [`Accounts::set_admin`].

pub mod account_data;
mod accounts;
pub mod changes;
pub mod devices;
mod error;
pub mod filters;
pub mod keys;
pub mod profiles;
pub mod push_rules;
pub mod pushers;
pub mod registration;
pub mod sessions;
pub mod uia;
pub mod users;

pub use accounts::{Accounts, AccountsConfig, PasswordCost, RegistrationMode};
pub use devices::Device;
pub use error::AccountError;
pub use profiles::Profile;
pub use sessions::{NewDevice, Session, Tokens};
pub use users::{NewUser, User};
