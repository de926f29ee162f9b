//! The C API's types, as on every platform that FoundationDB supports (64 bits).
#![allow(non_camel_case_types, non_snake_case)] // C's names
#![allow(missing_docs)] // fields are those of the C structs; FoundationDB documents them

use std::ffi::{c_int, c_void};

/// An error code; 0 is success.
pub type fdb_error_t = c_int;
/// 0 is false.
pub type fdb_bool_t = c_int;

/// Declares C structs that are only ever seen through a pointer.
macro_rules! opaque {
    ($($(#[$meta:meta])* $name:ident)+) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug)]
        pub struct $name {
            _private: [u8; 0],
            // Neither sent, shared nor moved by anyone who does not know what is behind the pointer.
            _marker: std::marker::PhantomData<(*mut u8, std::marker::PhantomPinned)>,
        }
    )+};
}

opaque! {
    /// A result that is not there yet.
    FDBFuture
    /// A connection to a cluster.
    FDBDatabase
    /// A transaction.
    FDBTransaction
}

/// Called when a future becomes ready, on the network thread or on the one that sets the callback.
pub type FDBCallback = Option<unsafe extern "C" fn(future: *mut FDBFuture, parameter: *mut c_void)>;

// The C header packs these two to four bytes, so that an array of them has no holes.

/// A key in a future's memory.
#[repr(C, packed(4))]
#[derive(Debug, Clone, Copy)]
pub struct FDBKey {
    pub key: *const u8,
    pub key_length: c_int,
}

/// A key and its value in a future's memory.
#[repr(C, packed(4))]
#[derive(Debug, Clone, Copy)]
pub struct FDBKeyValue {
    pub key: *const u8,
    pub key_length: c_int,
    pub value: *const u8,
    pub value_length: c_int,
}

// These are not packed.

/// A key selector as it lies in memory.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct FDBKeySelector {
    pub key: FDBKey,
    pub orEqual: fdb_bool_t,
    pub offset: c_int,
}

/// A range that was asked for, and its entries.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct FDBGetRangeReqAndResult {
    pub begin: FDBKeySelector,
    pub end: FDBKeySelector,
    pub data: *mut FDBKeyValue,
    pub m_size: c_int,
    pub m_capacity: c_int,
}

/// An entry of a mapped range.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct FDBMappedKeyValue {
    pub key: FDBKey,
    pub value: FDBKey,
    pub getRange: FDBGetRangeReqAndResult,
    pub buffer: [u8; 32],
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of, size_of};

    use super::*;

    /// Sizes and offsets that a C compiler gives these structs; the header tells those of the mapped entry.
    #[test]
    fn layouts_are_those_of_c() {
        assert_eq!((size_of::<FDBKey>(), align_of::<FDBKey>()), (12, 4));
        assert_eq!(offset_of!(FDBKey, key_length), 8);
        assert_eq!((size_of::<FDBKeyValue>(), align_of::<FDBKeyValue>()), (24, 4));
        assert_eq!(offset_of!(FDBKeyValue, key_length), 8);
        assert_eq!(offset_of!(FDBKeyValue, value), 12);
        assert_eq!(offset_of!(FDBKeyValue, value_length), 20);
        assert_eq!((size_of::<FDBKeySelector>(), align_of::<FDBKeySelector>()), (20, 4));
        assert_eq!((offset_of!(FDBKeySelector, orEqual), offset_of!(FDBKeySelector, offset)), (12, 16));
        assert_eq!((size_of::<FDBGetRangeReqAndResult>(), align_of::<FDBGetRangeReqAndResult>()), (56, 8));
        assert_eq!(offset_of!(FDBGetRangeReqAndResult, end), 20);
        assert_eq!(offset_of!(FDBGetRangeReqAndResult, data), 40);
        assert_eq!(offset_of!(FDBGetRangeReqAndResult, m_size), 48);
        assert_eq!((size_of::<FDBMappedKeyValue>(), align_of::<FDBMappedKeyValue>()), (112, 8));
        assert_eq!((offset_of!(FDBMappedKeyValue, value), offset_of!(FDBMappedKeyValue, getRange)), (12, 24));
        assert_eq!(offset_of!(FDBMappedKeyValue, buffer), 80);
        assert_eq!(size_of::<FDBCallback>(), size_of::<*const c_void>());
    }
}
