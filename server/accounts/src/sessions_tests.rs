use std::time::Duration;

use super::*;
use crate::{
    PasswordCost,
    accounts::tests::{PASSWORD, accounts},
    passwords::Passwords,
};

fn refreshing(device: Option<&str>) -> NewDevice {
    NewDevice { device_id: device.map(Into::into), display_name: None, refresh: true }
}

/// What using an access token gives: `ok`, `soft` (soft logout) or `gone`.
async fn state(accounts: &Accounts, token: &str) -> &'static str {
    match accounts.authenticate(token).await {
        Ok(_) => "ok",
        Err(AccountError::UnknownToken { soft_logout: true }) => "soft",
        Err(AccountError::UnknownToken { soft_logout: false }) => "gone",
        Err(error) => panic!("{error}"),
    }
}

async fn stored_tokens(accounts: &Accounts) -> usize {
    let tx = accounts.store.begin();
    let tokens = TOKEN.scan(()).all(&tx).await.unwrap().len();
    assert_eq!(tokens, DEVICE_TOKEN.scan(()).all(&tx).await.unwrap().len(), "every token hangs on its device");
    tokens
}

#[tokio::test]
async fn login_use_logout() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let device = NewDevice { device_id: Some("PHONE".into()), display_name: Some("Phone".into()), refresh: false };
    let tokens = accounts.open_session(&alice, device).await.unwrap();
    assert_eq!((tokens.refresh_token, tokens.expires_in), (None, None));
    let session = accounts.authenticate(&tokens.access_token).await.unwrap();
    assert_eq!(session, Session { user_id: alice.clone(), device_id: "PHONE".into(), admin: false });
    accounts.clock.advance(Duration::from_hours(400 * 24));
    assert_eq!(state(&accounts, &tokens.access_token).await, "ok", "expires only for clients that refresh");
    accounts.logout(&alice, "PHONE".into()).await.unwrap();
    assert_eq!(state(&accounts, &tokens.access_token).await, "gone");
    assert_eq!(stored_tokens(&accounts).await, 0);
}

#[tokio::test]
async fn tokens_are_not_stored() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let tokens = accounts.open_session(&alice, refreshing(None)).await.unwrap();
    let (login, _) = accounts.create_login_token(&alice).await.unwrap();
    let tx = accounts.store.begin();
    let read = hearth_store::RangeRead { begin: vec![], end: vec![0xff], limit: None, reverse: false, snapshot: true };
    for entry in tx.range(&read).await.unwrap() {
        for secret in [&tokens.access_token, tokens.refresh_token.as_ref().unwrap(), &login, PASSWORD] {
            let found = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found(&entry.key) && !found(&entry.value));
        }
    }
}

#[tokio::test]
async fn logging_in_on_a_device_ends_its_earlier_tokens_only() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let named = |name: &str| NewDevice { display_name: Some(name.into()), ..refreshing(Some("PHONE")) };
    let first = accounts.open_session(&alice, named("old")).await.unwrap();
    let other = accounts.open_session(&alice, refreshing(Some("TABLET"))).await.unwrap();
    let second = accounts.open_session(&alice, named("new")).await.unwrap();
    assert_eq!(state(&accounts, &first.access_token).await, "gone");
    assert!(accounts.refresh(&first.refresh_token.unwrap()).await.is_err());
    assert_eq!(state(&accounts, &second.access_token).await, "ok");
    assert_eq!(state(&accounts, &other.access_token).await, "ok");
    let device = accounts.device(&alice, "PHONE".into()).await.unwrap();
    assert_eq!(device.display_name.as_deref(), Some("old"), "an existing device keeps its name");
    accounts.logout_all(&alice).await.unwrap();
    assert_eq!(state(&accounts, &second.access_token).await, "gone");
    assert_eq!(state(&accounts, &other.access_token).await, "gone");
    assert!(accounts.devices(&alice).await.unwrap().is_empty());
}

#[tokio::test]
async fn device_ids_are_checked() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    for id in [String::new(), "x".repeat(256)] {
        assert!(accounts.open_session(&alice, refreshing(Some(&id))).await.is_err());
    }
}

