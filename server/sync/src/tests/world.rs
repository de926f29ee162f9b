//! A server in memory, and short names for what its users do.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hearth_accounts::{Accounts, AccountsConfig, NewUser, PasswordCost};
use hearth_protocol::SigningKey;
use hearth_rooms::{
    PushRules, Rooms, RoomsConfig,
    membership::{Change, MemberProfile},
    send::Draft,
};
use hearth_store::Store;
use hearth_transitory::{ReceiptKind, Transitory};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId,
    api::{OutgoingResponse, client::sync::sync_events::v3},
    device_id, owned_server_name,
    push::Ruleset,
};
use serde_json::{Value, json, value::to_raw_value};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{SyncEngine, SyncError, markers::Marking};

pub(crate) struct World {
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) transitory: Transitory,
    pub(crate) engine: SyncEngine,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct AccountRules(Accounts);

impl PushRules for AccountRules {
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>> {
        Box::pin(async move { self.0.rulesets(users).await.unwrap() })
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let name = owned_server_name!("example.org");
        Self::on(Store::memory(), SigningKey::generate(name).0, false)
    }

    /// One process on `store`, perhaps beside others, which have the same key.
    fn on(store: Store, key: SigningKey, beside_others: bool) -> Self {
        let name = owned_server_name!("example.org");
        let mut config = AccountsConfig::new(name.clone());
        config.passwords = PasswordCost { memory_kib: 8, iterations: 1 };
        let accounts = Accounts::new(store.clone(), config);
        let config = RoomsConfig { server_name: name, key, default_version: RoomVersionId::V12 };
        let mut rooms = Rooms::new(store.clone(), config, Arc::new(AccountRules(accounts.clone())));
        if beside_others {
            rooms = rooms.beside_others();
        }
        let transitory = Transitory::new(store);
        let engine = SyncEngine::new(rooms.clone(), accounts.clone(), transitory.clone());
        Self { rooms, accounts, transitory, engine, stop: CancellationToken::new(), tasks: TaskTracker::new() }
    }

    /// With the engine's task running, so that requests may wait.
    pub(crate) fn running() -> Self {
        let world = Self::new();
        world.run();
        world
    }

    /// Two processes that serve one store, both with everything running. They share nothing else.
    pub(crate) fn pair() -> [Self; 2] {
        let name = owned_server_name!("example.org");
        let (_, document) = SigningKey::generate(name.clone());
        let store = Store::memory();
        [(); 2].map(|()| {
            let key = SigningKey::from_pkcs8(name.clone(), "a_two".to_owned(), &document).unwrap();
            let world = Self::on(store.clone(), key, true);
            world.run();
            let (transitory, stop) = (world.transitory.clone(), world.stop.clone());
            world.tasks.spawn(async move { transitory.run_timers(stop).await });
            let (accounts, stop) = (world.accounts.clone(), world.stop.clone());
            world.tasks.spawn(async move { accounts.run_maintenance(stop).await });
            world
        })
    }

    fn run(&self) {
        let (engine, stop) = (self.engine.clone(), self.stop.clone());
        self.tasks.spawn(async move { engine.run(stop).await });
    }

    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) async fn user(&self, localpart: &str) -> OwnedUserId {
        let new = NewUser { localpart: Some(localpart), ..NewUser::default() };
        self.accounts.create_user(new).await.unwrap()
    }

    pub(crate) async fn create(&self, creator: &UserId, request: Value) -> OwnedRoomId {
        let body = serde_json::to_vec(&request).unwrap();
        let http = http_request("POST", "/_matrix/client/v3/createRoom", body);
        let request = ruma::api::IncomingRequest::try_from_http_request(http, &[] as &[&str]).unwrap();
        self.rooms.create(creator, &profile(creator), request).await.unwrap()
    }

    pub(crate) async fn public_room(&self, creator: &UserId) -> OwnedRoomId {
        self.create(creator, json!({ "preset": "public_chat" })).await
    }

    pub(crate) async fn change(&self, room: &RoomId, sender: &UserId, target: &UserId, change: Change) {
        self.rooms.change_membership(room, sender, target, change, &profile(target), None).await.unwrap();
    }

    pub(crate) async fn join(&self, room: &RoomId, user: &UserId) {
        self.change(room, user, user, Change::Join).await;
    }

    pub(crate) async fn leave(&self, room: &RoomId, user: &UserId) {
        self.change(room, user, user, Change::Leave).await;
    }

    pub(crate) async fn send(&self, room: &RoomId, user: &UserId, event_type: &str, content: Value) -> OwnedEventId {
        self.draft(room, user, event_type, None, content).await
    }

    pub(crate) async fn say(&self, room: &RoomId, user: &UserId, body: &str) -> OwnedEventId {
        self.send(room, user, "m.room.message", json!({ "msgtype": "m.text", "body": body })).await
    }

    pub(crate) async fn set(&self, room: &RoomId, user: &UserId, event_type: &str, content: Value) -> OwnedEventId {
        self.draft(room, user, event_type, Some(String::new()), content).await
    }

    async fn draft(
        &self,
        room: &RoomId,
        user: &UserId,
        event_type: &str,
        state_key: Option<String>,
        content: Value,
    ) -> OwnedEventId {
        let draft = Draft {
            event_type: event_type.into(),
            state_key,
            content: to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp: None,
        };
        self.rooms.send(room, user, draft).await.unwrap()
    }

    pub(crate) async fn read(&self, room: &RoomId, user: &UserId, kind: ReceiptKind, event: &OwnedEventId) {
        self.engine.set_receipt(marking(room, user), kind, event, None).await.unwrap();
    }

    pub(crate) async fn account_data(&self, user: &UserId, room: Option<&RoomId>, event_type: &str, content: Value) {
        self.accounts.set_account_data(user, room, event_type, &to_raw_value(&content).unwrap()).await.unwrap();
    }

    /// `GET /sync` with these query parameters (all but `filter`'s as they are written there), without waiting and
    /// without a sign of life, unless they say otherwise.
    pub(crate) async fn sync(&self, user: &UserId, parameters: Value) -> Value {
        self.try_sync(user, parameters).await.unwrap()
    }

    pub(crate) async fn try_sync(&self, user: &UserId, parameters: Value) -> Result<Value, SyncError> {
        let request = request(&parameters);
        let response = self.engine.sync(user, device_id!("DEVICE"), &request).await?;
        let response = response.try_into_http_response::<Vec<u8>>().unwrap();
        Ok(serde_json::from_slice(response.body()).unwrap())
    }

    /// An incremental sync from the position where `last` ended.
    pub(crate) async fn next(&self, user: &UserId, last: &Value) -> Value {
        self.sync(user, json!({ "since": last["next_batch"] })).await
    }
}

