use ruma::{device_id, user_id};
use serde_json::json;

use super::*;
use crate::{
    NewUser,
    accounts::tests::{PASSWORD, accounts, accounts_with},
};

const PASSWORD_FLOW: &[&[Stage]] = &[&[Stage::Password]];
const TOKEN_FLOW: &[&[Stage]] = &[&[Stage::RegistrationToken]];
const LONG_FLOW: &[&[Stage]] = &[&[Stage::RegistrationToken, Stage::Dummy]];

/// A request as the tests vary it.
#[derive(Clone)]
struct Try {
    operation: &'static str,
    body: Value,
    session: Option<(&'static UserId, &'static DeviceId)>,
    flows: &'static [&'static [Stage]],
    keep_session: bool,
}

impl Try {
    fn delete_device() -> Self {
        Self {
            operation: "DELETE /devices/{device_id}",
            body: json!({ "device": "PHONE" }),
            session: Some((user_id!("@alice:example.org"), device_id!("LAPTOP"))),
            flows: PASSWORD_FLOW,
            keep_session: false,
        }
    }

    fn register(flows: &'static [&'static [Stage]]) -> Self {
        Self { operation: "register", body: json!({}), session: None, flows, keep_session: true }
    }

    async fn with(&self, accounts: &Accounts, auth: Option<Value>) -> Result<UiaOutcome, AccountError> {
        let auth = auth.map(|auth| auth.as_object().unwrap().clone());
        accounts
            .authorize(UiaRequest {
                operation: self.operation,
                body: &self.body,
                session: self.session,
                flows: self.flows,
                auth: auth.as_ref(),
                keep_session: self.keep_session,
            })
            .await
    }

    async fn challenge(&self, accounts: &Accounts, auth: Option<Value>) -> Challenge {
        match self.with(accounts, auth).await.unwrap() {
            UiaOutcome::Challenge(challenge) => challenge,
            UiaOutcome::Authorized(_) => panic!("authorized"),
        }
    }

    async fn authorized(&self, accounts: &Accounts, auth: Value) -> Authorized {
        match self.with(accounts, Some(auth)).await.unwrap() {
            UiaOutcome::Authorized(authorized) => authorized,
            UiaOutcome::Challenge(challenge) => panic!("{challenge:?}"),
        }
    }
}

fn password(session: &str) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "alice" },
        "password": PASSWORD,
        "session": session,
    })
}

#[tokio::test]
async fn password_flow() {
    let accounts = accounts();
    accounts.test_user("alice").await;
    let try_ = Try::delete_device();
    let challenge = try_.challenge(&accounts, None).await;
    assert_eq!((challenge.completed.len(), challenge.error), (0, None));
    let mut wrong = password(&challenge.session);
    wrong["password"] = "wrong".into();
    let again = try_.challenge(&accounts, Some(wrong)).await;
    assert_eq!(again.session, challenge.session);
    assert_eq!(again.error.unwrap().0, "M_FORBIDDEN");
    let authorized = try_.authorized(&accounts, password(&challenge.session)).await;
    assert_eq!(authorized, Authorized::Session(challenge.session.clone()));
    // One session authorizes once.
    let over = try_.challenge(&accounts, Some(password(&challenge.session))).await;
    assert_ne!(over.session, challenge.session);
    assert_eq!(over.error.unwrap().0, "M_UNKNOWN");
}

#[tokio::test]
async fn a_session_is_of_no_use_for_anything_else() {
    let accounts = accounts();
    accounts.test_user("alice").await;
    accounts.test_user("bob").await;
    let original = Try::delete_device();
    let others = [
        Try { operation: "POST /account/deactivate", ..original.clone() },
        Try { body: json!({ "device": "TABLET" }), ..original.clone() },
        Try { body: json!({ "device": "PHONE", "more": 1 }), ..original.clone() },
        Try { session: Some((user_id!("@bob:example.org"), device_id!("LAPTOP"))), ..original.clone() },
        Try { session: Some((user_id!("@alice:example.org"), device_id!("PHONE"))), ..original.clone() },
        Try { session: None, ..original.clone() },
    ];
    let session = original.challenge(&accounts, None).await.session;
    for (index, other) in others.iter().enumerate() {
        for auth in [json!({ "session": session }), password(&session)] {
            let result = other.with(&accounts, Some(auth)).await;
            assert!(matches!(result, Err(AccountError::Forbidden(_))), "{index}: {result:?}");
        }
    }
    original.authorized(&accounts, password(&session)).await;

    // A session whose stages are complete (that of a registration, which is kept) neither.
    let register = Try::register(&[&[Stage::Dummy]]);
    let session = register.challenge(&accounts, None).await.session;
    let dummy = json!({ "type": "m.login.dummy", "session": session });
    register.authorized(&accounts, dummy.clone()).await;
    register.authorized(&accounts, dummy).await;
    for other in &others {
        let result = other.with(&accounts, Some(json!({ "session": session }))).await;
        assert!(matches!(result, Err(AccountError::Forbidden(_))));
    }
}

