//! What a transaction is asked for, and what it answers.

use bytes::Bytes;

use crate::{Version, Versionstamp};

/// A key and its value, as read from a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// What to read from a range: `begin` inclusive, `end` exclusive.
#[derive(Debug, Clone)]
pub struct RangeRead {
    /// First key, inclusive.
    pub begin: Vec<u8>,
    /// Last key, exclusive.
    pub end: Vec<u8>,
    /// At most so many entries; `None` reads all.
    pub limit: Option<usize>,
    /// From the end backwards.
    pub reverse: bool,
    /// Adds no read conflict range.
    pub snapshot: bool,
}

/// An atomic read-modify-write, evaluated at commit, that adds no read conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomicOp {
    /// Little-endian addition, as wide as the operand.
    Add,
    /// Little-endian minimum (a missing value takes the operand).
    Min,
    /// Little-endian maximum.
    Max,
}

/// What a successful commit returns.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The commit's version; the read version for a read-only transaction.
    pub version: Version,
    /// The versionstamp (user version 0) that versionstamped keys and values received;
    /// `None` for a read-only transaction.
    pub versionstamp: Option<Versionstamp>,
}
