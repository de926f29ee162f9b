//! Random transactions against a reference model.
//!
//! The model is a `BTreeMap` to which transactions are applied one after the other. Two properties:
//!
//! - step by step, with transactions interleaved at random in one task: every read returns what the model says,
//!   and a commit conflicts exactly when another commit wrote what this transaction read (no lost and no
//!   spurious conflicts);
//! - concurrently, from several tasks: replayed in commit order, every read of every committed transaction returns
//!   what it returned, and the store ends up equal to the model. That is strict serializability.

use std::collections::{BTreeMap, BTreeSet};

use hearth_store::{AtomicOp, KeyValue, RangeRead, Store, StoreError, Transaction, Version, Versionstamp};
use proptest::prelude::*;

/// Keys are the letters from `a`; ranges lie between them.
const KEYS: u8 = 8;
/// Versionstamped keys lie above all of them.
const LOG: &[u8] = b"z";

#[derive(Debug, Clone)]
enum Step {
    Get {
        key: u8,
        snapshot: bool,
    },
    Range {
        begin: u8,
        end: u8,
        limit: Option<usize>,
        reverse: bool,
        snapshot: bool,
    },
    /// The whole log of versionstamped keys.
    ReadLog,
    Set {
        key: u8,
        value: u8,
    },
    Clear {
        key: u8,
    },
    ClearRange {
        begin: u8,
        end: u8,
    },
    Atomic {
        op: AtomicOp,
        key: u8,
        operand: Vec<u8>,
    },
    StampValue {
        key: u8,
    },
    StampKey {
        value: u8,
    },
    ReadConflict {
        begin: u8,
        end: u8,
    },
    WriteConflict {
        begin: u8,
        end: u8,
    },
}

fn key(key: u8) -> Vec<u8> {
    vec![b'a' + key]
}

/// What a read returned.
type Seen = Result<Vec<(Vec<u8>, Vec<u8>)>, ()>;

fn seen(entries: Vec<KeyValue>) -> Vec<(Vec<u8>, Vec<u8>)> {
    entries.into_iter().map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect()
}

/// Runs a step; returns what a read saw.
async fn run(tx: &Transaction, step: &Step) -> Result<Option<Seen>, StoreError> {
    let read = match step {
        Step::Get { key: k, snapshot } => {
            let k = key(*k);
            let value = if *snapshot { tx.get_snapshot(&k).await } else { tx.get(&k).await };
            value.map(|value| value.into_iter().map(|value| (k.clone(), value.to_vec())).collect())
        }
        Step::Range { begin, end, limit, reverse, snapshot } => {
            let (begin, end) = (key(*begin), key(*end));
            let read = RangeRead { begin, end, limit: *limit, reverse: *reverse, snapshot: *snapshot };
            tx.range(&read).await.map(seen)
        }
        Step::ReadLog => {
            let read = RangeRead { begin: LOG.to_vec(), end: vec![0xff], limit: None, reverse: false, snapshot: false };
            tx.range(&read).await.map(seen)
        }
        _ => {
            write(tx, step);
            return Ok(None);
        }
    };
    match read {
        Ok(seen) => Ok(Some(Ok(seen))),
        Err(StoreError::AccessedUnreadable) => Ok(Some(Err(()))),
        Err(error) => Err(error),
    }
}

fn write(tx: &Transaction, step: &Step) {
    match step {
        Step::Get { .. } | Step::Range { .. } | Step::ReadLog => {}
        Step::Set { key: k, value } => tx.set(&key(*k), &[*value, 1]),
        Step::Clear { key: k } => tx.clear(&key(*k)),
        Step::ClearRange { begin, end } => tx.clear_range(&key(*begin), &key(*end)),
        Step::Atomic { op, key: k, operand } => tx.atomic(*op, &key(*k), operand),
        Step::StampValue { key: k } => {
            tx.set_versionstamped_value(&key(*k), &[[0xff; 10].as_slice(), &0u32.to_le_bytes()].concat());
        }
        Step::StampKey { value } => {
            tx.set_versionstamped_key(&[LOG, &[0xff; 10], &1u32.to_le_bytes()].concat(), &[*value]);
        }
        Step::ReadConflict { begin, end } => tx.add_read_conflict_range(&key(*begin), &key(*end)),
        Step::WriteConflict { begin, end } => tx.add_write_conflict_range(&key(*begin), &key(*end)),
    }
}

