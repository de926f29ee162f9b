//! A consistent read of a range that takes longer than a transaction may live.
//!
//! First the range is read once, piece by piece, each piece at the newest version of its moment, while every commit logs what
//! it writes ([`super::capture`]). Then the log is read from its beginning: what was written after its piece was read
//! is read again and handed out as a replacement. Each of these rounds takes a transaction of its own; what was written during
//! one is in the log for the next, and there is less of it each time. The round that reaches the end of the log and reads
//! everything that is left in one transaction is the last: everything handed out is then as of its read version.
//!
//! What makes that true: everything was read at a version at or after the place up to which the log was followed at that time,
//! so a later change of it is behind that place in the log, and is followed later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::foundationdb::Transaction;
use bytes::Bytes;
use futures_util::future::try_join_all;

use super::capture;
use super::client::{self, ask};
use super::layout::ends;
use super::open::FoundationDb;
use super::range::Stored;
use crate::engine::buffer::STAMP_BYTES;
use crate::engine::entry_list::EntryList;
use crate::engine::key::{Key, KeyRange};
use crate::{KeyValue, SnapshotPart, StoreError, Version};

/// Keys and values of one part, in bytes.
const PART_BYTES: usize = 512 << 10;
/// Keys that are read at the same time.
const READS_AT_ONCE: usize = 64;
/// What a round reads of the log and again, in bytes.
const ROUND_BYTES: usize = 4 << 20;
/// How long a transaction here works; it could read for five seconds.
const ROUND_TIME: Duration = Duration::from_secs(3);
/// How long a part is tried for while the cluster does not answer or is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// An entry in the capture row is moved on after this time, well before it lapses.
const RENEWAL: Duration = Duration::from_mins(1);
/// More rounds than this mean that more is written all the time than can be read.
const ROUNDS: u32 = 10_000;

/// The position of a snapshot's reader.
#[derive(Debug)]
pub(crate) struct FdbSnapshot {
    engine: Arc<FoundationDb>,
    /// This reader's number in the capture row; `None` once it is out of it.
    reader: Option<u64>,
    renewed: Instant,
    begin: Key,
    end: Key,
    /// Where the next piece begins; `None` once all were read.
    next_piece: Option<Key>,
    /// Where each piece begins and at which version it was read.
    pieces: Vec<(Key, Version)>,
    /// The log row after which to go on.
    log_position: Vec<u8>,
    /// Has to be read again.
    outdated: VecDeque<KeyRange>,
    ready: VecDeque<SnapshotPart>,
    rounds: u32,
    version: Option<Version>,
}

impl FdbSnapshot {
    pub(crate) async fn new(engine: Arc<FoundationDb>, begin: &[u8], end: &[u8]) -> Result<Self, StoreError> {
        if begin > end {
            return Err(StoreError::InvertedRange);
        }
        engine.check()?;
        let reader = rand::random();
        let began = Instant::now();
        let since = retry(|| capture::begin(&engine.database, &engine.layout, reader)).await?;
        Ok(Self {
            log_position: engine.layout.log_row(&since, u16::MAX),
            engine,
            reader: Some(reader),
            renewed: began,
            begin: begin.into(),
            end: end.into(),
            next_piece: Some(begin.into()),
            pieces: Vec::new(),
            outdated: VecDeque::new(),
            ready: VecDeque::new(),
            rounds: 0,
            version: None,
        })
    }

    pub(crate) fn version(&self) -> Option<Version> {
        self.version.filter(|_| self.ready.is_empty())
    }

