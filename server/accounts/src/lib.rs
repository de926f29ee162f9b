//! The Accounts database: users, passwords, sessions, devices, profiles, account data, filters, push rules.
//!
//! [`Accounts`] is the only way in. Knows no other database: what spans databases (leaving rooms on deactivation,
//! rewriting member events after a profile change) is done by the caller.
//!
//! No account becomes an administrator by being the first: the flag is given by whoever creates the account (command
//! line, admin API, shared-secret registration) or by [`Accounts::set_admin`].

pub mod account_data;
mod accounts;
mod canonical;
pub mod changes;
pub mod check;
#[cfg(test)]
mod check_tests;
mod clock;
mod contents;
pub mod devices;
mod error;
mod expiry;
pub mod filters;
mod ignored;
pub mod keys;
mod maintenance;
mod passwords;
pub mod profiles;
pub mod push_rules;
pub mod pushers;
mod records;
pub mod registration;
mod registration_mode;
mod registration_tokens;
mod rules_cache;
mod secrets;
mod seen;
mod seen_buffer;
pub mod sessions;
mod successor;
pub mod uia;
pub mod users;

pub use accounts::{Accounts, AccountsConfig, RegistrationMode};
pub use changes::{AccountDatum, Changes};
pub use devices::Device;
pub use error::AccountError;
pub use passwords::{PasswordCost, check_strength as check_password_strength};
pub use profiles::Profile;
pub use registration_tokens::RegistrationToken;
pub use sessions::{NewDevice, Session, Tokens};
pub use uia::{Authorized, Challenge, Stage, UiaOutcome, UiaRequest};
pub use users::{DirectoryEntry, NewUser, User};
