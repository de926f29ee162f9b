//! The server's signing key.

use ed25519_dalek::pkcs8::EncodePrivateKey;
use rand::{Rng, rngs::OsRng};
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
    #[expect(clippy::missing_panics_doc, reason = "it never does")]
    pub fn generate(server_name: OwnedServerName) -> (Self, Vec<u8>) {
        let document = ed25519_dalek::SigningKey::generate(&mut OsRng)
            .to_pkcs8_der()
            .expect("every ed25519 key has a PKCS#8 form")
            .as_bytes()
            .to_vec();
        let version: String =
            rand::thread_rng().sample_iter(rand::distributions::Alphanumeric).take(6).map(char::from).collect();
        let key = Self::from_pkcs8(server_name, format!("a_{version}"), &document)
            .expect("a document that was generated this moment parses");
        (key, document)
    }

    /// Reads a key back from its PKCS#8 document.
    pub fn from_pkcs8(server_name: OwnedServerName, version: String, document: &[u8]) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_der(document, version).map_err(|error| error.to_string())?;
        Ok(Self { server_name, pair })
    }
}

impl std::fmt::Debug for SigningKey {
    /// Names the key without showing it.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SigningKey({} ed25519:{})", self.server_name, self.pair.version())
    }
}