#[tokio::test]
async fn access_tokens_expire_softly() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let tokens = accounts.open_session(&alice, refreshing(None)).await.unwrap();
    assert_eq!(tokens.expires_in, Some(Duration::from_hours(1)));
    accounts.clock.advance(Duration::from_secs(3590));
    assert_eq!(state(&accounts, &tokens.access_token).await, "ok");
    accounts.clock.advance(Duration::from_secs(20));
    assert_eq!(state(&accounts, &tokens.access_token).await, "soft");
    let new = accounts.refresh(tokens.refresh_token.as_ref().unwrap()).await.unwrap();
    assert_eq!(state(&accounts, &new.access_token).await, "ok");
    assert_eq!((&new.user_id, &new.device_id), (&alice, &tokens.device_id));
    accounts.logout(&alice, &tokens.device_id).await.unwrap();
    assert_eq!(state(&accounts, &tokens.access_token).await, "gone", "after logout also the expired one");
}

#[tokio::test]
async fn the_old_pair_is_valid_until_the_new_one_is_used() {
    // Which token of the new pair is used first must not matter.
    for use_refresh in [false, true] {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        let old = accounts.open_session(&alice, refreshing(None)).await.unwrap();
        let old_refresh = old.refresh_token.clone().unwrap();
        let lost = accounts.refresh(&old_refresh).await.unwrap();
        assert_eq!(state(&accounts, &old.access_token).await, "ok");
        // The answer was lost: the client refreshes again, and the lost pair is void.
        let new = accounts.refresh(&old_refresh).await.unwrap();
        assert_eq!(state(&accounts, &lost.access_token).await, "gone");
        assert!(accounts.refresh(&lost.refresh_token.unwrap()).await.is_err());
        assert_eq!(state(&accounts, &old.access_token).await, "ok");
        assert_eq!(stored_tokens(&accounts).await, 4);

        let current = if use_refresh { accounts.refresh(&new.refresh_token.unwrap()).await.unwrap() } else { new };
        assert_eq!(state(&accounts, &current.access_token).await, "ok");
        assert_eq!(state(&accounts, &old.access_token).await, "gone");
        assert!(matches!(accounts.refresh(&old_refresh).await, Err(AccountError::UnknownToken { soft_logout: false })));
        assert_eq!(stored_tokens(&accounts).await, 2, "nothing of the past is left");
    }
}

#[tokio::test]
async fn many_refreshes_leave_nothing_behind() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let mut tokens = accounts.open_session(&alice, refreshing(None)).await.unwrap();
    for step in 0..20 {
        tokens = accounts.refresh(&tokens.refresh_token.unwrap()).await.unwrap();
        if step % 3 == 0 {
            assert_eq!(state(&accounts, &tokens.access_token).await, "ok");
        }
        assert!(stored_tokens(&accounts).await <= 4);
    }
}

#[tokio::test]
async fn refresh_tokens_expire_and_are_no_access_tokens() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let tokens = accounts.open_session(&alice, refreshing(None)).await.unwrap();
    let refresh = tokens.refresh_token.unwrap();
    assert_eq!(state(&accounts, &refresh).await, "gone");
    assert!(accounts.refresh(&tokens.access_token).await.is_err());
    accounts.clock.advance(Duration::from_hours(181 * 24));
    assert!(matches!(accounts.refresh(&refresh).await, Err(AccountError::UnknownToken { soft_logout: true })));
}

#[tokio::test]
async fn passwords() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    for (user, password, good) in [
        ("alice", PASSWORD, true),
        ("@alice:example.org", PASSWORD, true),
        ("ALICE", PASSWORD, true),
        ("@Alice:example.org", PASSWORD, true),
        ("alice", "wrong", false),
        ("alice", "", false),
        ("bob", PASSWORD, false),
        ("@alice:elsewhere.org", PASSWORD, false),
        ("@alice", PASSWORD, false),
        ("", PASSWORD, false),
        (&"x".repeat(70_000), PASSWORD, false),
    ] {
        match accounts.check_password(user, password).await {
            Ok(found) => assert!(good && found == alice, "{user} {password}"),
            Err(AccountError::Forbidden(message)) => {
                assert!(!good, "{user} {password}");
                assert_eq!(message, "invalid username or password", "never tells which");
            }
            Err(error) => panic!("{user}: {error}"),
        }
    }
    let passwordless = crate::NewUser { localpart: Some("bot"), ..crate::NewUser::default() };
    accounts.create_user(passwordless).await.unwrap();
    assert!(matches!(accounts.check_password("bot", "").await, Err(AccountError::Forbidden(_))));
    accounts.deactivate(&alice, false).await.unwrap();
    assert!(matches!(accounts.check_password("alice", PASSWORD).await, Err(AccountError::UserDeactivated)));
}

