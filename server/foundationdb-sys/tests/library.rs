//! With the real library, where one is found: every function resolves, the network starts and the process ends well.
//!
//! `cargo test -p foundationdb-sys --release -- --nocapture` prints what a call through the table costs.

#![allow(unsafe_code)] // these are C functions
#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use std::ffi::{CStr, c_int};
use std::hint::black_box;
use std::time::Instant;

use foundationdb_sys::{LIBRARY_NOT_LOADED, fdb_error_predicate, fdb_get_error, library, network};

const CALLS: u32 = 20_000_000;

fn text(code: i32) -> String {
    // Safety: any code may be asked for; the text is static.
    unsafe { CStr::from_ptr(fdb_get_error(code)) }.to_str().unwrap().to_owned()
}

// One test, for the order matters: the library is loaded once.
#[test]
fn loads_starts_and_stops() {
    // Safety: no preconditions.
    assert_eq!(unsafe { fdb_error_predicate(50_000, 1020) }, LIBRARY_NOT_LOADED);
    assert_eq!(text(LIBRARY_NOT_LOADED), "the FoundationDB client library (libfdb_c) is not loaded");
    let loaded = match library::load(None) {
        Ok(loaded) => loaded,
        Err(error) => {
            println!("SKIPPED: {error}");
            return;
        }
    };
    println!("{loaded:?}");
    assert_eq!(library::load(Some("/nowhere".as_ref())).unwrap(), loaded, "once per process");
    let started = network::start(&loaded).unwrap();
    println!("{started:?}");
    assert_eq!(started.api_version, loaded.newest_api_version.min(740));
    assert!(started.client_version.split('.').all(|number| number.parse::<u32>().is_ok()), "{started:?}");
    assert_eq!(network::start(&loaded).unwrap(), started, "the second start is the first one");
    // Safety: no preconditions.
    assert_eq!(unsafe { fdb_error_predicate(50_000, 1020) }, 1, "not_committed is retryable");
    assert!(text(1020).contains("conflict"), "{}", text(1020));

    // Safety: it is the library that is loaded already, and the function has this signature.
    let (direct, through_the_table) = unsafe {
        let again = libloading::Library::new(&loaded.path).unwrap();
        let direct: unsafe extern "C" fn(c_int, c_int) -> c_int = *again.get("fdb_error_predicate").unwrap();
        (
            time(|| direct(black_box(50_000), black_box(1020))),
            time(|| fdb_error_predicate(black_box(50_000), black_box(1020))),
        )
    };
    println!("fdb_error_predicate: {direct:.2} ns by its pointer, {through_the_table:.2} ns through the table");
}

/// Nanoseconds per call.
fn time(mut call: impl FnMut() -> c_int) -> f64 {
    let began = Instant::now();
    for _ in 0..CALLS {
        black_box(call());
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}
