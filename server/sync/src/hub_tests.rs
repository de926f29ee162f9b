//! The hub alone, on a log in a store: whatever the order of things, each reader gets each entry once and in order.

use std::{collections::BTreeMap, convert::Infallible};

use hearth_store::{RangeRead, Store, Versionstamp, tuple};
use tokio_util::task::TaskTracker;

use super::*;

const HEAD: &[u8] = b"head";

/// A log of numbers by room. The key of an entry is `("log", versionstamp)`, its value room and number.
#[derive(Clone)]
struct Log {
    store: Store,
}

impl Log {
    async fn append(&self, room: RoomNid, number: u64) {
        let result: Result<(), StoreError> = self
            .store
            .transact("append", async |tx| {
                let key = tuple::pack_with_versionstamp(&("log", Versionstamp::incomplete(0)));
                let mut value = room.0.to_be_bytes().to_vec();
                value.extend(number.to_be_bytes());
                tx.set_versionstamped_key(&key, &value);
                let mut head = vec![0; 14];
                head[..10].fill(0xff);
                head[10..].fill(0);
                tx.set_versionstamped_value(HEAD, &head);
                Ok(())
            })
            .await;
        result.unwrap();
    }

    /// Everything after `since`, and the version that was read.
    async fn read(&self, since: Version) -> Result<(Vec<(RoomNid, u64)>, Version, Watch), StoreError> {
        self.store
            .transact("read", async |tx| {
                let version = tx.read_version().await?;
                let watch = tx.watch(HEAD).await?;
                let entries = tx
                    .range(&RangeRead {
                        begin: tuple::pack(&("log", hearth_store::first_stamp(since + 1))),
                        end: tuple::pack(&("log", hearth_store::first_stamp(version + 1))),
                        limit: None,
                        reverse: false,
                        snapshot: true,
                    })
                    .await?;
                let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
                let entries =
                    entries.iter().map(|entry| (RoomNid(number(&entry.value[..8])), number(&entry.value[8..])));
                Ok((entries.collect(), version, watch))
            })
            .await
    }
}

impl Source for Log {
    const NAME: &'static str = "log";