#[tokio::test]
async fn historical_localparts_log_in() {
    let accounts = accounts();
    let record = UserRecord {
        created_ts: 0,
        admin: false,
        password: Some(accounts.passwords.hash(PASSWORD).await.unwrap()),
        deactivated: false,
        erased: false,
    };
    for localpart in ["Old User", "old user"] {
        let record = &record;
        accounts
            .store
            .transact("test", |tx| async move {
                USER.set(&tx, (localpart,), record);
                Ok::<_, AccountError>(())
            })
            .await
            .unwrap();
    }
    for (user, found) in [("Old User", "Old User"), ("old user", "old user"), ("OLD USER", "old user")] {
        assert_eq!(accounts.check_password(user, PASSWORD).await.unwrap().localpart(), found);
    }
    let user = UserId::parse("@Old User:example.org").unwrap();
    let tokens = accounts.open_session(&user, NewDevice::default()).await.unwrap();
    assert_eq!(accounts.authenticate(&tokens.access_token).await.unwrap().user_id, user);
}

#[tokio::test]
async fn a_password_of_another_cost_is_hashed_anew() {
    let mut accounts = accounts();
    accounts.test_user("alice").await;
    accounts.passwords = Passwords::new(PasswordCost { memory_kib: 16, iterations: 2 });
    let stored = async || USER.get(&accounts.store.begin(), ("alice",)).await.unwrap().unwrap().password.unwrap();
    assert!(stored().await.contains("m=8,t=1"));
    assert!(accounts.check_password("alice", "wrong").await.is_err());
    assert!(stored().await.contains("m=8,t=1"));
    for _ in 0..2 {
        accounts.check_password("alice", PASSWORD).await.unwrap();
        assert!(stored().await.contains("m=16,t=2"));
    }
}

#[tokio::test]
async fn login_tokens_work_once_and_expire() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let (token, lifetime) = accounts.create_login_token(&alice).await.unwrap();
    assert_eq!(lifetime, Duration::from_mins(2));
    assert_eq!(accounts.redeem_login_token(&token).await.unwrap(), alice);
    assert!(matches!(accounts.redeem_login_token(&token).await, Err(AccountError::Forbidden(_))));
    let (token, lifetime) = accounts.create_login_token(&alice).await.unwrap();
    accounts.clock.advance(lifetime);
    assert!(matches!(accounts.redeem_login_token(&token).await, Err(AccountError::Forbidden(_))));
    let (token, _) = accounts.create_login_token(&alice).await.unwrap();
    accounts.deactivate(&alice, false).await.unwrap();
    assert!(matches!(accounts.redeem_login_token(&token).await, Err(AccountError::UserDeactivated)));
    assert!(matches!(accounts.create_login_token(&alice).await, Err(AccountError::UserDeactivated)));
}

#[tokio::test]
async fn a_login_token_redeemed_by_many_at_once_works_for_one() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let (token, _) = accounts.create_login_token(&alice).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (accounts, token) = (accounts.clone(), token.clone());
        tasks.spawn(async move { accounts.redeem_login_token(&token).await.is_ok() });
    }
    let winners = tasks.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(winners, 1);
}

/// The refresh rules as a model: one pair that is in use, and perhaps one that was issued for it.
#[derive(Default)]
struct Model {
    issued: Vec<Tokens>,
    current: usize,
    next: Option<usize>,
}

impl Model {
    fn is_live(&self, pair: usize) -> bool {
        pair == self.current || Some(pair) == self.next
    }

    /// A live pair was used: what it replaced is over.
    fn used(&mut self, pair: usize) {
        if self.next == Some(pair) {
            (self.current, self.next) = (pair, None);
        }
    }
}

async fn follows_the_model(steps: Vec<(bool, usize)>) {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let mut model = Model::default();
    model.issued.push(accounts.open_session(&alice, refreshing(None)).await.unwrap());
    for (refresh, back) in steps {
        // Mostly one of the newest pairs, live or not.
        let pair = model.issued.len() - 1 - back % model.issued.len();
        let tokens = model.issued[pair].clone();
        let live = model.is_live(pair);
        if refresh {
            let result = accounts.refresh(tokens.refresh_token.as_ref().unwrap()).await;
            assert_eq!(result.is_ok(), live);
            if let Ok(new) = result {
                model.used(pair);
                model.next = Some(model.issued.len());
                model.issued.push(new);
            }
        } else {
            assert_eq!(state(&accounts, &tokens.access_token).await, if live { "ok" } else { "gone" });
            if live {
                model.used(pair);
            }
        }
        assert_eq!(stored_tokens(&accounts).await, 2 * (1 + usize::from(model.next.is_some())));
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn refreshing_follows_the_model(steps in proptest::collection::vec((proptest::bool::ANY, 0..4_usize), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follows_the_model(steps));
    }
}
