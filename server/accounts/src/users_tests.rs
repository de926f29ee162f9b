use serde_json::{json, value::RawValue};

use super::*;
use crate::{
    NewDevice,
    accounts::tests::{PASSWORD, accounts},
};

#[test]
fn localparts() {
    let accounts = accounts();
    let fits = "x".repeat(255 - "@:example.org".len());
    let too_long = "x".repeat(256 - "@:example.org".len());
    for (localpart, good) in [
        ("alice", true),
        ("a.b_c=d-e/f+0", true),
        ("0", true),
        (&fits, true),
        (&too_long, false),
        ("", false),
        ("Alice", false),
        ("al ice", false),
        ("älice", false),
        ("alice:b", false),
        ("@alice", false),
        ("a\0b", false),
    ] {
        assert_eq!(accounts.check_localpart(localpart).is_ok(), good, "{localpart}");
    }
}

#[tokio::test]
async fn create() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    assert_eq!(alice, "@alice:example.org");
    let user = accounts.user(&alice).await.unwrap().unwrap();
    assert_eq!(user.displayname.as_deref(), Some("alice"));
    assert!(!user.admin && !user.deactivated && user.created_ts > 0 && user.last_seen_ts.is_none());
    let again = NewUser { localpart: Some("alice"), ..NewUser::default() };
    assert!(matches!(accounts.create_user(again).await, Err(AccountError::UserInUse)));
    let weak = NewUser { localpart: Some("bob"), password: Some("short"), ..NewUser::default() };
    assert!(matches!(accounts.create_user(weak).await, Err(AccountError::WeakPassword(_))));
    let made_up = accounts.create_user(NewUser { admin: true, ..NewUser::default() }).await.unwrap();
    assert!(accounts.user(&made_up).await.unwrap().unwrap().admin);
    assert_eq!(accounts.user_count().await.unwrap(), 2);
    accounts.set_admin(&alice, true).await.unwrap();
    accounts.set_admin(&made_up, false).await.unwrap();
    assert!(accounts.user(&alice).await.unwrap().unwrap().admin);
    assert!(!accounts.user(&made_up).await.unwrap().unwrap().admin);
    for stranger in ["@bob:example.org", "@alice:elsewhere.org"] {
        let stranger = UserId::parse(stranger).unwrap();
        assert!(accounts.user(&stranger).await.unwrap().is_none());
        assert!(!accounts.is_active(&stranger).await.unwrap());
        assert!(matches!(accounts.set_admin(&stranger, true).await, Err(AccountError::UserNotFound)));
        assert!(matches!(
            accounts.open_session(&stranger, NewDevice::default()).await,
            Err(AccountError::UserNotFound)
        ));
    }
}

