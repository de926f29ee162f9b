//! Numbers and shapes of the format, version 1.

use hearth_store::Bytes;

/// The first bytes of every backup.
pub(super) const MAGIC: [u8; 8] = *b"HEARTHBK";
/// The newest format, and the one that is written.
pub(super) const FORMAT: u32 = 1;
/// Magic, format, length of the header.
pub(super) const PREAMBLE: usize = 16;
/// Longest header, in bytes.
pub(super) const MOST_HEADER: usize = 64 << 10;
/// Before the body of a frame: its length, its CRC, a CRC of both and the frame's number.
pub(super) const FRAME_HEAD: usize = 12;
/// Before the compressed content of a frame: kind and uncompressed length.
pub(super) const CONTENT_HEAD: usize = 5;
/// Entries are gathered to this many bytes before they become a frame.
pub(super) const FULL_FRAME: usize = 256 << 10;
/// All attachments together, in bytes.
pub(crate) const MOST_ATTACHED: usize = 1 << 20;
/// Most bytes of a frame's content, uncompressed: a nearly full frame and one largest entry, or all attachments, or the end
/// with the sums of some ten thousand tables.
pub(super) const MOST_CONTENT: usize = 2 << 20;
/// Most bytes of a frame's body: what does not compress grows by less than this.
pub(super) const MOST_BODY: usize = MOST_CONTENT + (64 << 10);
/// SHA-256 at the end of the file.
pub(super) const DIGEST: usize = 32;

/// Largest key and value, in bytes.
const KEY_BYTES: usize = 10_000;
const VALUE_BYTES: usize = 100_000;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Entries in key order.
    Entries = 1,
    /// A small file.
    Attachment = 2,
    /// The last frame: what all of it was.
    End = 3,
}

impl Kind {
    pub(super) fn of(byte: u8) -> Option<Self> {
        [Self::Entries, Self::Attachment, Self::End].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Appends an entry: lengths of key (2 bytes) and value (4 bytes), little-endian, then both.
pub(crate) fn entry_into(content: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    content.extend_from_slice(&(key.len() as u16).to_le_bytes());
    content.extend_from_slice(&(value.len() as u32).to_le_bytes());
    content.extend_from_slice(key);
    content.extend_from_slice(value);
}

/// Bytes of an entry in a frame's content.
pub(super) fn entry_bytes(key: &[u8], value: &[u8]) -> usize {
    6 + key.len() + value.len()
}

/// The entries of a frame's content; `None` where it is not entries to its last byte.
pub(crate) fn entries(content: &Bytes) -> Option<Vec<(Bytes, Bytes)>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < content.len() {
        let head = content.get(at..at + 6)?;
        let key = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let value = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
        if key > KEY_BYTES || value > VALUE_BYTES {
            return None;
        }
        let (from, middle) = (at + 6, at + 6 + key);
        at = middle + value;
        if at > content.len() {
            return None;
        }
        found.push((content.slice(from..middle), content.slice(middle..at)));
    }
    Some(found)
}

/// What stands before the body of a frame.
pub(super) fn frame_head(number: u64, body: &[u8]) -> [u8; FRAME_HEAD] {
    let mut head = [0; FRAME_HEAD];
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[4..8].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    let crc = head_crc(number, &head);
    head[8..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// The checksum of a frame's head, which also says which frame it is.
pub(super) fn head_crc(number: u64, head: &[u8; FRAME_HEAD]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&head[..8]);
    hasher.finalize()
}
