use std::time::Duration;

use super::*;
use crate::accounts::tests::{PASSWORD, accounts, accounts_with};

#[tokio::test]
async fn availability() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    assert_eq!(accounts.check_available("Bob").await.unwrap(), "bob");
    assert!(matches!(accounts.check_available("ALICE").await, Err(AccountError::UserInUse)));
    assert!(matches!(accounts.check_available("a b").await, Err(AccountError::InvalidUsername(_))));
    accounts.deactivate(&alice, false).await.unwrap();
    assert!(matches!(accounts.check_available("alice").await, Err(AccountError::UserInUse)));
}

fn request<'a>(nonce: &'a str, mac: &'a str) -> SharedSecretRequest<'a> {
    SharedSecretRequest {
        nonce,
        username: "alice",
        displayname: Some("Alice"),
        password: PASSWORD,
        admin: true,
        user_type: None,
        mac,
    }
}

fn mac(parts: &[&str]) -> String {
    let mut mac = <Hmac<Sha1> as Mac>::new_from_slice(b"secret").unwrap();
    mac.update(parts.join("\0").as_bytes());
    format!("{:x}", mac.finalize().into_bytes())
}

#[tokio::test]
async fn shared_secret() {
    let accounts = accounts_with(|config| config.shared_secret = Some("secret".into()));
    let nonce = accounts.registration_nonce().await.unwrap();
    let good = mac(&[&nonce, "alice", PASSWORD, "admin"]);
    let alice = accounts.register_with_shared_secret(request(&nonce, &good)).await.unwrap();
    let user = accounts.user(&alice).await.unwrap().unwrap();
    assert!(user.admin);
    assert_eq!(user.displayname.as_deref(), Some("Alice"));

    for (name, parts) in
        [("not signed as admin", ["alice", PASSWORD, "notadmin"]), ("other user", ["bob", PASSWORD, "admin"])]
    {
        let nonce = accounts.registration_nonce().await.unwrap();
        let mac = mac(&[&[&*nonce], &parts[..]].concat());
        let result = accounts.register_with_shared_secret(request(&nonce, &mac)).await;
        assert!(matches!(result, Err(AccountError::Forbidden(_))), "{name}");
        // The attempt has used the nonce up.
        let good = self::mac(&[&nonce, "alice", PASSWORD, "admin"]);
        let result = accounts.register_with_shared_secret(request(&nonce, &good)).await;
        assert!(matches!(result, Err(AccountError::InvalidParam(_))), "{name}");
    }
    for bad in ["", "xyz", "abc", "äöü", &"0".repeat(40)] {
        let nonce = accounts.registration_nonce().await.unwrap();
        let result = accounts.register_with_shared_secret(request(&nonce, bad)).await;
        assert!(matches!(result, Err(AccountError::Forbidden(_))), "{bad}");
    }
    let nonce = accounts.registration_nonce().await.unwrap();
    let good = mac(&[&nonce, "alice", PASSWORD, "admin"]);
    accounts.clock.advance(Duration::from_secs(61));
    for nonce in [&*nonce, "made up", &"x".repeat(20_000)] {
        let result = accounts.register_with_shared_secret(request(nonce, &good)).await;
        assert!(matches!(result, Err(AccountError::InvalidParam(_))));
    }
}

#[tokio::test]
async fn no_shared_secret_no_registration() {
    for secret in [None, Some(String::new())] {
        let accounts = accounts_with(|config| config.shared_secret = secret);
        assert!(matches!(accounts.registration_nonce().await, Err(AccountError::Forbidden(_))));
    }
}

/// Computed with another implementation (Python's `hmac`), as tools written for Synapse do.
#[tokio::test]
async fn known_answers() {
    for (user_type, admin, mac) in [
        (None, true, "b3154c7f18df708d14db8a25e9e875921a735f4e"),
        (Some("bot"), false, "3de2de8c1d9e2e9e72cf2164b03d750810d9be89"),
    ] {
        let accounts = accounts_with(|config| config.shared_secret = Some("secret".into()));
        accounts
            .store
            .transact("test", |tx| async move {
                NONCE.set(&tx, ("n1",), &u64::MAX);
                Ok::<_, AccountError>(())
            })
            .await
            .unwrap();
        let request = SharedSecretRequest { admin, user_type, ..request("n1", mac) };
        accounts.register_with_shared_secret(request).await.unwrap();
    }
}