/// The model's view of one transaction while it runs over a state.
#[derive(Debug, Clone)]
struct View {
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Keys that hold a versionstamp of this transaction, until they are cleared.
    unreadable: BTreeSet<Vec<u8>>,
    log_stamped: bool,
    /// Places that this transaction decided alone, read, and wrote.
    decided: BTreeSet<Place>,
    reads: BTreeSet<Place>,
    writes: BTreeSet<Place>,
}

/// Where conflicts happen: at a key (even) or between it and the next one (odd), where nothing is ever stored but
/// ranges overlap; the log is one place.
type Place = u8;

const LOG_PLACE: Place = 0xff;

fn places(begin: u8, end: u8) -> std::ops::Range<Place> {
    2 * begin..2 * end
}

impl View {
    fn over(state: &BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        Self {
            state: state.clone(),
            unreadable: BTreeSet::new(),
            log_stamped: false,
            decided: BTreeSet::new(),
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
        }
    }

    fn note_read(&mut self, place: Place) {
        if !self.decided.contains(&place) {
            self.reads.insert(place);
        }
    }

    /// What the step does and, for a read, what it sees. A read that fails counts as no read.
    fn run(&mut self, step: &Step, stamp: &[u8]) -> Option<Seen> {
        match step {
            Step::Get { key: k, snapshot } => {
                if self.unreadable.contains(&key(*k)) {
                    return Some(Err(()));
                }
                if !snapshot {
                    self.note_read(2 * k);
                }
                let value = self.state.get(&key(*k));
                return Some(Ok(value.map(|value| (key(*k), value.clone())).into_iter().collect()));
            }
            Step::Range { begin, end, limit, reverse, snapshot } => {
                let mut keys: Vec<u8> = (*begin..*end).collect();
                if *reverse {
                    keys.reverse();
                }
                let mut found = Vec::new();
                let mut read = places(*begin, *end);
                for k in keys {
                    if self.unreadable.contains(&key(k)) {
                        return Some(Err(()));
                    }
                    if let Some(value) = self.state.get(&key(k)) {
                        found.push((key(k), value.clone()));
                    }
                    if Some(found.len()) == *limit {
                        read = if *reverse { 2 * k..read.end } else { read.start..2 * k + 1 };
                        break;
                    }
                }
                if !snapshot {
                    read.for_each(|place| self.note_read(place));
                }
                return Some(Ok(found));
            }
            Step::ReadLog => {
                if self.log_stamped {
                    return Some(Err(()));
                }
                self.reads.insert(LOG_PLACE);
                let log = self.state.range(LOG.to_vec()..);
                return Some(Ok(log.map(|(key, value)| (key.clone(), value.clone())).collect()));
            }
            Step::Set { key, value } => self.write(*key, Some(vec![*value, 1])),
            Step::Clear { key } => self.clear(*key),
            Step::ClearRange { begin, end } => {
                (*begin..*end).for_each(|key| self.clear(key));
                self.decided.extend(places(*begin, *end));
                self.writes.extend(places(*begin, *end));
            }
            Step::Atomic { op, key: k, operand } => {
                let value = operate(*op, self.state.get(&key(*k)), operand);
                self.state.insert(key(*k), value);
                self.writes.insert(2 * k);
            }
            Step::StampValue { key: k } => {
                self.write(*k, Some(stamp.to_vec()));
                self.unreadable.insert(key(*k));
            }
            Step::StampKey { value } => {
                self.log_stamped = true;
                self.state.insert([LOG, stamp].concat(), vec![*value]);
                self.writes.insert(LOG_PLACE);
            }
            Step::ReadConflict { begin, end } => self.reads.extend(places(*begin, *end)),
            Step::WriteConflict { begin, end } => self.writes.extend(places(*begin, *end)),
        }
        None
    }

