//! The C API's functions.
#![allow(clippy::missing_safety_doc)] // each has the contract of the C function of its name
#![allow(clippy::too_many_arguments)] // C's
#![allow(missing_docs)] // FoundationDB documents them: https://apple.github.io/foundationdb/api-c.html

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use crate::types::{
    FDBCallback, FDBDatabase, FDBFuture, FDBKey, FDBKeyValue, FDBMappedKeyValue, FDBTransaction, fdb_bool_t,
    fdb_error_t,
};
use crate::{FDBConflictRangeType, FDBDatabaseOption, FDBMutationType, FDBNetworkOption, LIBRARY_NOT_LOADED};
use crate::{FDBStreamingMode, FDBTransactionOption};

/// The loaded library's functions; set once, never taken away.
static LOADED: OnceLock<Functions> = OnceLock::new();

/// The functions, once the library is loaded.
pub(crate) fn loaded() -> Option<&'static Functions> {
    LOADED.get()
}

/// Makes `functions` the ones that everyone calls. The first call decides.
pub(crate) fn set_loaded(functions: Functions) {
    let _ = LOADED.set(functions);
}

/// What a function answers while no library is loaded.
trait WithoutLibrary {
    fn without_library(function: &str) -> Self;
}

impl WithoutLibrary for c_int {
    fn without_library(_: &str) -> Self {
        LIBRARY_NOT_LOADED
    }
}

/// For the functions that cannot say that they failed. Whoever calls one holds an object that only a loaded library gives.
fn impossible(function: &str) -> ! {
    eprintln!("{function} was called although no FoundationDB client library is loaded");
    std::process::abort()
}

impl WithoutLibrary for () {
    fn without_library(function: &str) -> Self {
        impossible(function)
    }
}
impl WithoutLibrary for f64 {
    fn without_library(function: &str) -> Self {
        impossible(function)
    }
}
impl<T> WithoutLibrary for *const T {
    fn without_library(function: &str) -> Self {
        impossible(function)
    }
}
impl<T> WithoutLibrary for *mut T {
    fn without_library(function: &str) -> Self {
        impossible(function)
    }
}

/// From one line per function: its place in the table of pointers, its lookup in a library, and the function that calls
/// through the table. Those under `by hand` get no such function.
macro_rules! functions {
    (
        $(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $returns:ty)?;)+
        by hand:
        $(fn $own:ident($($own_type:ty),* $(,)?) $(-> $own_returns:ty)?;)+
    ) => {
        /// Pointers to every function, all of one library.
        #[derive(Debug)]
        pub(crate) struct Functions {
            $(pub(crate) $name: unsafe extern "C" fn($($type),*) $(-> $returns)?,)+
            $(pub(crate) $own: unsafe extern "C" fn($($own_type),*) $(-> $own_returns)?,)+
        }

        impl Functions {
            /// Looks every function up.
            ///
            /// # Safety
            ///
            /// `library` is `libfdb_c`, so that its functions have these signatures, and it is never unloaded.
            pub(crate) unsafe fn resolve(library: &libloading::Library) -> Result<Self, libloading::Error> {
                // Safety: as this function's.
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0"))?,)+
                        $($own: *library.get(concat!(stringify!($own), "\0"))?,)+
                    })
                }
            }
        }

        $(
            #[inline]
            pub unsafe fn $name($($argument: $type),*) $(-> $returns)? {
                match loaded() {
                    // Safety: the caller keeps the C function's contract.
                    Some(functions) => unsafe { (functions.$name)($($argument),*) },
                    None => WithoutLibrary::without_library(stringify!($name)),
                }
            }
        )+

        /// Every function's name.
        pub const FUNCTION_NAMES: &[&str] = &[$(stringify!($name),)+ $(stringify!($own),)+];
    };
}

