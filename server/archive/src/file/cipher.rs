//! From a passphrase to sealed frames.
//!
//! STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) over XChaCha20-Poly1305: each frame's nonce is the file's random
//! 19 bytes, the frame's number, and whether it is the last one. A frame that is missing, repeated, moved or the last one
//! without being so does not open.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::stream::{DecryptorBE32, EncryptorBE32};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::RngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};

use crate::{ArchiveError, Passphrase};

/// What deriving a key costs whoever guesses passphrases, and us: argon2id, version 1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Memory in KiB.
    pub(crate) memory_kib: u32,
    /// Passes over the memory.
    pub(crate) iterations: u32,
    /// Lanes.
    pub(crate) lanes: u32,
}

impl Default for Cost {
    /// The second recommendation of RFC 9106 with one lane: some tenths of a second.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, iterations: 3, lanes: 1 }
    }
}

impl Cost {
    /// A header from strangers may not make us take all memory, or run for days.
    fn is_sane(self) -> bool {
        (8..=1 << 20).contains(&self.memory_kib)
            && (1..=64).contains(&self.iterations)
            && (1..=16).contains(&self.lanes)
    }
}

/// How a file is encrypted, as its header says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Encryption {
    /// `argon2id`
    kdf: String,
    #[serde(flatten)]
    cost: Cost,
    /// Sixteen bytes in Base64.
    salt: String,
    /// `xchacha20poly1305-stream-be32`
    cipher: String,
    /// The part of the nonces that all frames share: nineteen bytes in Base64.
    nonce: String,
    /// Tells a wrong passphrase from a damaged file, and binds the file to one key: sixteen bytes in Base64.
    check: String,
}

const KDF: &str = "argon2id";
const CIPHER: &str = "xchacha20poly1305-stream-be32";

/// A file's key. Never shown.
#[derive(Clone)]
pub(crate) struct FileKey {
    key: [u8; 32],
    check: [u8; 16],
    salt: [u8; 16],
    cost: Cost,
}

impl std::fmt::Debug for FileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileKey")
    }
}

/// Why there is no key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyError {
    /// The header's words cannot be meant.
    Header(&'static str),
    /// The passphrase is another one.
    Wrong,
}

impl FileKey {
    /// A key with a new salt.
    pub(super) fn new(passphrase: &Passphrase, cost: Cost) -> Result<Self, KeyError> {
        let mut salt = [0; 16];
        OsRng.fill_bytes(&mut salt);
        Self::derive(passphrase, salt, cost)
    }

    fn derive(passphrase: &Passphrase, salt: [u8; 16], cost: Cost) -> Result<Self, KeyError> {
        let params = Params::new(cost.memory_kib, cost.iterations, cost.lanes, Some(48));
        let params = params.map_err(|_| KeyError::Header("its key derivation has impossible parameters"))?;
        let mut out = [0; 48];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut out)
            .map_err(|_| KeyError::Header("its key cannot be derived"))?;
        let (mut key, mut check) = ([0; 32], [0; 16]);
        key.copy_from_slice(&out[..32]);
        check.copy_from_slice(&out[32..]);
        Ok(Self { key, check, salt, cost })
    }

    /// What the header of a new file says, with a new nonce.
    pub(super) fn encryption(&self) -> Encryption {
        let mut nonce = [0; 19];
        OsRng.fill_bytes(&mut nonce);
        Encryption {
            kdf: KDF.to_owned(),
            cost: self.cost,
            salt: STANDARD.encode(self.salt),
            cipher: CIPHER.to_owned(),
            nonce: STANDARD.encode(nonce),
            check: STANDARD.encode(self.check),
        }
    }

    /// The key of the file with this header.
    pub(super) fn of(encryption: &Encryption, passphrase: &Passphrase) -> Result<Self, KeyError> {
        let Encryption { kdf, cost, salt, cipher, check, .. } = encryption;
        if kdf != KDF || cipher != CIPHER {
            return Err(KeyError::Header("it is encrypted in a way that is not known here"));
        }
        if !cost.is_sane() {
            return Err(KeyError::Header("its key derivation has impossible parameters"));
        }
        let key = Self::derive(passphrase, bytes(salt)?, *cost)?;
        if key.check != bytes::<16>(check)? {
            return Err(KeyError::Wrong);
        }
        Ok(key)
    }

    pub(super) fn sealer(&self, encryption: &Encryption) -> Result<Sealer, KeyError> {
        let nonce: [u8; 19] = bytes(&encryption.nonce)?;
        Ok(Sealer(EncryptorBE32::from_aead(XChaCha20Poly1305::new(&self.key.into()), &nonce.into())))
    }

    pub(super) fn opener(&self, encryption: &Encryption) -> Result<Opener, KeyError> {
        let nonce: [u8; 19] = bytes(&encryption.nonce)?;
        Ok(Opener(DecryptorBE32::from_aead(XChaCha20Poly1305::new(&self.key.into()), &nonce.into())))
    }
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], KeyError> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(KeyError::Header("its encryption is not described as it should be"))
}

/// Seals frames, in order.
pub(super) struct Sealer(EncryptorBE32<XChaCha20Poly1305>);

impl Sealer {
    pub(super) fn next(&mut self, body: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt_next(Payload { msg: body, aad }).ok()
    }

    pub(super) fn last(self, body: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt_last(Payload { msg: body, aad }).ok()
    }
}

/// Opens frames, in order.
pub(super) struct Opener(DecryptorBE32<XChaCha20Poly1305>);

impl Opener {
    pub(super) fn next(&mut self, body: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt_next(Payload { msg: body, aad }).ok()
    }

    pub(super) fn last(self, body: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt_last(Payload { msg: body, aad }).ok()
    }
}

/// Seals pieces of a file that only this process reads, with a key that is never written anywhere.
pub(crate) struct SpillKey(XChaCha20Poly1305);

impl std::fmt::Debug for SpillKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpillKey")
    }
}

impl SpillKey {
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        OsRng.fill_bytes(&mut key);
        Self(XChaCha20Poly1305::new(&key.into()))
    }

    fn nonce(number: u64) -> XNonce {
        let mut nonce = XNonce::default();
        nonce[..8].copy_from_slice(&number.to_le_bytes());
        nonce
    }

    /// Seals the piece of this number; no number is used twice.
    pub(crate) fn seal(&self, number: u64, piece: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(&Self::nonce(number), piece).ok()
    }

    pub(crate) fn open(&self, number: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(&Self::nonce(number), sealed).ok()
    }
}

/// A key that is none, as what is wrong with the file at `path`.
pub(super) fn key_error(path: &Path, error: &KeyError) -> ArchiveError {
    let path = path.to_owned();
    match error {
        KeyError::Wrong => ArchiveError::PassphraseWrong { path },
        KeyError::Header(detail) => ArchiveError::Damaged { path, detail: (*detail).to_owned() },
    }
}
