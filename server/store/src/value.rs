use bytes::Bytes;
use foundationdb_tuple::Versionstamp;

/// A table's value: how it is written and read back.
pub trait Value: Sized {
    /// The stored bytes.
    fn encode(&self) -> Vec<u8>;
    /// The value again; the error says what did not decode.
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

impl Value for () {
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }
    fn decode(_: &[u8]) -> Result<Self, String> {
        Ok(())
    }
}

/// Little-endian, so that [`crate::AtomicOp`] applies.
impl Value for u64 {
    fn encode(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let bytes = bytes.try_into().map_err(|_| format!("{} bytes where 8 are a number", bytes.len()))?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl Value for String {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
    fn decode(bytes: &[u8]) -> Result<Self, String> {
        String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
    }
}

impl Value for Bytes {
    fn encode(&self) -> Vec<u8> {
        self.to_vec()
    }
    fn decode(bytes: &[u8]) -> Result<Self, String> {
        Ok(Bytes::copy_from_slice(bytes))
    }
}

/// Twelve bytes: the ten of the commit, two of the user version.
impl Value for Versionstamp {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let bytes: [u8; 12] =
            bytes.try_into().map_err(|_| format!("{} bytes where 12 are a versionstamp", bytes.len()))?;
        Ok(Versionstamp::from(bytes))
    }
}

/// Implements [`Value`] for serde types as MessagePack arrays.
///
/// Such a type grows by appending fields marked `#[serde(default)]`; never reorder or remove one, and use
/// no `flatten`, `untagged` or `skip_serializing_if`, which an array cannot carry.
#[macro_export]
macro_rules! msgpack_value {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::Value for $type {
            fn encode(&self) -> Vec<u8> {
                // Encoding into memory fails only for types that say so themselves; none of ours do.
                $crate::rmp_serde::to_vec(self).expect("plain data always encodes")
            }
            fn decode(bytes: &[u8]) -> Result<Self, String> {
                $crate::rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
            }
        }
    )+};
}
