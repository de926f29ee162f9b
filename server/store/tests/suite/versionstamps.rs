//! Versionstamped keys and values.

use hearth_store::tuple::{self, Versionstamp};
use hearth_store::{RangeRead, StoreError, Transaction, keyspace, version_of};

use super::Subject;

mod typed {
    hearth_store::keyspace! {
        database "suite";
        /// What happened when.
        EVENT "ev": (room: String, at: hearth_store::Versionstamp) => u64;
        /// When something happened last.
        LAST "la": (room: String) => hearth_store::Versionstamp;
    }
}

/// `prefix` + stamp + `suffix` with the offset behind it.
fn stamped(prefix: &[u8], suffix: &[u8]) -> Vec<u8> {
    let offset = u32::try_from(prefix.len()).unwrap();
    [prefix, &[0xff; 10], suffix, &offset.to_le_bytes()].concat()
}

async fn entries(t: &Subject, tx: &Transaction) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = tx.range(&t.range("", "~")).await.unwrap();
    entries.iter().map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect()
}

pub(crate) async fn key_and_value_hold_the_commits_stamp(t: Subject) {
    let tx = t.store.begin();
    tx.set_versionstamped_key(&stamped(&t.key("k"), b"end"), b"value");
    tx.set_versionstamped_value(&t.key("v"), &stamped(b"[", b"]"));
    let committed = tx.commit().await.unwrap();
    let stamp = committed.versionstamp.unwrap();
    assert_eq!(version_of(&stamp), committed.version);
    let transaction = &stamp.as_bytes()[..10];
    let expected = vec![
        ([t.key("k").as_slice(), transaction, b"end"].concat(), b"value".to_vec()),
        (t.key("v"), [b"[", transaction, b"]"].concat()),
    ];
    assert_eq!(entries(&t, &t.store.begin()).await, expected);
}

pub(crate) async fn later_commits_have_larger_stamps(t: Subject) {
    let mut last = None;
    for turn in 0..20u8 {
        let tx = t.store.begin();
        tx.set_versionstamped_key(&stamped(&t.key("k"), b""), &[turn]);
        let stamp = tx.commit().await.unwrap().versionstamp;
        assert!(stamp > last, "{stamp:?} after {last:?}");
        last = stamp;
    }
    let order: Vec<u8> = entries(&t, &t.store.begin()).await.into_iter().map(|(_, value)| value[0]).collect();
    assert_eq!(order, (0..20).collect::<Vec<u8>>());
    // Those that share a version differ in their place within it.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (store, key) = (t.store.clone(), t.key("x"));
        tasks.spawn(async move {
            let tx = store.begin();
            tx.set(&key, b"");
            tx.commit().await.unwrap().versionstamp.unwrap()
        });
    }
    let mut stamps = tasks.join_all().await;
    stamps.sort();
    stamps.dedup();
    assert_eq!(stamps.len(), 40);
    assert!(stamps.iter().all(|stamp| Some(stamp) > last.as_ref()));
}

pub(crate) async fn many_stamps_in_one_transaction(t: Subject) {
    let tx = t.store.begin();
    for turn in 0..50u16 {
        tx.set_versionstamped_key(&stamped(&t.key("k"), &turn.to_be_bytes()), &turn.to_be_bytes());
    }
    let stamp = tx.commit().await.unwrap().versionstamp.unwrap();
    let expected: Vec<_> = (0..50u16)
        .map(|turn| ([&t.key("k"), &stamp.as_bytes()[..10], &turn.to_be_bytes()].concat(), turn.to_be_bytes().to_vec()))
        .collect();
    assert_eq!(entries(&t, &t.store.begin()).await, expected);
}

pub(crate) async fn user_version_is_kept(t: Subject) {
    let tx = t.store.begin();
    let key = |user| tuple::pack_with_versionstamp(&(t.prefix.as_slice(), Versionstamp::incomplete(user)));
    tx.set_versionstamped_key(&key(7), b"seven");
    tx.set_versionstamped_key(&key(300), b"three hundred");
    let stamp = tx.commit().await.unwrap().versionstamp.unwrap();
    let tx = t.store.begin();
    for (user, value) in [(7, "seven"), (300, "three hundred")] {
        let mut transaction = [0; 10];
        transaction.copy_from_slice(&stamp.as_bytes()[..10]);
        let key = tuple::pack(&(t.prefix.as_slice(), Versionstamp::complete(transaction, user)));
        assert_eq!(tx.get(&key).await.unwrap().unwrap(), value.as_bytes());
    }
}

pub(crate) async fn stamped_value_is_unreadable(t: Subject) {
    t.put(&[("a", "old"), ("b", "old")]).await;
    let tx = t.store.begin();
    tx.set_versionstamped_value(&t.key("a"), &stamped(b"", b""));
    assert!(matches!(tx.get(&t.key("a")).await, Err(StoreError::AccessedUnreadable)));
    assert!(matches!(tx.get_snapshot(&t.key("a")).await, Err(StoreError::AccessedUnreadable)));
    assert!(matches!(tx.range(&t.range("", "~")).await, Err(StoreError::AccessedUnreadable)));
    assert_eq!(t.read(&tx, &t.range("aa", "~")).await.unwrap(), super::pairs(&[("b", "old")]));
    // A read that ends before it does not see it.
    let reverse = RangeRead { reverse: true, limit: Some(1), ..t.range("", "~") };
    assert_eq!(t.read(&tx, &reverse).await.unwrap(), super::pairs(&[("b", "old")]));
    // Writing over it does not make it readable, clearing it does.
    tx.set(&t.key("a"), b"new");
    assert!(matches!(tx.get(&t.key("a")).await, Err(StoreError::AccessedUnreadable)));
    tx.clear(&t.key("a"));
    assert_eq!(tx.get(&t.key("a")).await.unwrap(), None);
    tx.set(&t.key("a"), b"newer");
    tx.commit().await.unwrap();
    assert_eq!(t.value("a").await.as_deref(), Some("newer"));
}

