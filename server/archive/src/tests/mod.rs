//! Whole backups, restores and copies on stores in memory and on disk.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod changes;
mod copies;
mod damage;
mod folders;
mod restores;

use std::collections::BTreeMap;
use std::path::Path;

use hearth_store::limits::KEY_BYTES;
use hearth_store::{RangeRead, Store, StoreError, Transaction, Versionstamp, tuple};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::backup::backup_at_cost;
use crate::file::Cost;
use crate::own::Own;
use crate::{ArchiveError, Attachment, BackupOptions, BackupSummary, Passphrase, Progress};

/// What costs next to nothing, for tests that derive keys by the thousand.
const CHEAP: Cost = Cost { memory_kib: 8, iterations: 1, lanes: 1 };

hearth_store::keyspace! {
    database "test";
    /// Entries of any size.
    THING "thing": (number: u64) => String;
    /// What happened when.
    STREAM "stream": (at: Versionstamp) => u64;
    /// When something happened last.
    HEAD "head": (number: u64) => Versionstamp;
}

fn options(passphrase: Option<&str>) -> BackupOptions {
    BackupOptions {
        server_name: "example.org".to_owned(),
        hearth_version: "1.2.3".to_owned(),
        passphrase: passphrase.and_then(Passphrase::new),
        scheduled: false,
        attachments: vec![Attachment { name: "identity.toml".to_owned(), content: b"key = 1".to_vec() }],
    }
}

async fn back_up(store: &Store, path: &Path, options: BackupOptions) -> Result<BackupSummary, ArchiveError> {
    backup_at_cost(store, path, options, &Progress::new(), CHEAP).await
}

/// Adds to the stream; returns where.
async fn happen(store: &Store, number: u64) -> Versionstamp {
    let tx = store.begin();
    STREAM.set_versionstamped_key(&tx, (&Versionstamp::incomplete(0),), &number);
    HEAD.set_to_commit_stamp(&tx, (0,), 0);
    tx.commit().await.unwrap().versionstamp.unwrap()
}

/// A store with `things` entries of up to `most` bytes, and a stream of ten.
async fn filled(store: &Store, seed: u64, things: u64, most: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    for from in (0..things).step_by(100) {
        let tx = store.begin();
        for number in from..things.min(from + 100) {
            let length = random.gen_range(0..most);
            // Half of it compresses, half does not.
            let text: String =
                (0..length).map(|at| if at % 2 == 0 { 'a' } else { random.r#gen::<u8>().into() }).collect();
            THING.set(&tx, (number,), &text);
        }
        tx.commit().await.unwrap();
    }
    for number in 0..10 {
        happen(store, number).await;
    }
    let odd = |tx: Transaction| async move {
        tx.set(b"", b"the empty key");
        tx.set(b"\x01low", b"");
        tx.set(&tuple::pack(&("test", "zero\0byte", "x\0")), &vec![0; 70_000]);
        tx.set(&[&b"\x02a\0\x02b\0"[..], &vec![0x03; KEY_BYTES - 6]].concat(), b"a long key");
        tx.set(b"\xfehigh", b"x");
        Ok::<_, StoreError>(())
    };
    store.transact("odd", odd).await.unwrap();
}

/// Everything in a store but its own notes.
async fn contents(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let tx = store.begin();
    let read = RangeRead { begin: Vec::new(), end: vec![0xff], limit: None, reverse: false, snapshot: true };
    let entries = tx.range(&read).await.unwrap();
    let entries = entries.into_iter().filter(|entry| !Own::new().holds(&entry.key));
    entries.map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect()
}

/// Runs `work` until `enough`, and drops it then. Returns what it came to if it was faster.
async fn until<T>(work: impl Future<Output = T>, enough: impl Fn() -> bool) -> Option<T> {
    let watch = async {
        while !enough() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = watch => None,
        done = work => Some(done),
    }
}
