//! Moving and keeping a store's data: backups, restoring them, copies between stores, sizes.
//!
//! Knows no Matrix: it moves ordered keys and values, and counts them by the first two elements of their keys (database and
//! table). Both engines keep the same keys and values, so a backup of one can be restored on the other.
//!
//! What stays behind: the rows of this crate itself (see [`lock`]) and the list of processes that use a store.
//!
//! # The file of a backup, format 1
//!
//! All numbers are little-endian and unsigned. A CRC is CRC-32 as in zlib.
//!
//! ```text
//! header      8  "HEARTHBK"
//!             4  format: 1. A newer one is refused by this field alone
//!             4  H, length of what follows (at most 64 KiB)
//!             H  JSON object: server_name, created (milliseconds since 1970), hearth_version, engine, scheduled,
//!                compression ("lz4"), encryption (null or an object, see below)
//!             4  CRC of everything before
//!
//! frames, numbered from 0:
//!             4  B, length of the body
//!             4  CRC of the body
//!             4  CRC of: the frame's number (8 bytes), B, CRC of the body
//!             B  body
//!
//! digest     32  SHA-256 of everything before. The file ends here
//! ```
//!
//! A body (after decryption, where the file is encrypted):
//!
//! ```text
//!             1  kind
//!             4  U, length of the content uncompressed (at most 2 MiB)
//!             *  the content as one block of LZ4
//! ```
//!
//! Contents by kind, in this order in the file:
//!
//! ```text
//! 2 attachment   2  N, length of the name
//!                N  name, UTF-8
//!                *  what is in the file
//! 1 entries         repeated: 2  K, length of the key
//!                             4  V, length of the value
//!                             K  key
//!                             V  value
//!                   in strictly ascending order of keys, over all frames
//! 3 end             JSON object: version (the store's, as of which everything was read), taken (when that was), keys, bytes
//!                   (of keys and values), frames (before this one), attachments (names), subspaces: database, table, keys,
//!                   key_bytes, value_bytes, sha256 (over the entries in key order, each as 4 bytes length and key, 4 bytes
//!                   length and value)
//! ```
//!
//! ## Encryption
//!
//! The header's `encryption` object: `kdf` "argon2id" with `memory_kib`, `iterations`, `lanes` and `salt` (16 bytes); `cipher`
//! "xchacha20poly1305-stream-be32" with `nonce` (19 bytes); `check` (16 bytes); bytes in Base64.
//!
//! argon2id (version 1.3) makes 48 bytes of the passphrase: 32 of key and 16 that must equal `check`, which tells a wrong
//! passphrase from damage. Each body is sealed with XChaCha20-Poly1305 in STREAM framing: its nonce is `nonce`, the frame's number
//! (4 bytes, big-endian), and one byte that is 1 for the end frame and 0 for all others; its associated data is the SHA-256 of the
//! whole header. So a frame that was altered, dropped, repeated or moved, a missing end and an altered header do not open.
//! Without a passphrase the checksums find damage, but not the work of somebody who makes them anew.
//!
//! ## Choices
//!
//! LZ4 in pure Rust (`lz4_flex`, MIT): it builds in a second and without a C compiler, is never the slowest step, and
//! halves what a store holds or better. Zstandard would save a further quarter, for half a minute of building C.
//! Compressed frames of chosen lengths could tell an eavesdropper about content; whoever sees a file sees it once and cannot choose.
//!
//! # Versions
//!
//! Positions in streams are commit versions, and clients keep them. So a store into which data is put must go on at later versions
//! than any in the data: the private module `versions` says how, and [`ArchiveError::VersionBehind`] when it needs a decision.

mod backup;
mod changes;
mod copy;
mod error;
mod file;
mod folder;
pub mod keys;
mod load;
pub mod lock;
mod own;
mod passphrase;
mod progress;
mod records;
mod restore;
mod sizes;
mod summary;
mod sums;
mod task;
mod verify;
mod versions;

#[cfg(test)]
mod tests;

pub use backup::{Attachment, BackupOptions, backup};
pub use copy::{CopyOptions, CopySummary, copy};
pub use error::ArchiveError;
pub use folder::{BackupFile, EXTENSION, default_file_name, header, list, retain};
pub use passphrase::Passphrase;
pub use progress::{Phase, Progress, ProgressFigures};
pub use restore::{RestoreOptions, Restored, restore};
pub use sizes::{Sizes, SubspaceSize, sizes};
pub use summary::{BackupHeader, BackupSummary, SubspaceSum};
pub use verify::verify;