#[tokio::test]
async fn the_same_name_at_once_is_given_to_one() {
    let accounts = accounts();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let accounts = accounts.clone();
        tasks.spawn(async move {
            let new = NewUser { localpart: Some("alice"), password: Some(PASSWORD), ..NewUser::default() };
            accounts.create_user(new).await.is_ok()
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
    assert_eq!(accounts.user_count().await.unwrap(), 1);
}

#[tokio::test]
async fn list_and_search() {
    let accounts = accounts();
    for localpart in ["alice", "bob", "bobby", "carol", "zed"] {
        accounts.test_user(localpart).await;
    }
    let carol = UserId::parse("@carol:example.org").unwrap();
    accounts.set_profile_field(&carol, "displayname", Some(json!("Äsop Bobson"))).await.unwrap();
    let list = async |search: Option<&str>, after: Option<&str>, limit| -> Vec<String> {
        let users = accounts.list_users(search, after, limit).await.unwrap();
        users.iter().map(|user| user.user_id.localpart().to_owned()).collect()
    };
    assert_eq!(list(None, None, 3).await, ["alice", "bob", "bobby"]);
    assert_eq!(list(None, Some("bobby"), 3).await, ["carol", "zed"]);
    assert_eq!(list(None, Some("zed"), 3).await, [""; 0]);
    assert_eq!(list(Some("BOB"), None, 10).await, ["bob", "bobby", "carol"]);
    assert_eq!(list(Some("BOB"), None, 0).await, [""; 0]);
    assert_eq!(list(Some("äsop"), None, 10).await, ["carol"]);

    accounts.deactivate(&UserId::parse("@bobby:example.org").unwrap(), false).await.unwrap();
    let search = async |term: &str| -> Vec<String> {
        let users = accounts.search_directory(term).await.unwrap();
        users.iter().map(|user| user.user_id.localpart().to_owned()).collect()
    };
    assert_eq!(search("bob").await, ["bob", "carol"], "exact first, deactivated never");
    assert_eq!(search("@bob:example.org").await, ["bob", "carol"]);
    assert_eq!(search("o").await, ["bob", "carol"]);
    assert_eq!(search("nobody").await, [""; 0]);
}

#[tokio::test]
async fn pages_are_put_together() {
    let accounts = accounts();
    let count = PAGE * 2 + 1;
    for chunk in (0..count).collect::<Vec<_>>().chunks(100) {
        accounts
            .store
            .transact("test", |tx| async move {
                for number in chunk {
                    let record =
                        UserRecord { created_ts: 0, admin: false, password: None, deactivated: false, erased: false };
                    USER.set(&tx, (&format!("u{number:05}"),), &record);
                }
                Ok::<_, AccountError>(())
            })
            .await
            .unwrap();
    }
    assert_eq!(accounts.list_users(None, None, usize::MAX).await.unwrap().len(), count);
    assert_eq!(accounts.search_directory("u0").await.unwrap().len(), count);
}

#[tokio::test]
async fn new_password() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let device = |id: &str| NewDevice { device_id: Some(id.into()), ..NewDevice::default() };
    let ids = async || -> Vec<String> {
        accounts.devices(&alice).await.unwrap().into_iter().map(|device| device.device_id.to_string()).collect()
    };
    for id in ["ONE", "TWO"] {
        accounts.open_session(&alice, device(id)).await.unwrap();
    }
    assert!(matches!(accounts.set_password(&alice, "short", true, None).await, Err(AccountError::WeakPassword(_))));
    accounts.set_password(&alice, "battery staple", false, None).await.unwrap();
    assert_eq!(ids().await, ["ONE", "TWO"]);
    assert!(accounts.check_password("alice", PASSWORD).await.is_err());
    accounts.check_password("alice", "battery staple").await.unwrap();
    accounts.set_password(&alice, PASSWORD, true, Some("TWO".into())).await.unwrap();
    assert_eq!(ids().await, ["TWO"]);
    accounts.set_password(&alice, PASSWORD, true, None).await.unwrap();
    assert_eq!(ids().await, [""; 0]);
}

#[tokio::test]
async fn deactivation_leaves_only_the_name() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let bob = accounts.test_user("bob").await;
    let tokens = accounts.open_session(&alice, NewDevice { refresh: true, ..NewDevice::default() }).await.unwrap();
    let empty = RawValue::from_string("{}".into()).unwrap();
    accounts.set_account_data(&alice, None, "org.example", &empty).await.unwrap();
    accounts.create_filter(&alice, &json!({})).await.unwrap();
    accounts.set_pusher(&alice, &tokens.device_id, ("app", "key"), &empty, false).await.unwrap();
    assert!(accounts.rulesets(std::slice::from_ref(&alice)).await.unwrap()[0].is_some());

    accounts.deactivate(&alice, false).await.unwrap();
    assert!(matches!(
        accounts.authenticate(&tokens.access_token).await,
        Err(AccountError::UnknownToken { soft_logout: false })
    ));
    assert!(accounts.refresh(&tokens.refresh_token.unwrap()).await.is_err());
    assert!(matches!(accounts.profile(&alice).await, Err(AccountError::UserNotFound)));
    assert!(accounts.rulesets(std::slice::from_ref(&alice)).await.unwrap()[0].is_none());
    assert!(!accounts.is_active(&alice).await.unwrap());
    assert!(matches!(accounts.set_password(&alice, PASSWORD, true, None).await, Err(AccountError::UserDeactivated)));
    let new = NewUser { localpart: Some("alice"), ..NewUser::default() };
    assert!(matches!(accounts.create_user(new).await, Err(AccountError::UserInUse)));
    assert!(matches!(accounts.open_session(&alice, NewDevice::default()).await, Err(AccountError::UserDeactivated)));

    // Nothing is stored under the name but the account itself and that its rooms are to be left.
    let read = hearth_store::RangeRead { begin: vec![], end: vec![0xff], limit: None, reverse: false, snapshot: true };
    let entries = accounts.store.begin().range(&read).await.unwrap();
    let about_alice = entries.iter().filter(|entry| entry.key.windows(5).any(|window| window == b"alice")).count();
    assert_eq!(about_alice, 2);

    assert_eq!(accounts.unfinished_deactivations().await.unwrap(), std::slice::from_ref(&alice));
    accounts.finish_deactivation(&alice).await.unwrap();
    assert!(accounts.unfinished_deactivations().await.unwrap().is_empty());
    // Again: only the wish to be erased is new.
    accounts.deactivate(&alice, true).await.unwrap();
    accounts.deactivate(&alice, false).await.unwrap();
    assert!(accounts.unfinished_deactivations().await.unwrap().is_empty());
    let user = accounts.user(&alice).await.unwrap().unwrap();
    assert!(user.deactivated && user.erased && user.devices == 0);
    assert_eq!(accounts.user_count().await.unwrap(), 1);
    assert!(accounts.is_active(&bob).await.unwrap());
}
