//! The server's signing key.

use ruma::{OwnedServerName, signatures::Ed25519KeyPair};

/// This server's name and its current ed25519 key.
pub struct SigningKey {
    /// The server that signs.
    pub server_name: OwnedServerName,
    /// The key pair; its version is the part behind `ed25519:`.
    pub pair: Ed25519KeyPair,
}

impl SigningKey {
    /// Makes a new random key with a random version. The second value is the PKCS#8 document to keep.
    pub fn generate(server_name: OwnedServerName) -> (Self, Vec<u8>) {
        let _ = server_name;
        todo!()
    }

    /// Reads a key back from its PKCS#8 document.
    pub fn from_pkcs8(server_name: OwnedServerName, version: String, document: &[u8]) -> Result<Self, String> {
        let _ = (server_name, version, document);
        todo!()
    }
}