#[tokio::test]
async fn only_the_users_own_password_counts() {
    let accounts = accounts();
    accounts.test_user("alice").await;
    let bob = NewUser { localpart: Some("bob"), password: Some("bobs password"), ..NewUser::default() };
    accounts.create_user(bob).await.unwrap();
    let try_ = Try::delete_device();
    let user = |name: &str| json!({ "type": "m.id.user", "user": name });
    for (auth, good) in [
        (json!({ "identifier": user("alice"), "password": PASSWORD }), true),
        (json!({ "identifier": user("@alice:example.org"), "password": PASSWORD }), true),
        (json!({ "user": "alice", "password": PASSWORD }), true),
        (json!({ "password": PASSWORD }), true),
        (json!({ "identifier": user("bob"), "password": "bobs password" }), false),
        (json!({ "identifier": user("bob"), "password": PASSWORD }), false),
        (json!({ "identifier": user("alice"), "password": "bobs password" }), false),
        (json!({ "identifier": user("alice"), "password": 3 }), false),
        (json!({ "identifier": user("alice") }), false),
        (json!({ "type": "m.login.dummy" }), false),
        (json!({ "type": "m.login.registration_token", "token": "x" }), false),
        (json!({ "type": "m.login.sso" }), false),
        (json!({ "type": 3 }), false),
    ] {
        let mut auth = auth;
        if auth.get("type").is_none() {
            auth["type"] = "m.login.password".into();
        }
        // With a session and without.
        for session in [None, Some(try_.challenge(&accounts, None).await.session)] {
            if let Some(session) = session {
                auth["session"] = session.into();
            }
            let outcome = try_.with(&accounts, Some(auth.clone())).await.unwrap();
            assert_eq!(matches!(outcome, UiaOutcome::Authorized(_)), good, "{auth}");
        }
    }
}

#[tokio::test]
async fn stages_in_order() {
    let accounts = accounts();
    accounts.create_registration_token(Some("ticket"), None, None).await.unwrap();
    let try_ = Try::register(LONG_FLOW);
    let session = try_.challenge(&accounts, None).await.session;
    let dummy = json!({ "type": "m.login.dummy", "session": session });
    let ticket = json!({ "type": "m.login.registration_token", "token": "ticket", "session": session });
    let early = try_.challenge(&accounts, Some(dummy.clone())).await;
    assert_eq!((early.completed.len(), early.error.unwrap().0), (0, "M_UNRECOGNIZED"));
    let first = try_.challenge(&accounts, Some(ticket.clone())).await;
    assert_eq!((first.completed, first.error), (vec![Stage::RegistrationToken], None));
    // A complete stage is not tried again, also not with something wrong in it; nor does it hurt to ask.
    let mut wrong = ticket;
    wrong["token"] = "wrong".into();
    for auth in [wrong, json!({ "session": session })] {
        let status = try_.challenge(&accounts, Some(auth)).await;
        assert_eq!((status.completed, status.error), (vec![Stage::RegistrationToken], None));
    }
    assert_eq!(try_.authorized(&accounts, dummy).await, Authorized::Session(session));
}

#[tokio::test]
async fn the_first_of_two_stages_may_come_without_a_session() {
    let accounts = accounts();
    accounts.create_registration_token(Some("ticket"), Some(1), None).await.unwrap();
    let try_ = Try::register(LONG_FLOW);
    let ticket = json!({ "type": "m.login.registration_token", "token": "ticket" });
    let challenge = try_.challenge(&accounts, Some(ticket)).await;
    assert_eq!(challenge.completed, [Stage::RegistrationToken]);
    assert_eq!(accounts.registration_tokens().await.unwrap()[0].pending, 1);
}

