//! A healthy history has no finding, and each kind of damage is found.

use hearth_store::{Store, Transaction, Versionstamp, check::Report, first_stamp};
use ruma::{OwnedDeviceId, OwnedUserId, UserId, room_id};
use serde_json::{json, value::RawValue};

use crate::{
    Accounts, NewDevice, UiaRequest,
    accounts::tests::{PASSWORD, accounts_with},
    check::check,
    keys::{
        COUNTER, DATA, DATA_AT, DATA_LOG, DEVICE, DEVICE_TOKEN, EXPIRY, FILTER, HEAD, PROFILE, PUSHER, PUSHKEY, SEEN,
        STREAM, TOKEN, UNFINISHED, USER, USER_HEAD,
    },
    records::{DataChange, SeenRecord},
    uia::Stage,
    users::ACTIVE_USERS,
};

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

async fn log_in(accounts: &Accounts, user: &UserId, device: &str, refresh: bool) -> OwnedDeviceId {
    let device = NewDevice { device_id: Some(device.into()), display_name: None, refresh };
    accounts.open_session(user, device).await.unwrap().device_id
}

/// Some hundred things happen; the same for each seed, but for what is made up of secrets.
async fn history(seed: u64) -> Store {
    let accounts = accounts_with(|config| config.shared_secret = Some("secret".to_owned()));
    let mut state = seed;
    let mut choose = |of: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % of
    };
    let mut users: Vec<OwnedUserId> = vec![accounts.test_user("alice").await];
    let room = room_id!("!room:example.org");
    for step in 0..150 {
        let user = users[choose(users.len() as u64) as usize].clone();
        let device = ["PHONE", "LAPTOP"][choose(2) as usize];
        // Refusals (a deactivated user) are part of the story.
        match choose(12) {
            0 => users.push(accounts.test_user(&format!("user{step}")).await),
            1 | 2 => {
                let new = NewDevice { device_id: Some(device.into()), display_name: None, refresh: choose(2) == 0 };
                if let Ok(tokens) = accounts.open_session(&user, new).await {
                    let session = accounts.authenticate(&tokens.access_token).await.unwrap();
                    accounts.note_seen(&session, None, Some("test"));
                    if let Some(refresh) = tokens.refresh_token {
                        let second = accounts.refresh(&refresh).await.unwrap();
                        if choose(2) == 0 {
                            accounts.authenticate(&second.access_token).await.unwrap();
                        }
                    }
                }
            }
            3 => drop(accounts.logout(&user, device.into()).await),
            4 => accounts.flush_seen().await.unwrap(),
            5 if choose(4) == 0 => accounts.deactivate(&user, false).await.unwrap(),
            5 => drop(accounts.logout_all(&user).await),
            6 | 7 => {
                // Nobody authenticates a deactivated user.
                if !accounts.is_active(&user).await.unwrap() {
                    continue;
                }
                let content = raw(&json!({ "text": "x".repeat(choose(200_000) as usize) }));
                let room = (choose(2) == 0).then_some(room);
                let event_type = ["a", "b", "c"][choose(3) as usize];
                accounts.set_account_data(&user, room, event_type, &content).await.unwrap();
            }
            8 => drop(accounts.create_filter(&user, &json!({ "n": choose(3) })).await),
            9 => {
                // Sets one only where the device is.
                if accounts.device(&user, device.into()).await.is_ok() {
                    let name = ("app", ["key", "other"][choose(2) as usize]);
                    accounts.set_pusher(&user, device.into(), name, &raw(&json!({})), choose(2) == 0).await.unwrap();
                }
            }
            10 => {
                if let Ok((token, _)) = accounts.create_login_token(&user).await
                    && choose(2) == 0
                {
                    accounts.redeem_login_token(&token).await.unwrap();
                }
                accounts.registration_nonce().await.unwrap();
            }
            _ => {
                let request = UiaRequest {
                    operation: "test",
                    body: &json!({}),
                    session: None,
                    flows: &[&[Stage::RegistrationToken, Stage::Dummy]],
                    auth: None,
                    keep_session: true,
                };
                accounts.authorize(request).await.unwrap();
                accounts.remove_expired().await.unwrap();
            }
        }
    }
    // So that there is something of everything.
    let carol = accounts.test_user("carol").await;
    let device = log_in(&accounts, &carol, "PHONE", true).await;
    accounts.set_account_data(&carol, None, "t", &raw(&json!({ "x": "x".repeat(200_000) }))).await.unwrap();
    accounts.set_pusher(&carol, &device, ("app", "carol"), &raw(&json!({})), true).await.unwrap();
    accounts.create_filter(&carol, &json!({})).await.unwrap();
    accounts.create_login_token(&carol).await.unwrap();
    accounts.registration_nonce().await.unwrap();
    assert!(accounts.check_password("carol", PASSWORD).await.is_ok());
    accounts.store().clone()
}