    fn write(&mut self, k: u8, value: Option<Vec<u8>>) {
        match value {
            Some(value) => self.state.insert(key(k), value),
            None => self.state.remove(&key(k)),
        };
        self.decided.insert(2 * k);
        self.writes.insert(2 * k);
    }

    fn clear(&mut self, k: u8) {
        self.unreadable.remove(&key(k));
        self.write(k, None);
    }
}

/// The atomic operations, written differently from the store: through 128-bit numbers.
fn operate(op: AtomicOp, current: Option<&Vec<u8>>, operand: &[u8]) -> Vec<u8> {
    let Some(current) = current else { return operand.to_vec() };
    let widen = |bytes: &[u8]| {
        let mut wide = [0; 16];
        let bytes = &bytes[..bytes.len().min(operand.len())];
        wide[..bytes.len()].copy_from_slice(bytes);
        u128::from_le_bytes(wide)
    };
    let (a, b) = (widen(current), widen(operand));
    let result = match op {
        AtomicOp::Add => a.wrapping_add(b),
        AtomicOp::Min => a.min(b),
        AtomicOp::Max => a.max(b),
    };
    result.to_le_bytes()[..operand.len()].to_vec()
}

fn step() -> impl Strategy<Value = Step> {
    let k = || 0..KEYS;
    let range = || (0..KEYS, 0..=KEYS).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let op = prop_oneof![Just(AtomicOp::Add), Just(AtomicOp::Min), Just(AtomicOp::Max)];
    prop_oneof![
        6 => (k(), any::<bool>()).prop_map(|(key, snapshot)| Step::Get { key, snapshot }),
        4 => (range(), prop::option::of(1..4usize), any::<bool>(), any::<bool>()).prop_map(
            |((begin, end), limit, reverse, snapshot)| Step::Range { begin, end, limit, reverse, snapshot }
        ),
        1 => Just(Step::ReadLog),
        6 => (k(), any::<u8>()).prop_map(|(key, value)| Step::Set { key, value }),
        2 => k().prop_map(|key| Step::Clear { key }),
        2 => range().prop_map(|(begin, end)| Step::ClearRange { begin, end }),
        3 => (op, k(), prop::collection::vec(any::<u8>(), 1..4))
            .prop_map(|(op, key, operand)| Step::Atomic { op, key, operand }),
        1 => k().prop_map(|key| Step::StampValue { key }),
        1 => any::<u8>().prop_map(|value| Step::StampKey { value }),
        1 => range().prop_map(|(begin, end)| Step::ReadConflict { begin, end }),
        1 => range().prop_map(|(begin, end)| Step::WriteConflict { begin, end }),
    ]
}

/// The ten bytes of a stamp that the store fills in.
fn stamp_bytes(stamp: &Versionstamp) -> [u8; 10] {
    stamp.as_bytes()[..10].try_into().expect("a versionstamp has twelve bytes")
}

async fn contents(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let read = RangeRead { begin: vec![], end: vec![0xff], limit: None, reverse: false, snapshot: true };
    let entries = store.begin().range(&read).await.expect("the store can be read");
    entries.iter().map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect()
}

fn writes(step: &Step) -> bool {
    !matches!(step, Step::Get { .. } | Step::Range { .. } | Step::ReadLog | Step::ReadConflict { .. })
}

/// A transaction of the interleaved run.
struct Running {
    tx: Transaction,
    read_version: Version,
    /// Over the state at the read version.
    view: View,
    writes: bool,
    steps: Vec<Step>,
}

