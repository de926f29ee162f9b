//! A snapshot that replaces parts of itself, as FoundationDB's does, becomes a file with each key once and in order.

use std::collections::BTreeMap;

use hearth_store::{Bytes, KeyValue, SnapshotPart, Store};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::backup::{Given, Work};
use crate::task::Wanted;
use crate::{RestoreOptions, restore};

/// `thing` number `key` in the table, or something outside of tables.
fn key(number: u8) -> Bytes {
    THING.pack(&(u64::from(number),)).into()
}

fn entries(keys: &BTreeMap<u8, u8>) -> Vec<KeyValue> {
    keys.iter().map(|(number, value)| KeyValue { key: key(*number), value: vec![*value; 40].into() }).collect()
}

#[derive(Debug, Clone)]
enum Part {
    /// As many of the entries as there are in this many keys.
    Entries(u8),
    Replace(u8, u8, BTreeMap<u8, u8>),
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        (1u8..30).prop_map(Part::Entries),
        (0u8..100, 0u8..40, prop::collection::btree_map(0u8..100, any::<u8>(), 0..10)).prop_map(
            |(begin, length, entries)| {
                let end = (begin + length).min(100);
                let inside = entries.into_iter().filter(|(key, _)| begin <= *key && *key < end).collect();
                Part::Replace(begin, end, inside)
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn parts_applied_in_order_are_what_is_restored(
        base in prop::collection::btree_map(0u8..100, any::<u8>(), 0..60),
        parts in prop::collection::vec(part(), 0..12),
        encrypted in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        let (sender, receiver) = mpsc::channel(64);
        let mut model: BTreeMap<u8, u8> = BTreeMap::new();
        let mut position = 0;
        let mut give = |to: u8, model: &mut BTreeMap<u8, u8>| {
            let some: BTreeMap<u8, u8> = base.range(position..to).map(|(key, value)| (*key, *value)).collect();
            position = to;
            model.extend(&some);
            if !some.is_empty() {
                sender.try_send(Given::Part(SnapshotPart::Entries(entries(&some)))).unwrap();
            }
            position
        };
        let mut at = 0u8;
        for part in &parts {
            match part {
                Part::Entries(keys) => at = give((at + keys).min(100), &mut model),
                // What was given so far is out of date; the rest is read later, and newer.
                Part::Replace(begin, end, inside) => {
                    let end = (*end).min(at);
                    if *begin >= end {
                        continue;
                    }
                    model.retain(|key, _| !(*begin <= *key && *key < end));
                    let inside = inside.iter().filter(|(key, _)| **key < end).map(|(key, value)| (*key, *value)).collect();
                    model.extend(&inside);
                    let (begin, end) = (key(*begin), key(end));
                    sender.try_send(Given::Part(SnapshotPart::Replace { begin, end, entries: entries(&inside) })).unwrap();
                }
            }
        }
        give(100, &mut model);
        sender.try_send(Given::Whole(7)).unwrap();
        drop(sender);

        let (wanted, _waiting) = Wanted::new();
        let passphrase = encrypted.then_some("x");
        let work = Work {
            path: path.clone(),
            options: options(passphrase),
            cost: CHEAP,
            engine: "foundationdb",
            wanted,
            progress: Progress::new(),
        };
        let summary = work.run(receiver).unwrap();
        prop_assert_eq!(summary.keys, model.len() as u64);
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let target = Store::memory();
        let restoring = RestoreOptions { passphrase: passphrase.and_then(Passphrase::new), ..RestoreOptions::default() };
        runtime.block_on(restore(&path, &target, restoring, &Progress::new())).unwrap();
        let expected: BTreeMap<Vec<u8>, Vec<u8>> =
            entries(&model).into_iter().map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect();
        prop_assert_eq!(runtime.block_on(contents(&target)), expected);
    }
}