pub(crate) fn marking<'a>(room: &'a RoomId, user: &'a UserId) -> Marking<'a> {
    Marking { user, device: device_id!("DEVICE"), room }
}

pub(crate) fn profile(user: &UserId) -> MemberProfile {
    MemberProfile { displayname: Some(user.localpart().to_owned()), avatar_url: None }
}

fn http_request(method: &str, uri: &str, body: Vec<u8>) -> http::Request<Vec<u8>> {
    http::Request::builder().method(method).uri(uri).body(body).unwrap()
}

pub(crate) fn request(parameters: &Value) -> v3::Request {
    let mut request = v3::Request::new();
    let text = |name: &str| parameters[name].as_str().map(ToOwned::to_owned);
    request.since = text("since");
    request.filter = match &parameters["filter"] {
        Value::Null => None,
        Value::String(id) => Some(v3::Filter::FilterId(id.clone())),
        filter => Some(v3::Filter::FilterDefinition(serde_json::from_value(filter.clone()).unwrap())),
    };
    request.set_presence = text("set_presence").unwrap_or_else(|| "offline".to_owned()).into();
    request.full_state = parameters["full_state"] == true;
    request.use_state_after = parameters["use_state_after"] == true;
    request.timeout = parameters["timeout"].as_u64().map(std::time::Duration::from_millis);
    request
}

/// The bodies of a room's timeline, or the types (with the state key) of what is no message.
pub(crate) fn timeline(room: &Value) -> Vec<String> {
    shown(&room["timeline"]["events"])
}

/// The same of a state section.
pub(crate) fn state(room: &Value) -> Vec<String> {
    let mut events =
        shown(if room["state_after"].is_null() { &room["state"]["events"] } else { &room["state_after"]["events"] });
    events.sort_unstable();
    events
}

pub(crate) fn shown(events: &Value) -> Vec<String> {
    let show = |event: &Value| {
        let event_type = event["type"].as_str().unwrap().trim_start_matches("m.room.");
        match (&event["content"]["membership"], event["state_key"].as_str()) {
            (Value::String(membership), Some(key)) => {
                format!("{membership}:{}", key.split([':', '@']).nth(1).unwrap_or(key))
            }
            (_, Some(_)) => event_type.to_owned(),
            _ => event["content"]["body"].as_str().unwrap_or(event_type).to_owned(),
        }
    };
    events.as_array().into_iter().flatten().map(show).collect()
}

/// The sections of a response, and which rooms they hold.
pub(crate) fn sections(response: &Value) -> Vec<String> {
    let mut sections = Vec::new();
    for (section, rooms) in response["rooms"].as_object().into_iter().flatten() {
        sections.extend(rooms.as_object().unwrap().keys().map(|room| format!("{section} {room}")));
    }
    sections
}

/// An event of an event list, by type.
pub(crate) fn find<'a>(events: &'a Value, event_type: &str) -> Option<&'a Value> {
    events["events"].as_array()?.iter().find(|event| event["type"] == event_type)
}