/// Interleaves transactions in one task; `schedule` says whose turn it is.
async fn interleave(store: &Store, transactions: Vec<Vec<Step>>, schedule: Vec<u8>) -> Result<(), TestCaseError> {
    let mut states = BTreeMap::from([(store.current_version().await.expect("open"), BTreeMap::new())]);
    // What each commit wrote.
    let mut history: Vec<(Version, BTreeSet<Place>)> = Vec::new();
    let mut waiting = transactions.into_iter();
    let mut running: Vec<(Running, usize)> = Vec::new();
    for turn in schedule {
        if running.len() < 3
            && let Some(steps) = waiting.next()
        {
            let tx = store.begin();
            let read_version = tx.read_version().await.expect("open");
            // The state of the newest commit that it can see; versions that nobody committed at look the same.
            let (_, state) = states.range(..=read_version).next_back().expect("there is a first state");
            let view = View::over(state);
            running.push((Running { tx, read_version, view, writes: false, steps }, 0));
        }
        if running.is_empty() {
            break;
        }
        let index = usize::from(turn) % running.len();
        let (transaction, position) = &mut running[index];
        if let Some(step) = transaction.steps.get(*position) {
            *position += 1;
            let expected = transaction.view.run(step, &[0xff; 10]);
            let found = run(&transaction.tx, step).await.expect("no step fails");
            prop_assert_eq!(found, expected, "{:?}", step);
            // An empty conflict or clear range is nothing.
            transaction.writes |= writes(step)
                && !matches!(step, Step::ClearRange { begin, end } | Step::WriteConflict { begin, end } if begin == end);
            continue;
        }
        let (transaction, _) = running.swap_remove(index);
        let Running { tx, read_version, view, writes, steps } = transaction;
        let conflicts = writes
            && history.iter().any(|(version, written)| *version > read_version && !written.is_disjoint(&view.reads));
        match tx.commit().await {
            Ok(committed) => {
                prop_assert!(!conflicts, "{:?} should have conflicted", steps);
                prop_assert_eq!(committed.versionstamp.is_some(), writes);
                if let Some(stamp) = &committed.versionstamp {
                    let newest = states.values().next_back().expect("there is a first state");
                    let mut after = View::over(newest);
                    for step in &steps {
                        after.run(step, &stamp_bytes(stamp));
                    }
                    states.insert(committed.version, after.state);
                    history.push((committed.version, view.writes));
                }
            }
            Err(StoreError::Conflict) => prop_assert!(conflicts, "{:?} should have committed", steps),
            Err(error) => prop_assert!(false, "{error:?}"),
        }
        prop_assert_eq!(&contents(store).await, states.values().next_back().expect("there is a first state"));
    }
    Ok(())
}

/// What is known of a transaction that committed.
struct Done {
    steps: Vec<Step>,
    saw: Vec<Option<Seen>>,
    read_version: Version,
    stamp: Option<Versionstamp>,
}

