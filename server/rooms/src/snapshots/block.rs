//! The form of a block.
//!
//! ```text
//! part 0 := 1, number of chunks, chunk*, run*        varints all through
//! chunk  := state key - that of the chunk before, number of tuples
//! part n := run*                                     the members of chunk n
//! run    := type - type before, number of tuples, tuple*
//! tuple  := state key - state key before, zigzag(event - event before)
//! ```
//!
//! Tuples are sorted by type and state key and none stands twice. A small block is part 0 alone. In a large one the
//! members are cut into chunks, each a part of its own, of which part 0 tells the first state key.

use super::StateTuple;
use crate::{EventNid, StateKeyNid, TypeNid};

const FORMAT: u8 = 1;
/// So many members stay in part 0. (Tests have all sizes of blocks with few members.)
const MEMBERS_INLINE: usize = if cfg!(test) { 12 } else { 512 };
/// Members in a chunk.
const CHUNK: usize = if cfg!(test) { 32 } else { 4096 };
/// More than any event type or state key nid can be: ids come from a counter.
const LARGEST: u64 = 1 << 62;

/// A part of a block, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Sorted by type and state key.
    pub tuples: Vec<StateTuple>,
    /// Where the members are, if not among the tuples; in part 0 alone.
    pub chunks: Vec<Chunk>,
}

/// Members that are a part of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The first of them.
    pub first: StateKeyNid,
    /// How many they are.
    pub len: u64,
}

/// Why bytes are no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Bytes are missing.
    #[error("ends too early")]
    Truncated,
    /// Written by a newer version.
    #[error("unknown format {0}")]
    Format(u8),
    /// A number is larger than it can be.
    #[error("a number is out of range")]
    OutOfRange,
    /// Something stands twice or in the wrong order.
    #[error("not in order")]
    Order,
    /// Longer than what it says of itself.
    #[error("has bytes behind its end")]
    Excess,
}

/// What a decoded part occupies in memory, in bytes.
pub(super) fn weight(part: &Part) -> usize {
    size_of::<Part>() + part.tuples.len() * size_of::<StateTuple>() + part.chunks.len() * size_of::<Chunk>()
}

/// The parts of the block of `tuples`, which are sorted.
pub fn encode(tuples: &[StateTuple]) -> Vec<Vec<u8>> {
    let begin = tuples.partition_point(|tuple| tuple.event_type < TypeNid::MEMBER);
    let end = tuples.partition_point(|tuple| tuple.event_type <= TypeNid::MEMBER);
    let mut first = vec![FORMAT];
    if end - begin <= MEMBERS_INLINE {
        varint(&mut first, 0);
        runs(&mut first, tuples.iter());
        return vec![first];
    }
    let chunks = tuples[begin..end].chunks(CHUNK);
    varint(&mut first, chunks.len() as u64);
    let mut before = 0;
    for chunk in chunks.clone() {
        varint(&mut first, chunk[0].state_key.0 - before);
        varint(&mut first, chunk.len() as u64);
        before = chunk[0].state_key.0;
    }
    runs(&mut first, tuples[..begin].iter().chain(&tuples[end..]));
    let mut parts = vec![first];
    parts.extend(chunks.map(|chunk| {
        let mut part = Vec::new();
        runs(&mut part, chunk.iter());
        part
    }));
    parts
}

/// Part `number` of a block. Whatever the bytes, memory stays within a small multiple of their length.
pub fn decode(bytes: &[u8], number: u64) -> Result<Part, DecodeError> {
    let mut input = bytes;
    let mut chunks = Vec::new();
    if number == 0 {
        let (format, rest) = input.split_first().ok_or(DecodeError::Truncated)?;
        if *format != FORMAT {
            return Err(DecodeError::Format(*format));
        }
        input = rest;
        let count = read_varint(&mut input)?;
        let mut before = 0;
        for index in 0..count {
            let first = add(before, read_varint(&mut input)?)?;
            let len = read_varint(&mut input)?;
            if len == 0 || len > CHUNK as u64 || (index > 0 && first == before) {
                return Err(DecodeError::Order);
            }
            chunks.push(Chunk { first: StateKeyNid(first), len });
            before = first;
        }
    }
    let mut tuples = Vec::new();
    let (mut event_type, mut event) = (0, 0);
    while !input.is_empty() {
        let delta = read_varint(&mut input)?;
        let len = read_varint(&mut input)?;
        if len == 0 || (delta == 0 && !tuples.is_empty()) {
            return Err(DecodeError::Order);
        }
        event_type = add(event_type, delta)?;
        let mut state_key = 0;
        for index in 0..len {
            let delta = read_varint(&mut input)?;
            if delta == 0 && index > 0 {
                return Err(DecodeError::Order);
            }
            state_key = add(state_key, delta)?;
            event = unzigzag(event, read_varint(&mut input)?)?;
            tuples.push(StateTuple {
                event_type: TypeNid(event_type),
                state_key: StateKeyNid(state_key),
                event: EventNid(event),
            });
        }
    }
    if !chunks.is_empty() && tuples.iter().any(|tuple| tuple.event_type == TypeNid::MEMBER) {
        return Err(DecodeError::Excess);
    }
    Ok(Part { tuples, chunks })
}

