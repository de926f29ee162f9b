//! What the server itself keeps in the store, beside its databases.

use hearth_store::{keyspace, msgpack_value};
use serde::{Deserialize, Serialize};

/// Who the store's server is, as far as everybody may know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityRecord {
    /// The server's name.
    pub(crate) server_name: String,
    /// `ed25519:a_1b2c3d`
    pub(crate) key_id: String,
    /// The signing key's public half, in unpadded Base64.
    pub(crate) public_key: String,
}

msgpack_value!(IdentityRecord);

keyspace! {
    database "server";

    /// Whose store it is (one key, `0`). A server with another identity does not run on it.
    IDENTITY "identity": (zero: u64) => IdentityRecord;
}
