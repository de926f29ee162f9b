//! Whose store it is: the identity of the server that used it first stays in the store, and no other server runs on it.
//!
//! The signing key itself is in the data folder (see [`crate::data_folder`]); the store has only what everybody may know of it.
//! Where several processes serve one domain from one cluster, each has its own data folder with a copy of `identity.toml`.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use hearth_protocol::SigningKey;
use hearth_store::{Store, StoreError};
use ruma::ServerName;

use crate::{
    data_folder::DataFolder,
    failure::Failure,
    server_keys::{IDENTITY, IdentityRecord},
};

/// The signing key of the server in `folder`, made at the very first start. Refused where the store is another server's. Only
/// who holds the folder's lock may call this.
pub(crate) async fn establish(
    store: &Store,
    folder: &DataFolder,
    server_name: &ServerName,
) -> Result<SigningKey, Failure> {
    let kept = store.transact("identity", async |tx| IDENTITY.get(&tx, (0,)).await).await.map_err(Failure::of_store)?;
    if let Some(kept) = &kept
        && !folder.has_identity()
    {
        return Err(refuse(kept, folder, &format!("{} is missing", folder.identity_file().display())));
    }
    let key = folder.signing_key(server_name)?;
    let own = record(&key);
    let kept = store
        .transact("identity", async |tx| {
            if let Some(kept) = IDENTITY.get(&tx, (0,)).await? {
                return Ok::<_, StoreError>(kept);
            }
            IDENTITY.set(&tx, (0,), &own);
            Ok(own.clone())
        })
        .await
        .map_err(Failure::of_store)?;
    if kept == own {
        return Ok(key);
    }
    let found =
        format!("{} is that of {} with the key {}", folder.identity_file().display(), own.server_name, own.key_id);
    Err(refuse(&kept, folder, &found))
}

fn record(key: &SigningKey) -> IdentityRecord {
    IdentityRecord {
        server_name: key.server_name.to_string(),
        key_id: format!("ed25519:{}", key.pair.version()),
        public_key: STANDARD_NO_PAD.encode(key.pair.public_key()),
    }
}

fn refuse(kept: &IdentityRecord, folder: &DataFolder, found: &str) -> Failure {
    Failure::configuration(format!(
        "The store belongs to the server {} with the key {}, but {found}. Copy the file identity.toml from the data folder \
         that the store was first used with to {}; or use another store.",
        kept.server_name,
        kept.key_id,
        folder.path().display()
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ruma::server_name;

    use super::*;
    use crate::failure::CONFIGURATION;

    #[tokio::test]
    async fn a_store_has_one_identity() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = |name: &str| DataFolder::open(&temporary.path().join(name)).unwrap();
        let copy =
            |from: &DataFolder, to: &Path| std::fs::copy(from.identity_file(), to.join("identity.toml")).unwrap();
        let name = server_name!("example.org");
        let store = Store::memory();
        let first = folder("first");
        let key = establish(&store, &first, name).await.unwrap();
        let again = establish(&store, &first, name).await.unwrap();
        assert_eq!(key.pair.public_key(), again.pair.public_key());

        // A second machine without the file: refused before one is made.
        let second = folder("second");
        let error = establish(&store, &second, name).await.unwrap_err();
        assert_eq!(error.code, CONFIGURATION);
        assert!(error.message.contains("identity.toml is missing") && error.message.contains("Copy"), "{error}");
        assert!(!second.has_identity());
        copy(&first, second.path());
        let shared = establish(&store, &second, name).await.unwrap();
        assert_eq!(key.pair.public_key(), shared.pair.public_key());

        // Another identity, of the same name or another one.
        let other = folder("other");
        establish(&Store::memory(), &other, name).await.unwrap();
        let error = establish(&store, &other, name).await.unwrap_err();
        assert!(error.message.contains("with the key ed25519:") && error.message.contains("Copy"), "{error}");
        let error = establish(&store, &other, server_name!("other.example")).await.unwrap_err();
        assert_eq!(error.code, CONFIGURATION);
        store.close().await;
    }
}