fn runs<'a>(out: &mut Vec<u8>, tuples: impl Iterator<Item = &'a StateTuple> + Clone) {
    let (mut type_before, mut event_before) = (0, 0);
    let mut rest = tuples.peekable();
    while let Some(first) = rest.peek() {
        let event_type = first.event_type;
        let len = rest.clone().take_while(|tuple| tuple.event_type == event_type).count();
        varint(out, event_type.0 - type_before);
        varint(out, len as u64);
        type_before = event_type.0;
        let mut key_before = 0;
        for tuple in rest.by_ref().take(len) {
            varint(out, tuple.state_key.0 - key_before);
            varint(out, zigzag(event_before, tuple.event.0));
            key_before = tuple.state_key.0;
            event_before = tuple.event.0;
        }
    }
}

fn zigzag(before: u64, now: u64) -> u64 {
    if now >= before { (now - before) << 1 } else { ((before - now) << 1) - 1 }
}

fn unzigzag(before: u64, delta: u64) -> Result<u64, DecodeError> {
    if delta & 1 == 0 {
        add(before, delta >> 1)
    } else {
        before.checked_sub((delta >> 1) + 1).ok_or(DecodeError::OutOfRange)
    }
}

fn add(before: u64, delta: u64) -> Result<u64, DecodeError> {
    before.checked_add(delta).filter(|sum| *sum <= LARGEST).ok_or(DecodeError::OutOfRange)
}

/// Seven bits at a time, the lowest first; the highest bit says that more follow.
pub(super) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads what [`varint`] wrote; other forms of the same number are refused, so that content has one form only.
pub(super) fn read_varint(input: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first().ok_or(DecodeError::Truncated)?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if (shift == 63 && bits > 1) || (shift > 0 && *byte == 0) {
            return Err(DecodeError::OutOfRange);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(DecodeError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn tuples() -> impl Strategy<Value = Vec<StateTuple>> {
        let key = (prop_oneof![1..9_u64, 65_536..65_600_u64, 0..LARGEST], prop_oneof![1..300_u64, 0..LARGEST]);
        prop::collection::btree_map(key, prop_oneof![0..5000_u64, 0..LARGEST], 0..200).prop_map(from_map)
    }

    fn from_map(map: BTreeMap<(u64, u64), u64>) -> Vec<StateTuple> {
        map.into_iter()
            .map(|((event_type, state_key), event)| StateTuple {
                event_type: TypeNid(event_type),
                state_key: StateKeyNid(state_key),
                event: EventNid(event),
            })
            .collect()
    }

    fn members(count: u64) -> Vec<StateTuple> {
        let mut map: BTreeMap<_, _> = (0..count).map(|key| ((5, 65_536 + 3 * key), 70_000 + key * 7 % 1000)).collect();
        map.extend([((1, 1), 65_536), ((9, 1), 80_000)]);
        from_map(map)
    }

    fn decode_all(parts: &[Vec<u8>]) -> Vec<StateTuple> {
        let mut all: Vec<StateTuple> =
            parts.iter().enumerate().flat_map(|(number, part)| decode(part, number as u64).unwrap().tuples).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn small_blocks_are_small() {
        let one = members(0);
        let parts = encode(&one[..1]);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].len(), 2 + 3 + 3);
        assert_eq!(encode(&[]), [vec![FORMAT, 0]]);
        assert_eq!(decode_all(&parts), one[..1]);
    }

    #[test]
    fn large_blocks_keep_members_apart() {
        for (count, parts) in [(MEMBERS_INLINE, 1), (MEMBERS_INLINE + 1, 2), (2 * CHUNK + 1, 4)] {
            let tuples = members(count as u64);
            let encoded = encode(&tuples);
            assert_eq!(encoded.len(), parts, "{count} members");
            assert_eq!(decode_all(&encoded), tuples);
            let first = decode(&encoded[0], 0).unwrap();
            assert_eq!(first.chunks.len(), parts - 1);
            for (chunk, number) in first.chunks.iter().zip(1..) {
                let part = decode(&encoded[number as usize], number).unwrap();
                assert_eq!((part.tuples[0].state_key, part.tuples.len() as u64), (chunk.first, chunk.len));
            }
            assert!(encoded.iter().map(Vec::len).sum::<usize>() <= 6 * tuples.len() + 16);
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        use DecodeError::{Excess, Format, Order, OutOfRange, Truncated};
        let cases: &[(&[u8], DecodeError)] = &[
            (&[], Truncated),
            (&[2, 0], Format(2)),
            (&[1], Truncated),
            (&[1, 0, 1], Truncated),
            (&[1, 0, 1, 0], Order),
            (&[1, 0, 1, 1, 1], Truncated),
            (&[1, 0, 1, 2, 1, 2, 0, 2], Order),
            (&[1, 0, 1, 1, 1, 2, 0, 1, 1, 2], Order),
            (&[1, 0, 1, 1, 1, 1], OutOfRange),
            (&[1, 0, 0x80, 0], OutOfRange),
            (&[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], OutOfRange),
            (&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1], Truncated),
            (&[1, 1, 9, 1, 5, 1, 1, 2], Excess),
        ];
        for (bytes, error) in cases {
            assert_eq!(decode(bytes, 0), Err(*error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(tuples in tuples()) {
            prop_assert_eq!(decode_all(&encode(&tuples)), tuples);
        }

        #[test]
        fn any_bytes_decode_or_fail_and_have_one_form(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(part) = decode(&bytes, 0)
                && part.chunks.is_empty()
                && part.tuples.iter().filter(|tuple| tuple.event_type == TypeNid::MEMBER).count() <= MEMBERS_INLINE
            {
                prop_assert_eq!(encode(&part.tuples), vec![bytes]);
            }
        }
    }
}