    pub(crate) async fn next(&mut self) -> Result<Option<SnapshotPart>, StoreError> {
        let began = Instant::now();
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(Some(part));
            }
            if self.version.is_some() {
                return Ok(None);
            }
            self.engine.check()?;
            let Some(reader) = self.reader else { return Err(StoreError::Closed) };
            if self.renewed.elapsed() > RENEWAL {
                let now = Instant::now();
                let engine = &self.engine;
                retry(|| capture::renew(&engine.database, &engine.layout, reader)).await?;
                self.renewed = now;
            }
            let step = match self.next_piece.clone() {
                Some(piece) => self.read_piece(piece).await,
                None => self.read_round(reader).await,
            };
            match step {
                Ok(()) => {}
                Err(error) if is_worth_another_try(&error) && began.elapsed() < PATIENCE => {
                    tracing::debug!(%error, "a snapshot's read is repeated");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error),
            }
            if self.version.is_some() {
                self.reader = None;
                let engine = &self.engine;
                let end = retry(|| capture::end(&engine.database, &engine.layout, Some(reader))).await;
                let _ = end.inspect_err(|error| tracing::debug!(%error, "a snapshot's capture is left to lapse"));
            }
        }
    }

    /// Reads the piece that begins at `piece`.
    async fn read_piece(&mut self, piece: Key) -> Result<(), StoreError> {
        let transaction = client::begin(&self.engine.database, Some("snapshot"))?;
        let version = client::read_version(&transaction).await?;
        let (found, rest) = self.read_range(&transaction, (&piece, &self.end), Instant::now()).await?;
        self.pieces.push((piece, version));
        self.next_piece = rest;
        if !found.is_empty() {
            self.ready.push_back(SnapshotPart::Entries(found));
        }
        Ok(())
    }

    /// Entries of `begin..end`, and where to go on if that was not all.
    async fn read_range(
        &self,
        transaction: &Arc<Transaction>,
        (begin, end): (&[u8], &[u8]),
        began: Instant,
    ) -> Result<(Vec<KeyValue>, Option<Key>), StoreError> {
        let mut found = EntryList::default();
        let mut stored = Stored::new(&self.engine.layout, transaction.clone(), (begin, end), None, false);
        loop {
            stored.fill().await?;
            let Some((key, value)) = stored.current() else { return Ok((found.finish(), None)) };
            if found.bytes() >= PART_BYTES || (found.len() > 0 && began.elapsed() > ROUND_TIME) {
                let rest = key.into();
                return Ok((found.finish(), Some(rest)));
            }
            found.push(key, value);
            stored.step();
        }
    }

    /// Follows the log, and reads again what is out of date.
    async fn read_round(&mut self, reader: u64) -> Result<(), StoreError> {
        self.rounds += 1;
        if self.rounds > ROUNDS {
            return Err(StoreError::SnapshotLost(
                "more is written all the time than a snapshot can follow; try again when there is less to do"
                    .to_owned(),
            ));
        }
        let began = Instant::now();
        let transaction = client::begin(&self.engine.database, Some("snapshot"))?;
        let version = client::read_version(&transaction).await?;
        capture::check(&transaction, &self.engine.layout, reader, version).await?;
        let at_its_end = self.follow_log(&transaction).await?;
        let mut bytes = 0;
        while bytes < ROUND_BYTES && began.elapsed() < ROUND_TIME {
            match self.outdated.front().cloned() {
                None => {
                    // Everything handed out is as of this version, unless the log goes on.
                    self.version = at_its_end.then_some(version);
                    return Ok(());
                }
                Some(KeyRange::Range(begin, end)) => {
                    let (entries, rest) = self.read_range(&transaction, (&begin, &end), began).await?;
                    bytes += size(&entries);
                    self.outdated.pop_front();
                    let upto = rest.clone().unwrap_or_else(|| end.clone());
                    if let Some(rest) = rest {
                        self.outdated.push_front(KeyRange::Range(rest, end));
                    }
                    self.replace((begin, upto), entries);
                }
                Some(KeyRange::Point(_)) => {
                    let points = self.outdated.iter().map_while(|range| match range {
                        KeyRange::Point(key) => Some(key.clone()),
                        KeyRange::Range(..) => None,
                    });
                    let points: Vec<Key> = points.take(READS_AT_ONCE).collect();
                    let reads = points.iter().map(|key| transaction.get(&self.engine.layout.key(key), true));
                    let values = ask("reads", try_join_all(reads)).await?;
                    self.outdated.drain(..points.len());
                    for (key, value) in points.into_iter().zip(values) {
                        let entry = value.map(|value| KeyValue {
                            key: Bytes::copy_from_slice(&key),
                            value: Bytes::copy_from_slice(&value),
                        });
                        let entries: Vec<_> = entry.into_iter().collect();
                        bytes += size(&entries);
                        self.replace(ends(KeyRange::Point(key)), entries);
                    }
                }
            }
        }
        Ok(())
    }

    fn replace(&mut self, (begin, end): (Key, Key), entries: Vec<KeyValue>) {
        let (begin, end) = (Bytes::copy_from_slice(&begin), Bytes::copy_from_slice(&end));
        self.ready.push_back(SnapshotPart::Replace { begin, end, entries });
    }

    /// Notes what the log says was written, up to a bounded amount; returns whether that is all that `transaction` sees.
    async fn follow_log(&mut self, transaction: &Arc<Transaction>) -> Result<bool, StoreError> {
        let engine = self.engine.clone();
        let mut position = self.log_position.clone();
        let begin = [position.as_slice(), &[0]].concat();
        let mut log = Stored::raw(&engine.layout, transaction.clone(), (begin, engine.layout.log().1), None, false);
        let mut outdated = Vec::new();
        let mut bytes = 0;
        let at_its_end = loop {
            log.fill().await?;
            let Some((row, value)) = log.current_raw() else { break true };
            if bytes >= ROUND_BYTES / 4 {
                break false;
            }
            bytes += row.len() + value.len();
            let damaged =
                || StoreError::Corrupt { table: "snapshot log".to_owned(), detail: "undecodable row".to_owned() };
            let stamp = engine.layout.log_stamp(row).ok_or_else(damaged)?;
            let written = capture::decode(value).ok_or_else(damaged)?;
            outdated.extend(written.into_iter().filter_map(|range| self.outdated_part(range, &stamp)));
            position = row.to_vec();
            log.step();
        };
        // Both or neither: a row that was passed over is not seen again.
        self.outdated.extend(capture::merge(outdated, usize::MAX));
        self.log_position = position;
        Ok(at_its_end)
    }

    /// What of `range`, written by the commit `stamp`, was read before that commit and belongs to the snapshot.
    fn outdated_part(&self, range: KeyRange, stamp: &[u8; STAMP_BYTES]) -> Option<KeyRange> {
        let committed = Version::from_be_bytes(*stamp.first_chunk()?);
        if let KeyRange::Point(key) = &range {
            let inside = self.begin <= *key && *key < self.end;
            return (inside && committed > self.read_at(key)).then_some(range);
        }
        let (begin, end) = ends(range);
        let (begin, end) = (begin.max(self.begin.clone()), end.min(self.end.clone()));
        (begin < end).then_some(KeyRange::Range(begin, end))
    }

    /// The version at which the scan read `key`.
    fn read_at(&self, key: &Key) -> Version {
        let after = self.pieces.partition_point(|(begin, _)| begin <= key);
        after.checked_sub(1).map_or(0, |piece| self.pieces[piece].1)
    }
}

impl Drop for FdbSnapshot {
    /// Takes the reader out of the capture row in the background; where that does not work it lapses.
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            let engine = self.engine.clone();
            self.engine.in_background(async move {
                let end = capture::end(&engine.database, &engine.layout, Some(reader)).await;
                let _ = end.inspect_err(|error| tracing::debug!(%error, "an unfinished snapshot is left to lapse"));
            });
        }
    }
}

fn size(entries: &[KeyValue]) -> usize {
    entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum()
}

fn is_worth_another_try(error: &StoreError) -> bool {
    matches!(error, StoreError::Conflict | StoreError::TransactionTooOld | StoreError::Unavailable(_))
}

/// Repeats a small transaction until it succeeds or patience is at its end.
async fn retry<T, F>(transaction: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let began = Instant::now();
    loop {
        match transaction().await {
            Err(error) if is_worth_another_try(&error) && began.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}
