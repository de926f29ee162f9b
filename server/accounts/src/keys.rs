//! The whole keyspace of the Accounts database. Nothing outside this crate knows these keys.
