//! Password hashing: argon2id, off the async threads, few at a time.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use rand::{RngCore, rngs::OsRng};
use tokio::sync::Semaphore;

use crate::AccountError;

/// Shortest password that is accepted, in characters.
const MIN_CHARACTERS: usize = 8;
/// Longest password that is accepted, in bytes.
const MAX_BYTES: usize = 512;

/// Whether a password may be set: 8 characters at least, 512 bytes at most.
pub fn check_strength(password: &str) -> Result<(), AccountError> {
    if password.chars().count() < MIN_CHARACTERS {
        return Err(AccountError::WeakPassword("the password must have at least 8 characters"));
    }
    if password.len() > MAX_BYTES {
        return Err(AccountError::WeakPassword("the password must have at most 512 bytes"));
    }
    Ok(())
}

/// What one argon2id hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
}

impl Default for PasswordCost {
    /// What OWASP recommends for argon2id.
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2 }
    }
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Wrong password.
    Wrong,
    /// Right, and hashed at the configured cost.
    Right,
    /// Right, but hashed at another cost: to be hashed anew.
    RightButStale,
}

/// Hashes and checks passwords. Each hash takes `memory_kib` of memory, so their number at a time is bounded.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    permits: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(cost: PasswordCost) -> Self {
        // Below argon2's own minimum (8 KiB, one pass) there is nothing to configure; the default stands in.
        let params = Params::new(cost.memory_kib, cost.iterations, 1, None).unwrap_or_else(|_| {
            let cost = PasswordCost::default();
            Params::new(cost.memory_kib, cost.iterations, 1, None).expect("the default cost is within argon2's bounds")
        });
        let permits = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            permits: Arc::new(Semaphore::new(permits)),
        }
    }

    /// The hash to store.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, AccountError> {
        let password = password.to_owned();
        self.run(move |argon2| {
            let mut salt = [0; 16];
            OsRng.fill_bytes(&mut salt);
            let salt = SaltString::encode_b64(&salt).map_err(internal)?;
            Ok(argon2.hash_password(password.as_bytes(), &salt).map_err(internal)?.to_string())
        })
        .await
    }

    /// Checks a password against a stored hash. Without a hash it works as long and finds it wrong, so that the time
    /// does not tell which users exist.
    pub(crate) async fn verify(&self, password: &str, hash: Option<&str>) -> Result<Verdict, AccountError> {
        if password.len() > MAX_BYTES {
            return Ok(Verdict::Wrong);
        }
        let Some(hash) = hash else {
            self.hash(password).await?;
            return Ok(Verdict::Wrong);
        };
        let (password, hash) = (password.to_owned(), hash.to_owned());
        self.run(move |argon2| {
            let hash = PasswordHash::new(&hash).map_err(internal)?;
            if argon2.verify_password(password.as_bytes(), &hash).is_err() {
                return Ok(Verdict::Wrong);
            }
            let cost = Params::try_from(&hash).map_err(internal)?;
            let configured = argon2.params();
            let same = cost.m_cost() == configured.m_cost()
                && cost.t_cost() == configured.t_cost()
                && cost.p_cost() == configured.p_cost();
            Ok(if same { Verdict::Right } else { Verdict::RightButStale })
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> Result<T, AccountError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(internal)?;
        let argon2 = self.argon2.clone();
        tokio::task::spawn_blocking(move || {
            let result = work(&argon2);
            // Held by the work itself: a caller that gives up must not let another hash begin beside it.
            drop(permit);
            result
        })
        .await
        .map_err(internal)?
    }
}

fn internal(error: impl std::fmt::Display) -> AccountError {
    AccountError::Internal(format!("password hashing: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 8, iterations: 1 };

    #[tokio::test]
    async fn verdicts() {
        let cheap = Passwords::new(CHEAP);
        let dearer = Passwords::new(PasswordCost { memory_kib: 16, iterations: 1 });
        let hash = cheap.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert_ne!(hash, cheap.hash("correct horse").await.unwrap(), "salted");
        for (passwords, password, hash, verdict) in [
            (&cheap, "correct horse", Some(&*hash), Verdict::Right),
            (&dearer, "correct horse", Some(&*hash), Verdict::RightButStale),
            (&cheap, "correct horsf", Some(&*hash), Verdict::Wrong),
            (&cheap, "", Some(&*hash), Verdict::Wrong),
            (&cheap, "correct horse", None, Verdict::Wrong),
        ] {
            assert_eq!(passwords.verify(password, hash).await.unwrap(), verdict, "{password}");
        }
    }

    #[test]
    fn strength() {
        for (password, good) in
            [("1234567", false), ("12345678", true), ("ÄÄÄÄÄÄÄÄ", true), (&"x".repeat(513), false), ("", false)]
        {
            assert_eq!(check_strength(password).is_ok(), good, "{password}");
        }
    }
}
