//! How fast data is kept and moved: `cargo bench -p hearth-archive --bench archive`, with the number of entries as an argument.
//!
//! The entries are like those of a server: short keys, a few hundred bytes of JSON. Embedded stores on disk, fsync on.

#![allow(clippy::unwrap_used)] // a bench that cannot go on says where

use std::path::Path;
use std::time::{Duration, Instant};

use hearth_archive::{
    BackupOptions, CopyOptions, Passphrase, Progress, RestoreOptions, backup, copy, restore, sizes, verify,
};
use hearth_store::{EmbeddedOptions, Store, StoreError, tuple};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const ENTRIES: u64 = 300_000;

async fn open(path: &Path) -> Store {
    Store::open(EmbeddedOptions { path: path.to_owned(), cache_bytes: 64 << 20 }).await.unwrap()
}

fn event(random: &mut StdRng, number: u64) -> String {
    let words = ["hello", "tomorrow", "meeting", "photo", "again", "perhaps", "and", "the", "garden"];
    let body: Vec<&str> = (0..random.gen_range(3..40)).map(|_| words[random.gen_range(0..words.len())]).collect();
    format!(
        "{{\"auth_events\":[\"${:043}\",\"${:043}\"],\"content\":{{\"body\":\"{}\",\"msgtype\":\"m.text\"}},\"depth\":{number},\
         \"origin_server_ts\":{},\"sender\":\"@user{}:example.org\",\"type\":\"m.room.message\"}}",
        random.r#gen::<u64>(),
        random.r#gen::<u64>(),
        body.join(" "),
        1_700_000_000_000 + number * 977,
        random.gen_range(0..50),
    )
}

fn line(what: &str, keys: u64, bytes: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    let memory = peak().map(|peak| format!("  peak memory so far {peak} MB")).unwrap_or_default();
    println!("{what:<34} {:>9.0} entries/s {:>7.1} MB/s{memory}", keys as f64 / seconds, bytes as f64 / 1e6 / seconds);
}

/// Largest memory of this process so far, in megabytes.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1000)
}

#[tokio::main]
async fn main() {
    let entries = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ENTRIES);
    // Beside the build's files rather than in the temporary directory, which is memory on many machines.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| folder.path().join(name);
    let source = open(&path("source")).await;
    let mut random = StdRng::seed_from_u64(1);
    for from in (0..entries).step_by(1000) {
        let events: Vec<_> =
            (from..(from + 1000).min(entries)).map(|number| (number, event(&mut random, number))).collect();
        let (events, store) = (&events, &source);
        let write = |tx: hearth_store::Transaction| async move {
            for (number, event) in events {
                tx.set(&tuple::pack(&("rooms", "event", number)), event.as_bytes());
                tx.set(&tuple::pack(&("rooms", "event_nid", event.get(17..60))), &number.to_le_bytes());
            }
            Ok::<_, StoreError>(())
        };
        store.transact("fill", write).await.unwrap();
    }
    println!(
        "page caches: 64 MB for each open store; a key is derived with 64 MB. Peak after filling: {} MB",
        peak().unwrap_or_default()
    );

    let progress = Progress::new();
    for (name, passphrase) in [("plain", None), ("encrypted", Passphrase::new("open sesame"))] {
        let options = BackupOptions {
            server_name: "example.org".to_owned(),
            hearth_version: "0".to_owned(),
            passphrase: passphrase.clone(),
            scheduled: false,
            attachments: Vec::new(),
        };
        let file = path(name);
        let begun = Instant::now();
        let made = backup(&source, &file, options, &progress).await.unwrap();
        line(&format!("backup, {name}"), made.keys, made.bytes, begun.elapsed());
        if passphrase.is_none() {
            let ratio = made.bytes as f64 / made.file_bytes as f64;
            println!(
                "{:<34} {:>9} entries, {} MB become {} MB ({ratio:.2})",
                "",
                made.keys,
                made.bytes / 1_000_000,
                made.file_bytes / 1_000_000
            );
        }
        let begun = Instant::now();
        verify(&file, passphrase.as_ref(), &progress).await.unwrap();
        line(&format!("verify, {name}"), made.keys, made.bytes, begun.elapsed());
    }
    let target = open(&path("restored")).await;
    let begun = Instant::now();
    let restored = restore(&path("plain"), &target, RestoreOptions::default(), &progress).await.unwrap().summary;
    line("restore (verify, write, compare)", restored.keys, restored.bytes, begun.elapsed());
    target.close().await;

    let target = open(&path("copied")).await;
    let options = CopyOptions { from: "a".to_owned(), to: "b".to_owned(), advance_version: false, start_over: false };
    let begun = Instant::now();
    let copied = copy(&source, &target, options, &progress).await.unwrap();
    line("copy (write, compare)", copied.keys, copied.bytes, begun.elapsed());
    target.close().await;

    let begun = Instant::now();
    let counted = sizes(&source, &[], Duration::from_mins(10)).await.unwrap();
    let (keys, bytes) = counted
        .subspaces
        .iter()
        .fold((0, 0), |(keys, bytes), sum| (keys + sum.keys, bytes + sum.key_bytes + sum.value_bytes));
    line("sizes", keys, bytes, begun.elapsed());
    source.close().await;
}