functions! {
    fn fdb_error_predicate(predicate: c_int, code: fdb_error_t) -> fdb_bool_t;
    fn fdb_get_client_version() -> *const c_char;
    fn fdb_select_api_version_impl(runtime_version: c_int, header_version: c_int) -> fdb_error_t;

    fn fdb_network_set_option(option: FDBNetworkOption, value: *const u8, length: c_int) -> fdb_error_t;
    fn fdb_setup_network() -> fdb_error_t;
    fn fdb_run_network() -> fdb_error_t;
    fn fdb_stop_network() -> fdb_error_t;

    fn fdb_future_destroy(future: *mut FDBFuture);
    fn fdb_future_is_ready(future: *mut FDBFuture) -> fdb_bool_t;
    fn fdb_future_set_callback(future: *mut FDBFuture, callback: FDBCallback, parameter: *mut c_void) -> fdb_error_t;
    fn fdb_future_get_error(future: *mut FDBFuture) -> fdb_error_t;
    fn fdb_future_get_int64(future: *mut FDBFuture, number: *mut i64) -> fdb_error_t;
    fn fdb_future_get_key(future: *mut FDBFuture, key: *mut *const u8, length: *mut c_int) -> fdb_error_t;
    fn fdb_future_get_value(
        future: *mut FDBFuture, present: *mut fdb_bool_t, value: *mut *const u8, length: *mut c_int,
    ) -> fdb_error_t;
    fn fdb_future_get_key_array(future: *mut FDBFuture, keys: *mut *const FDBKey, count: *mut c_int) -> fdb_error_t;
    fn fdb_future_get_string_array(
        future: *mut FDBFuture, strings: *mut *mut *const c_char, count: *mut c_int,
    ) -> fdb_error_t;
    fn fdb_future_get_keyvalue_array(
        future: *mut FDBFuture, entries: *mut *const FDBKeyValue, count: *mut c_int, more: *mut fdb_bool_t,
    ) -> fdb_error_t;
    fn fdb_future_get_mappedkeyvalue_array(
        future: *mut FDBFuture, entries: *mut *const FDBMappedKeyValue, count: *mut c_int, more: *mut fdb_bool_t,
    ) -> fdb_error_t;

    fn fdb_create_database(cluster_file: *const c_char, database: *mut *mut FDBDatabase) -> fdb_error_t;
    fn fdb_database_destroy(database: *mut FDBDatabase);
    fn fdb_database_set_option(
        database: *mut FDBDatabase, option: FDBDatabaseOption, value: *const u8, length: c_int,
    ) -> fdb_error_t;
    fn fdb_database_create_transaction(
        database: *mut FDBDatabase, transaction: *mut *mut FDBTransaction,
    ) -> fdb_error_t;
    fn fdb_database_get_main_thread_busyness(database: *mut FDBDatabase) -> f64;
    fn fdb_database_get_client_status(database: *mut FDBDatabase) -> *mut FDBFuture;

    fn fdb_transaction_destroy(transaction: *mut FDBTransaction);
    fn fdb_transaction_cancel(transaction: *mut FDBTransaction);
    fn fdb_transaction_reset(transaction: *mut FDBTransaction);
    fn fdb_transaction_set_option(
        transaction: *mut FDBTransaction, option: FDBTransactionOption, value: *const u8, length: c_int,
    ) -> fdb_error_t;
    fn fdb_transaction_set_read_version(transaction: *mut FDBTransaction, version: i64);
    fn fdb_transaction_get_read_version(transaction: *mut FDBTransaction) -> *mut FDBFuture;
    fn fdb_transaction_get(
        transaction: *mut FDBTransaction, key: *const u8, length: c_int, snapshot: fdb_bool_t,
    ) -> *mut FDBFuture;
    fn fdb_transaction_get_key(
        transaction: *mut FDBTransaction, key: *const u8, length: c_int, or_equal: fdb_bool_t, offset: c_int,
        snapshot: fdb_bool_t,
    ) -> *mut FDBFuture;
    fn fdb_transaction_get_addresses_for_key(
        transaction: *mut FDBTransaction, key: *const u8, length: c_int,
    ) -> *mut FDBFuture;
    fn fdb_transaction_get_range(
        transaction: *mut FDBTransaction,
        begin: *const u8, begin_length: c_int, begin_or_equal: fdb_bool_t, begin_offset: c_int,
        end: *const u8, end_length: c_int, end_or_equal: fdb_bool_t, end_offset: c_int,
        limit: c_int, target_bytes: c_int, mode: FDBStreamingMode, iteration: c_int,
        snapshot: fdb_bool_t, reverse: fdb_bool_t,
    ) -> *mut FDBFuture;
    fn fdb_transaction_get_mapped_range(
        transaction: *mut FDBTransaction,
        begin: *const u8, begin_length: c_int, begin_or_equal: fdb_bool_t, begin_offset: c_int,
        end: *const u8, end_length: c_int, end_or_equal: fdb_bool_t, end_offset: c_int,
        mapper: *const u8, mapper_length: c_int,
        limit: c_int, target_bytes: c_int, mode: FDBStreamingMode, iteration: c_int,
        snapshot: fdb_bool_t, reverse: fdb_bool_t,
    ) -> *mut FDBFuture;
    fn fdb_transaction_get_estimated_range_size_bytes(
        transaction: *mut FDBTransaction, begin: *const u8, begin_length: c_int, end: *const u8, end_length: c_int,
    ) -> *mut FDBFuture;
    fn fdb_transaction_get_range_split_points(
        transaction: *mut FDBTransaction, begin: *const u8, begin_length: c_int, end: *const u8, end_length: c_int,
        chunk_bytes: i64,
    ) -> *mut FDBFuture;
    fn fdb_transaction_set(
        transaction: *mut FDBTransaction, key: *const u8, key_length: c_int, value: *const u8, value_length: c_int,
    );
    fn fdb_transaction_atomic_op(
        transaction: *mut FDBTransaction, key: *const u8, key_length: c_int, operand: *const u8,
        operand_length: c_int, operation: FDBMutationType,
    );
    fn fdb_transaction_clear(transaction: *mut FDBTransaction, key: *const u8, length: c_int);
    fn fdb_transaction_clear_range(
        transaction: *mut FDBTransaction, begin: *const u8, begin_length: c_int, end: *const u8, end_length: c_int,
    );
    fn fdb_transaction_add_conflict_range(
        transaction: *mut FDBTransaction, begin: *const u8, begin_length: c_int, end: *const u8, end_length: c_int,
        kind: FDBConflictRangeType,
    ) -> fdb_error_t;
    fn fdb_transaction_watch(transaction: *mut FDBTransaction, key: *const u8, length: c_int) -> *mut FDBFuture;
    fn fdb_transaction_commit(transaction: *mut FDBTransaction) -> *mut FDBFuture;
    fn fdb_transaction_get_committed_version(transaction: *mut FDBTransaction, version: *mut i64) -> fdb_error_t;
    fn fdb_transaction_get_versionstamp(transaction: *mut FDBTransaction) -> *mut FDBFuture;
    fn fdb_transaction_get_approximate_size(transaction: *mut FDBTransaction) -> *mut FDBFuture;
    fn fdb_transaction_on_error(transaction: *mut FDBTransaction, code: fdb_error_t) -> *mut FDBFuture;

    by hand:
    fn fdb_get_error(fdb_error_t) -> *const c_char;
    fn fdb_get_max_api_version() -> c_int;
}

const NOT_LOADED_TEXT: &CStr = c"the FoundationDB client library (libfdb_c) is not loaded";

/// What an error code means, [`LIBRARY_NOT_LOADED`] included.
pub unsafe fn fdb_get_error(code: fdb_error_t) -> *const c_char {
    match loaded() {
        // Safety: any code may be asked for; the text is static.
        Some(functions) if code != LIBRARY_NOT_LOADED => unsafe { (functions.fdb_get_error)(code) },
        _ => NOT_LOADED_TEXT.as_ptr(),
    }
}

/// The newest API version that the library speaks; 0 while none is loaded.
pub unsafe fn fdb_get_max_api_version() -> c_int {
    // Safety: no preconditions.
    loaded().map_or(0, |functions| unsafe { (functions.fdb_get_max_api_version)() })
}