async fn checked(store: &Store) -> Report {
    let report = Report::new();
    check(store, &report).await.unwrap();
    report
}

#[tokio::test]
async fn a_healthy_history_has_no_finding() {
    for seed in 0..12 {
        let report = checked(&history(seed).await).await;
        assert_eq!(report.kept(), [], "seed {seed}");
        assert!(report.rows() > 20);
    }
}

/// Damages a copy of one store; the check must find something in `table` that says `words`.
async fn found(table: &str, words: &str, damage: impl AsyncFn(&Transaction)) {
    let store = history(1).await;
    let tx = store.begin();
    damage(&tx).await;
    tx.commit().await.unwrap();
    let kept = checked(&store).await.kept();
    let fits = kept.iter().any(|finding| finding.table == table && finding.what.contains(words));
    assert!(fits, "{table}: {words}: {kept:#?}");
}

fn never() -> Versionstamp {
    first_stamp(3)
}

async fn delete_user(tx: &Transaction) {
    USER.clear(tx, ("carol",));
}

#[tokio::test]
async fn every_damage_to_users_and_sessions_is_found() {
    let seen = SeenRecord { ts: 1, ip: None, user_agent: None };
    let token = async |tx: &Transaction| DEVICE_TOKEN.scan(("carol", "PHONE")).first(tx).await.unwrap().unwrap().0.2;
    found("accounts/counter", "are counted", async |tx| COUNTER.add(tx, (ACTIVE_USERS,), 1)).await;
    found("accounts/counter", "are counted", delete_user).await;
    found("accounts/unfinished", "is not deactivated", async |tx| UNFINISHED.set(tx, ("carol",), &())).await;
    found("accounts/profile", "who does not exist", async |tx| PROFILE.set(tx, ("nobody",), &"{}".to_owned())).await;
    found("accounts/filter", "who does not exist", async |tx| FILTER.set(tx, ("nobody", "0"), &"{}".to_owned())).await;
    found("accounts/device", "who does not exist", delete_user).await;
    found("accounts/seen", "was seen", async |tx| SEEN.set(tx, ("carol", "X"), &seen)).await;
    found("accounts/token", "which does not exist", async |tx| DEVICE.clear(tx, ("carol", "PHONE"))).await;
    found("accounts/token", "would outlive it", async |tx| DEVICE_TOKEN.clear_prefix(tx, ("carol",))).await;
    found("accounts/device_token", "does not exist", async |tx| TOKEN.clear(tx, (&token(tx).await,))).await;
    found("accounts/login_token", "is never removed", async |tx| EXPIRY.clear_prefix(tx, ())).await;
    found("accounts/login_token", "who does not exist", delete_user).await;
    found("accounts/uia", "is never removed", async |tx| EXPIRY.clear_prefix(tx, ())).await;
    found("accounts/nonce", "is never removed", async |tx| EXPIRY.clear_prefix(tx, ())).await;
}

#[tokio::test]
async fn every_damage_to_account_data_and_pushers_is_found() {
    let change = DataChange { room: String::new(), event_type: "t".to_owned() };
    let at = async |tx: &Transaction| DATA_AT.get(tx, ("carol", "", "t")).await.unwrap().unwrap();
    found("accounts/data", "who does not exist", delete_user).await;
    found("accounts/data", "is not in the log", async |tx| DATA_AT.clear(tx, ("carol", "", "t"))).await;
    found("accounts/data", "misses its part 1", async |tx| DATA.clear(tx, ("carol", "", "t", 1))).await;
    found("accounts/data_at", "is not in the log", async |tx| DATA_LOG.clear_prefix(tx, ("carol",))).await;
    found("accounts/data_at", "has no content", async |tx| DATA.clear_prefix(tx, ("carol",))).await;
    found("accounts/data_log", "is not the newest", async |tx| DATA_LOG.set(tx, ("carol", &never()), &change)).await;
    found("accounts/data_log", "is not in the stream", async |tx| STREAM.clear(tx, (&at(tx).await,))).await;
    found("accounts/data_log", "past the user's head", async |tx| USER_HEAD.set(tx, ("carol",), &never())).await;
    found("accounts/stream", "is not in the user's log", async |tx| STREAM.set(tx, (&never(),), &"carol".into())).await;
    found("accounts/stream", "past the head", async |tx| HEAD.set(tx, (0,), &never())).await;
    found("accounts/pusher", "is not listed", async |tx| PUSHKEY.clear_prefix(tx, ())).await;
    found("accounts/pusher", "which does not exist", async |tx| DEVICE.clear(tx, ("carol", "PHONE"))).await;
    found("accounts/pushkey", "does not exist", async |tx| PUSHER.clear_prefix(tx, ())).await;
    found("accounts/user", "does not decode", async |tx| tx.set(&USER.pack(&("dora",)), b"?")).await;
}
