//! Versions, and where they stand among versionstamps.

use foundationdb_tuple::Versionstamp;

/// A commit version: what FoundationDB calls a version. Every commit gets a larger one than all
/// commits before it, across restarts; commits at the same time may share one and differ in their
/// versionstamps. `0` is before everything.
pub type Version = u64;

/// The commit version inside a complete versionstamp.
pub fn version_of(stamp: &Versionstamp) -> Version {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&stamp.as_bytes()[..8]);
    Version::from_be_bytes(bytes)
}

/// The smallest versionstamp of `version`: everything committed before `version` sorts below it.
pub fn first_stamp(version: Version) -> Versionstamp {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&version.to_be_bytes());
    Versionstamp::complete(bytes, 0)
}

/// The largest versionstamp of `version`: everything visible at read version `version` sorts at
/// or below it.
pub fn last_stamp(version: Version) -> Versionstamp {
    let mut bytes = [0xff; 10];
    bytes[..8].copy_from_slice(&version.to_be_bytes());
    Versionstamp::complete(bytes, u16::MAX)
}
