//! Content addresses: where a block or a snapshot is stored is decided by what it holds.
//!
//! An id is the first 48 bits of the content's SHA-256. Within one room that is nearly always enough, and it keeps
//! snapshots (lists of such ids) short; where it is not, the next id that is free is taken, so no two contents ever
//! share one.
//!
//! What is found stored already may be about to be collected: it is *rescued* in the same transaction (see
//! [`super::collector`]).

use futures_util::future::try_join_all;
use hearth_store::{Bytes, StoreError, Transaction, Value};
use sha2::{Digest, Sha256};

use super::{
    BlockId, BlockRef, Snapshot, SnapshotId,
    block::{DecodeError, read_varint, varint},
};
use crate::{
    RoomNid,
    keys::{CONDEMNED, STATE_BLOCK, STATE_SNAPSHOT},
};

const FORMAT: u8 = 1;
const ID_BYTES: usize = 6;
const LAST_ID: u64 = (1 << (8 * ID_BYTES)) - 1;

/// What a condemned id is of; part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Snapshot = 1,
    Block = 2,
}

fn first_id<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let id = hash[..ID_BYTES].iter().fold(0, |id, byte| id << 8 | u64::from(*byte));
    id.max(1)
}

fn next_id(id: u64) -> u64 {
    if id == LAST_ID { 1 } else { id + 1 }
}

/// Stores a block of `parts` unless it is there.
pub(super) async fn put_block(tx: &Transaction, room: RoomNid, parts: &[Vec<u8>]) -> Result<BlockId, StoreError> {
    let mut id = BlockId(first_id(parts.iter().map(Vec::as_slice)));
    loop {
        match STATE_BLOCK.get(tx, (room, id, 0)).await? {
            None => {
                for (part, number) in parts.iter().zip(0..) {
                    STATE_BLOCK.set(tx, (room, id, number), &Bytes::copy_from_slice(part));
                }
                return Ok(id);
            }
            Some(first) if first == parts[0] && same_rest(tx, room, id, parts).await? => {
                rescue(tx, room, Kind::Block, id.0).await?;
                return Ok(id);
            }
            Some(_) => id = BlockId(next_id(id.0)),
        }
    }
}

async fn same_rest(tx: &Transaction, room: RoomNid, id: BlockId, parts: &[Vec<u8>]) -> Result<bool, StoreError> {
    let rest = (1..parts.len()).map(|number| STATE_BLOCK.get(tx, (room, id, number as u64)));
    let rest = try_join_all(rest).await?;
    Ok(rest.iter().zip(&parts[1..]).all(|(stored, part)| stored.as_deref() == Some(part.as_slice())))
}

/// Stores a snapshot unless it is there. Its blocks are there.
pub(super) async fn put_snapshot(
    tx: &Transaction,
    room: RoomNid,
    snapshot: &Snapshot,
) -> Result<SnapshotId, StoreError> {
    let mut id = SnapshotId(first_id(std::iter::once(snapshot.encode().as_slice())));
    loop {
        match STATE_SNAPSHOT.get(tx, (room, id)).await? {
            None => {
                STATE_SNAPSHOT.set(tx, (room, id), snapshot);
                return Ok(id);
            }
            Some(stored) if stored == *snapshot => {
                if rescue(tx, room, Kind::Snapshot, id.0).await? {
                    for block in &snapshot.blocks {
                        rescue(tx, room, Kind::Block, block.id.0).await?;
                    }
                }
                return Ok(id);
            }
            Some(_) => id = SnapshotId(next_id(id.0)),
        }
    }
}

/// Whether a snapshot that nothing may refer to is still there with its blocks; takes back that any of it was condemned.
pub(super) async fn hold(tx: &Transaction, room: RoomNid, id: SnapshotId) -> Result<bool, StoreError> {
    let Some(snapshot) = STATE_SNAPSHOT.get(tx, (room, id)).await? else { return Ok(false) };
    rescue(tx, room, Kind::Snapshot, id.0).await?;
    for block in &snapshot.blocks {
        if STATE_BLOCK.get(tx, (room, block.id, 0)).await?.is_none() {
            return Ok(false);
        }
        rescue(tx, room, Kind::Block, block.id.0).await?;
    }
    Ok(true)
}

/// Takes back that `id` was condemned; returns whether it was. The read conflicts with a collector that condemns it now.
async fn rescue(tx: &Transaction, room: RoomNid, kind: Kind, id: u64) -> Result<bool, StoreError> {
    let condemned = CONDEMNED.get(tx, (room, kind as u64, id)).await?.is_some();
    if condemned {
        CONDEMNED.clear(tx, (room, kind as u64, id));
    }
    Ok(condemned)
}

/// `1, count, (id as six bytes, len)*`; numbers as varints.
impl Value for Snapshot {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        varint(&mut out, self.count);
        for block in &self.blocks {
            out.extend_from_slice(&block.id.0.to_be_bytes()[8 - ID_BYTES..]);
            varint(&mut out, block.len);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let decode = || -> Result<Self, DecodeError> {
            let (format, mut input) = bytes.split_first().ok_or(DecodeError::Truncated)?;
            if *format != FORMAT {
                return Err(DecodeError::Format(*format));
            }
            let count = read_varint(&mut input)?;
            let mut blocks = Vec::new();
            while !input.is_empty() {
                let (id, rest) = input.split_at_checked(ID_BYTES).ok_or(DecodeError::Truncated)?;
                input = rest;
                let id = id.iter().fold(0, |id, byte| id << 8 | u64::from(*byte));
                blocks.push(BlockRef { id: BlockId(id), len: read_varint(&mut input)? });
            }
            Ok(Self { count, blocks })
        };
        decode().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use hearth_store::Store;

    use super::*;

    const ROOM: RoomNid = RoomNid(7);

    #[tokio::test]
    async fn equal_content_is_stored_once_and_other_content_never_shares_an_id() {
        let tx = Store::memory().begin();
        let content = vec![b"content".to_vec(), b"more".to_vec()];
        let id = put_block(&tx, ROOM, &content).await.unwrap();
        assert_eq!(put_block(&tx, ROOM, &content).await.unwrap(), id);
        assert_eq!(STATE_BLOCK.scan(()).all(&tx).await.unwrap().len(), 2);
        // As if another content had the same hash: once in the first part, once in a later one.
        STATE_BLOCK.set(&tx, (ROOM, id, 0), &Bytes::from_static(b"other"));
        assert_eq!(put_block(&tx, ROOM, &content).await.unwrap(), BlockId(next_id(id.0)));
        STATE_BLOCK.set(&tx, (ROOM, BlockId(next_id(id.0)), 1), &Bytes::from_static(b"other"));
        assert_eq!(put_block(&tx, ROOM, &content).await.unwrap(), BlockId(id.0 + 2));
        assert_eq!(next_id(LAST_ID), 1, "0 is never used");
    }

    #[test]
    fn snapshots_decode() {
        let snapshot = Snapshot {
            count: 70_000,
            blocks: vec![BlockRef { id: BlockId(LAST_ID), len: 69_000 }, BlockRef { id: BlockId(1), len: 1 }],
        };
        let bytes = snapshot.encode();
        assert_eq!(Snapshot::decode(&bytes), Ok(snapshot));
        assert!(bytes.len() < 24);
        assert!(Snapshot::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Snapshot::decode(&[2]).is_err());
        assert!(Snapshot::decode(&[]).is_err());
    }
}
