//! What tests share: a server in memory and short ways to say things.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hearth_protocol::SigningKey;
use hearth_store::Store;
use ruma::{
    OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId,
    api::client::room::create_room, owned_server_name, push::Ruleset,
};
use serde_json::{Value, json};

use crate::{
    PushRules, RoomError, Rooms, RoomsConfig,
    membership::{Change, MemberProfile},
    send::Draft,
};

/// All that rooms may have.
pub(crate) const VERSIONS: [&str; 11] = ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

/// Everyone has the rules that a new account has.
pub(crate) struct DefaultRules;

impl PushRules for DefaultRules {
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>> {
        Box::pin(async move { users.iter().map(|user| Some(Arc::new(Ruleset::server_default(user)))).collect() })
    }
}

/// A server `example.org` on `store` that makes rooms of version 12 unless told otherwise.
pub(crate) fn rooms_on(store: Store) -> Rooms {
    let (key, _) = SigningKey::generate(owned_server_name!("example.org"));
    let config =
        RoomsConfig { server_name: owned_server_name!("example.org"), key, default_version: RoomVersionId::V12 };
    Rooms::new(store, config, Arc::new(DefaultRules))
}

/// A server `example.org` in memory.
pub(crate) fn rooms() -> Rooms {
    rooms_on(Store::memory())
}

/// `@name:example.org`
pub(crate) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:example.org")).unwrap()
}

/// A createRoom request from its JSON.
pub(crate) fn create_request(body: &Value) -> create_room::v3::Request {
    use ruma::api::IncomingRequest;
    let request = http::Request::post("https://example.org/_matrix/client/v3/createRoom")
        .body(serde_json::to_vec(body).unwrap())
        .unwrap();
    create_room::v3::Request::try_from_http_request(request, &[] as &[&str]).unwrap()
}

/// Short ways to write, for tests.
impl Rooms {
    pub(crate) async fn create_for_test(&self, creator: &str, body: Value) -> Result<OwnedRoomId, RoomError> {
        self.create(&user(creator), &MemberProfile::default(), create_request(&body)).await
    }

    /// A room that anyone may join.
    pub(crate) async fn public_room(&self, creator: &str) -> OwnedRoomId {
        self.create_for_test(creator, json!({ "preset": "public_chat" })).await.unwrap()
    }

    pub(crate) async fn change_for_test(
        &self,
        room: &RoomId,
        sender: &str,
        target: &str,
        change: Change,
    ) -> Result<(), RoomError> {
        let profile = MemberProfile { displayname: Some(target.to_owned()), avatar_url: None };
        self.change_membership(room, &user(sender), &user(target), change, &profile, None).await
    }

    pub(crate) async fn send_for_test(
        &self,
        room: &RoomId,
        sender: &str,
        event_type: &str,
        content: Value,
    ) -> Result<OwnedEventId, RoomError> {
        self.send(room, &user(sender), draft(event_type, None, content)).await
    }

    pub(crate) async fn state_for_test(
        &self,
        room: &RoomId,
        sender: &str,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> Result<OwnedEventId, RoomError> {
        self.send(room, &user(sender), draft(event_type, Some(state_key), content)).await
    }
}

/// A draft without transaction id.
#[expect(clippy::needless_pass_by_value, reason = "shorter to call")]
pub(crate) fn draft(event_type: &str, state_key: Option<&str>, content: Value) -> Draft {
    Draft {
        event_type: event_type.into(),
        state_key: state_key.map(str::to_owned),
        content: serde_json::value::to_raw_value(&content).unwrap(),
        redacts: None,
        transaction: None,
        timestamp: None,
    }
}

/// The draft with a transaction id.
pub(crate) fn with_transaction(draft: Draft, device: &str, id: &str) -> Draft {
    Draft { transaction: Some((OwnedDeviceId::from(device), id.into())), ..draft }
}
