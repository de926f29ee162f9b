//! Random identifiers and the digests under which tokens are stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{Rng, RngCore, rngs::OsRng};
use sha2::{Digest, Sha256};

/// A secret of 256 bits behind a prefix that says what it is (so that a leaked one can be recognized).
pub(crate) fn new_token(prefix: &str) -> String {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// `length` random characters that are easy to read and type, all within the grammar of opaque identifiers.
pub(crate) fn new_id(length: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..length).map(|_| char::from(ALPHABET[OsRng.gen_range(0..ALPHABET.len())])).collect()
}

/// What is stored in place of a token. Tokens carry 256 random bits, so a plain digest cannot be searched backwards.
pub(crate) fn digest(token: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_digests_are_stable() {
        assert_ne!(new_token("x"), new_token("x"));
        assert!(new_token("hat").starts_with("hat_"));
        assert_eq!(new_id(12).len(), 12);
        assert_eq!(digest("a"), digest("a"));
        assert_ne!(digest("a"), digest("b"));
    }
}