pub(crate) async fn stamped_key_range_is_unreadable(t: Subject) {
    t.put(&[("a", "1"), ("z", "2")]).await;
    let tx = t.store.begin();
    tx.set_versionstamped_key(&stamped(&t.key("k"), b""), b"new");
    let within = t.key([b"k".as_slice(), &[1; 10]].concat());
    assert!(matches!(tx.get(&within).await, Err(StoreError::AccessedUnreadable)));
    assert!(matches!(tx.range(&t.range("", "~")).await, Err(StoreError::AccessedUnreadable)));
    let first = RangeRead { limit: Some(1), ..t.range("", "~") };
    assert_eq!(t.read(&tx, &first).await.unwrap(), super::pairs(&[("a", "1")]));
    let last = RangeRead { reverse: true, ..first };
    assert_eq!(t.read(&tx, &last).await.unwrap(), super::pairs(&[("z", "2")]));
    tx.commit().await.unwrap();
}

pub(crate) async fn older_stamps_stay_readable(t: Subject) {
    let append = async |value: &[u8]| {
        let tx = t.store.begin();
        tx.set_versionstamped_key(&stamped(&t.key("k"), b""), value);
        tx.commit().await.unwrap().versionstamp.unwrap()
    };
    append(b"1").await;
    let newest = append(b"2").await;
    let tx = t.store.begin();
    tx.read_version().await.unwrap();
    tx.set_versionstamped_key(&stamped(&t.key("k"), b""), b"3");
    // What is committed lies below where the new key can come to lie.
    let end = [t.key("k").as_slice(), &newest.as_bytes()[..10], b"\0"].concat();
    let read = RangeRead { end, ..t.range("k", "l") };
    let found: Vec<_> = tx.range(&read).await.unwrap().iter().map(|entry| entry.value.to_vec()).collect();
    assert_eq!(found, [b"1", b"2"]);
    assert!(matches!(tx.range(&t.range("k", "l")).await, Err(StoreError::AccessedUnreadable)));
}

pub(crate) async fn cleared_stamps_are_gone(t: Subject) {
    let tx = t.store.begin();
    tx.set_versionstamped_key(&stamped(&t.key("k"), b""), b"gone");
    tx.set_versionstamped_value(&t.key("v"), &stamped(b"", b""));
    tx.clear_range(&t.key(""), &t.key("~"));
    assert_eq!(entries(&t, &tx).await, []);
    tx.set_versionstamped_key(&stamped(&t.key("k"), b"2"), b"stays");
    let stamp = tx.commit().await.unwrap().versionstamp.unwrap();
    let expected = ([t.key("k").as_slice(), &stamp.as_bytes()[..10], b"2"].concat(), b"stays".to_vec());
    assert_eq!(entries(&t, &t.store.begin()).await, [expected]);
}

pub(crate) async fn room_is_checked(t: Subject) {
    let no_room = |length: usize, offset: u32| [vec![0; length].as_slice(), &offset.to_le_bytes()].concat();
    for bad in [vec![], vec![0; 3], no_room(9, 0), no_room(10, 1), no_room(20, 11), no_room(20, u32::MAX)] {
        let tx = t.store.begin();
        tx.set_versionstamped_key(&bad, b"");
        assert!(matches!(tx.commit().await, Err(StoreError::InvalidVersionstamp)), "key {bad:?}");
        let tx = t.store.begin();
        tx.set_versionstamped_value(&t.key("v"), &bad);
        assert!(matches!(tx.commit().await, Err(StoreError::InvalidVersionstamp)), "value {bad:?}");
    }
    let tx = t.store.begin();
    tx.set_versionstamped_value(&t.key("v"), &no_room(20, 10));
    tx.commit().await.unwrap();
}

pub(crate) async fn typed_table_stamps(t: Subject) {
    let append = async |number: u64| {
        let tx = t.store.begin();
        let room = String::from_utf8(t.prefix.clone()).unwrap();
        typed::EVENT.set_versionstamped_key(&tx, (&room, &Versionstamp::incomplete(0)), &number);
        typed::LAST.set_to_commit_stamp(&tx, (&room,), 5);
        tx.commit().await.unwrap().versionstamp.unwrap()
    };
    let first = append(1).await;
    let second = append(2).await;
    let tx = t.store.begin();
    let room = String::from_utf8(t.prefix.clone()).unwrap();
    let found = typed::EVENT.scan((room.as_str(),)).all(&tx).await.unwrap();
    assert_eq!(found, [((room.clone(), first.clone()), 1), ((room.clone(), second.clone()), 2)]);
    let later = typed::EVENT.scan((room.as_str(),)).after((room.as_str(), &first)).first(&tx).await.unwrap();
    assert_eq!(later.map(|(_, number)| number), Some(2));
    let last = typed::LAST.get(&tx, (&room,)).await.unwrap().unwrap();
    assert_eq!((&last.as_bytes()[..10], last.user_version()), (&second.as_bytes()[..10], 5));
    let tables: &[keyspace::TableInfo] = typed::TABLES;
    assert_eq!(tables[0].key, "room: String, at: hearth_store::Versionstamp");
    tx.clear_range(&typed::EVENT.pack(&()), &keyspace::past(&typed::EVENT.pack(&())));
    typed::LAST.clear_prefix(&tx, ());
    tx.commit().await.unwrap();
    assert!(typed::EVENT.scan(()).all(&t.store.begin()).await.unwrap().is_empty());
}