    async fn look(&self, since: Option<Version>) -> Result<Look, SyncError> {
        let (entries, head, watch) = self.read(since.unwrap_or(0)).await?;
        let news = match since {
            None => News::Everyone,
            Some(_) => {
                News::About { rooms: entries.into_iter().map(|(room, _)| room).collect(), users: HashSet::new() }
            }
        };
        Ok(Look { head, news, watch })
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_mins(10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_entry_reaches_every_reader_once_and_in_order() {
    const WRITERS: u64 = 6;
    const READERS: u64 = 8;
    const ENTRIES: u64 = 150;

    let log = Log { store: Store::memory() };
    let hub = Hub::new(100);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn({
        let (hub, log, stop) = (hub.clone(), log.clone(), stop.clone());
        async move { hub.follow(log, stop).await }
    });

    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (hub, log) = (hub.clone(), log.clone());
            tasks.spawn(async move {
                // Every reader sees two rooms of the writers', so most wake-ups are not for it.
                let rooms: HashSet<RoomNid> = [RoomNid(reader % WRITERS), RoomNid((reader + 1) % WRITERS)].into();
                let rooms = Arc::new(rooms);
                let user = UserId::parse(format!("@reader{reader}:example.org")).unwrap();
                let mut since = 0;
                let mut seen: BTreeMap<RoomNid, Vec<u64>> = BTreeMap::new();
                let mut polls = 0;
                while seen.values().map(Vec::len).sum::<usize>() < 2 * ENTRIES as usize {
                    let (entries, until) = hub
                        .poll::<_, SyncError, _, _>(&user, far(), |_| async {
                            let (mut entries, until, _) = log.read(since).await?;
                            entries.retain(|(room, _)| rooms.contains(room));
                            let answer = (entries, until);
                            Ok(if answer.0.is_empty() {
                                Sample::Nothing { answer, rooms: rooms.clone() }
                            } else {
                                Sample::Something(answer)
                            })
                        })
                        .await
                        .unwrap();
                    assert!(!entries.is_empty(), "woken for nothing and answered");
                    for (room, number) in entries {
                        seen.entry(room).or_default().push(number);
                    }
                    since = until;
                    polls += 1;
                }
                (rooms, seen, polls)
            })
        })
        .collect();
    for writer in 0..WRITERS {
        let log = log.clone();
        tasks.spawn(async move {
            for number in 0..ENTRIES {
                log.append(RoomNid(writer), number).await;
                if number % 7 == writer {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    for reader in readers {
        let (rooms, seen, polls) = reader.await.unwrap();
        assert_eq!(seen.keys().copied().collect::<HashSet<_>>(), *rooms);
        for (room, numbers) in seen {
            assert_eq!(numbers, (0..ENTRIES).collect::<Vec<_>>(), "in {room:?} after {polls} polls");
        }
    }
    assert_eq!(hub.waiting(), 0);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

/// A change between the sample and the wait, the moment in which a wake-up could be lost.
#[tokio::test]
async fn a_change_right_after_the_sample_is_noticed() {
    let hub = Hub::new(1);
    let room = RoomNid(1);
    let user = UserId::parse("@reader:example.org").unwrap();
    let mut samples = 0;
    let answer = hub
        .poll::<_, SyncError, _, _>(&user, far(), |_| {
            samples += 1;
            let sample = samples;
            if sample == 1 {
                hub.wake(&News::About { rooms: [room].into(), users: HashSet::new() });
            }
            async move {
                Ok(match sample {
                    1 => Sample::Nothing { answer: sample, rooms: Arc::default() },
                    _ => Sample::Something(sample),
                })
            }
        })
        .await
        .unwrap();
    assert_eq!(answer, 2);
}

#[tokio::test]
async fn readers_wake_for_their_rooms_and_for_themselves() {
    let user = UserId::parse("@reader:example.org").unwrap();
    let rooms: Arc<HashSet<RoomNid>> = Arc::new([RoomNid(1), RoomNid(2)].into());
    let about = |rooms: &[u64], users: &[&str]| News::About {
        rooms: rooms.iter().map(|room| RoomNid(*room)).collect(),
        users: users.iter().map(|user| UserId::parse(*user).unwrap()).collect(),
    };
    let waiter = |interest| Waiter { user: user.clone(), interest, mark: Arc::default() };
    let narrow = waiter(Interest::Rooms(rooms));
    let wide = waiter(Interest::Everything);
    for (news, wakes_narrow, wakes_wide) in [
        (News::Everyone, true, true),
        (about(&[1], &[]), true, true),
        (about(&[3, 4, 2], &[]), true, true),
        (about(&[3], &[]), false, true),
        (about(&[3, 4, 5], &["@other:example.org"]), false, true),
        (about(&[], &["@other:example.org"]), false, false),
        (about(&[], &["@reader:example.org"]), true, true),
    ] {
        assert_eq!(narrow.is_concerned(&news), wakes_narrow, "{news:?}");
        assert_eq!(wide.is_concerned(&news), wakes_wide, "{news:?}");
    }
}

#[tokio::test]
async fn time_and_capacity_and_stopping_end_the_wait() {
    let hub = Hub::new(1);
    let user = UserId::parse("@reader:example.org").unwrap();
    let nothing = |_| async { Ok::<_, SyncError>(Sample::Nothing { answer: 1, rooms: Arc::default() }) };
    assert_eq!(hub.poll(&user, Instant::now(), nothing).await.unwrap(), 1);

    let full = hub
        .poll(&user, far(), |_| async { Ok::<_, SyncError>(Sample::Something(hub.poll(&user, far(), nothing).await)) })
        .await;
    assert!(matches!(full, Ok(Err(SyncError::TooManyWaiting))));

    let waiting = hub.poll(&user, far(), nothing);
    let stopping = async {
        hub.stop();
        Ok::<_, Infallible>(())
    };
    let (answer, _) = tokio::join!(waiting, stopping);
    assert_eq!(answer.unwrap(), 1);
    assert_eq!(hub.poll(&user, far(), nothing).await.unwrap(), 1, "nobody waits after the stop");
    assert_eq!(hub.waiting(), 0);
}

/// A log whose first watches and looks fail, as they do while a cluster is away.
struct Broken {
    log: Log,
    failures: Mutex<u32>,
}

impl Source for Broken {
    const NAME: &'static str = "broken log";

    async fn look(&self, since: Option<Version>) -> Result<Look, SyncError> {
        let number = {
            let mut failures = self.failures.lock().unwrap();
            *failures += 1;
            *failures
        };
        let look = self.log.look(since).await?;
        match number {
            // The watch of a transaction that never commits fails like one that the cluster has dropped.
            1 => Ok(Look { watch: self.log.store.begin().watch(HEAD).await?, ..look }),
            2 => Err(StoreError::TransactionTooOld.into()),
            _ => Ok(look),
        }
    }
}

#[tokio::test]
async fn a_follower_goes_on_after_failures_and_wakes_everybody() {
    let log = Log { store: Store::memory() };
    let hub = Hub::new(10);
    let stop = CancellationToken::new();
    let source = Broken { log: log.clone(), failures: Mutex::default() };
    let alice = UserId::parse("@alice:example.org").unwrap();
    let reader = async {
        // Something happens that nobody is told of; the reader hears of it when the follower looks again.
        let mut samples = 0;
        let found = hub
            .poll::<_, SyncError, _, _>(&alice, far(), |_| {
                samples += 1;
                let (log, first) = (log.clone(), samples == 1);
                async move {
                    if first {
                        let nothing = Sample::Nothing { answer: 0, rooms: Arc::new([RoomNid(7)].into()) };
                        log.append(RoomNid(7), 1).await;
                        return Ok(nothing);
                    }
                    let entries = log.read(0).await?.0.len();
                    Ok(if entries > 0 {
                        Sample::Something(entries)
                    } else {
                        Sample::Nothing { answer: 0, rooms: Arc::default() }
                    })
                }
            })
            .await;
        assert_eq!(found.unwrap(), 1);
        stop.cancel();
    };
    tokio::join!(hub.follow(source, stop.clone()), reader);
}