/// Runs each list of transactions in a task of its own, on the threads of a runtime.
async fn concurrently(store: &Store, tasks: Vec<Vec<Vec<Step>>>) -> Result<(), TestCaseError> {
    let mut running = tokio::task::JoinSet::new();
    for transactions in tasks {
        let store = store.clone();
        running.spawn(async move {
            let mut done = Vec::new();
            for steps in transactions {
                let tx = store.begin();
                let read_version = tx.read_version().await.expect("open");
                let mut saw = Vec::new();
                for step in &steps {
                    saw.push(run(&tx, step).await.expect("no step fails"));
                    tokio::task::yield_now().await;
                }
                match tx.commit().await {
                    Ok(committed) => done.push(Done { steps, saw, read_version, stamp: committed.versionstamp }),
                    Err(StoreError::Conflict) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            done
        });
    }
    let done: Vec<Done> = running.join_all().await.into_iter().flatten().collect();
    let (mut writers, readers): (Vec<Done>, Vec<Done>) = done.into_iter().partition(|done| done.stamp.is_some());
    writers.sort_by(|a, b| a.stamp.cmp(&b.stamp));

    // The state after each version; versions are shared by the transactions of one batch.
    let mut states: BTreeMap<Version, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::from([(0, BTreeMap::new())]);
    let at = |states: &BTreeMap<Version, _>, version: Version| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let (_, state): (_, &BTreeMap<Vec<u8>, Vec<u8>>) =
            states.range(..=version).next_back().expect("version 0 is there");
        state.clone()
    };
    for done in &writers {
        let stamp = done.stamp.as_ref().expect("a writer has a stamp");
        let version = hearth_store::version_of(stamp);
        prop_assert!(done.read_version < version);
        let mut now = View::over(&at(&states, Version::MAX));
        let mut then = View::over(&at(&states, done.read_version));
        for (step, saw) in done.steps.iter().zip(&done.saw) {
            let (now, then) = (now.run(step, &stamp_bytes(stamp)), then.run(step, &stamp_bytes(stamp)));
            prop_assert_eq!(saw, &then, "{:?} at its read version", step);
            let is_snapshot = matches!(step, Step::Get { snapshot: true, .. } | Step::Range { snapshot: true, .. });
            // A read that failed adds no conflict: the caller has nothing that could be out of date.
            if !is_snapshot && !matches!(saw, Some(Err(()))) {
                prop_assert_eq!(saw, &now, "{:?} at its commit", step);
            }
        }
        states.insert(version, now.state);
    }
    for done in &readers {
        let mut then = View::over(&at(&states, done.read_version));
        for (step, saw) in done.steps.iter().zip(&done.saw) {
            prop_assert_eq!(saw, &then.run(step, &[0xff; 10]), "{:?} of a reader", step);
        }
    }
    prop_assert_eq!(contents(store).await, at(&states, Version::MAX));
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn interleaved_transactions_agree_with_the_model(
        transactions in prop::collection::vec(prop::collection::vec(step(), 1..10), 1..12),
        schedule in prop::collection::vec(any::<u8>(), 120),
    ) {
        runtime().block_on(interleave(&Store::memory(), transactions, schedule))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn concurrent_histories_are_serializable(
        tasks in prop::collection::vec(prop::collection::vec(prop::collection::vec(step(), 1..8), 5..25), 2..5),
    ) {
        runtime().block_on(concurrently(&Store::memory(), tasks))?;
    }

    #[test]
    fn concurrent_histories_on_disk_are_serializable(
        tasks in prop::collection::vec(prop::collection::vec(prop::collection::vec(step(), 1..8), 5..15), 2..5),
    ) {
        runtime().block_on(async {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let options = hearth_store::EmbeddedOptions { path: directory.path().to_owned(), cache_bytes: 8 << 20 };
            let store = Store::open(options.clone()).await.expect("a new store opens");
            let outcome = concurrently(&store, tasks).await;
            let before = contents(&store).await;
            store.close().await;
            drop(store);
            outcome?;
            let store = Store::open(options).await.expect("it opens again");
            prop_assert_eq!(contents(&store).await, before);
            Ok(())
        })?;
    }
}

/// An empty store on the cluster, for one case.
async fn on_cluster(cluster: &hearth_store_testing::Cluster) -> Store {
    let options = hearth_store::FoundationDbOptions {
        cluster_file: cluster.cluster_file().to_owned(),
        client_library: cluster.client_library(),
        key_prefix: cluster.new_prefix(),
    };
    Store::open_foundationdb(options).await.expect("the cluster is there")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn interleaved_transactions_on_foundationdb_agree_with_the_model(
        transactions in prop::collection::vec(prop::collection::vec(step(), 1..10), 1..12),
        schedule in prop::collection::vec(any::<u8>(), 120),
    ) {
        if let Some(cluster) = hearth_store_testing::cluster() {
            runtime().block_on(async { interleave(&on_cluster(cluster).await, transactions, schedule).await })?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 15, ..ProptestConfig::default() })]

    #[test]
    fn concurrent_histories_on_foundationdb_are_serializable(
        tasks in prop::collection::vec(prop::collection::vec(prop::collection::vec(step(), 1..8), 5..25), 2..5),
    ) {
        if let Some(cluster) = hearth_store_testing::cluster() {
            runtime().block_on(async { concurrently(&on_cluster(cluster).await, tasks).await })?;
        }
    }
}