#[tokio::test]
async fn sessions_expire() {
    let accounts = accounts();
    accounts.test_user("alice").await;
    let try_ = Try::delete_device();
    let session = try_.challenge(&accounts, None).await.session;
    accounts.clock.advance(std::time::Duration::from_millis(SESSION_MS));
    let over = try_.challenge(&accounts, Some(password(&session))).await;
    assert_eq!(over.error.unwrap().0, "M_UNKNOWN");
    assert_ne!(over.session, session);
    for made_up in ["x", &"x".repeat(70_000)] {
        try_.challenge(&accounts, Some(json!({ "type": "m.login.sso", "session": made_up }))).await;
    }
}

async fn counts(accounts: &Accounts) -> (u64, u64) {
    let token = accounts.registration_tokens().await.unwrap().remove(0);
    (token.pending, token.completed)
}

fn user(localpart: &str) -> NewUser<'_> {
    NewUser { localpart: Some(localpart), password: Some(PASSWORD), ..NewUser::default() }
}

#[tokio::test]
async fn registration_tokens_are_counted() {
    let accounts = accounts();
    accounts.create_registration_token(Some("ticket"), Some(2), None).await.unwrap();
    let try_ = Try::register(TOKEN_FLOW);
    let begin = async || {
        let session = try_.challenge(&accounts, None).await.session;
        json!({ "type": "m.login.registration_token", "token": "ticket", "session": session })
    };
    let (first, second, third) = (begin().await, begin().await, begin().await);
    assert_eq!(counts(&accounts).await, (0, 0));
    let first = try_.authorized(&accounts, first).await;
    assert_eq!(counts(&accounts).await, (1, 0));
    try_.authorized(&accounts, second).await;
    assert_eq!(counts(&accounts).await, (2, 0));
    assert_eq!(try_.challenge(&accounts, Some(third.clone())).await.error.unwrap().0, "M_UNAUTHORIZED");
    assert!(!accounts.registration_token_valid("ticket").await.unwrap());

    accounts.register(user("alice"), &first).await.unwrap();
    assert_eq!(counts(&accounts).await, (1, 1));
    // One session makes one account.
    assert!(matches!(accounts.register(user("bob"), &first).await, Err(AccountError::Forbidden(_))));
    // The second session is given up: its place is free again.
    accounts.clock.advance(std::time::Duration::from_millis(SESSION_MS));
    accounts.remove_expired().await.unwrap();
    assert_eq!(counts(&accounts).await, (0, 1));

    let ticket = begin().await;
    let fourth = try_.authorized(&accounts, ticket).await;
    // The name was taken meanwhile: the session is good for another one.
    assert!(matches!(accounts.register(user("alice"), &fourth).await, Err(AccountError::UserInUse)));
    accounts.register(user("carol"), &fourth).await.unwrap();
    assert_eq!(counts(&accounts).await, (0, 2));
    assert!(!accounts.registration_token_valid("ticket").await.unwrap());
}

#[tokio::test]
async fn registration_tokens_are_counted_without_a_session() {
    let accounts = accounts_with(|config| config.registration_token = Some("from-the-file".into()));
    accounts.create_registration_token(Some("ticket"), Some(1), None).await.unwrap();
    let try_ = Try::register(TOKEN_FLOW);
    let ticket = |token: &str| json!({ "type": "m.login.registration_token", "token": token });
    let (one, two) =
        (try_.authorized(&accounts, ticket("ticket")).await, try_.authorized(&accounts, ticket("ticket")).await);
    accounts.register(user("alice"), &one).await.unwrap();
    assert!(matches!(accounts.register(user("bob"), &two).await, Err(AccountError::Forbidden(_))));
    assert_eq!(counts(&accounts).await, (0, 1));
    for name in ["carol", "dave"] {
        let configured = try_.authorized(&accounts, ticket("from-the-file")).await;
        accounts.register(user(name), &configured).await.unwrap();
    }
    assert_eq!(accounts.user_count().await.unwrap(), 3);
}

#[tokio::test]
async fn a_session_used_by_many_at_once_authorizes_one() {
    let accounts = accounts();
    accounts.test_user("alice").await;
    let try_ = Try::delete_device();
    let session = try_.challenge(&accounts, None).await.session;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (accounts, try_, auth) = (accounts.clone(), try_.clone(), password(&session));
        tasks.spawn(async move { matches!(try_.with(&accounts, Some(auth)).await, Ok(UiaOutcome::Authorized(_))) });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
}
