//! A person with a device: a logged-in matrix-rust-sdk client that syncs in the background and remembers
//! what arrived.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use matrix_sdk::{
    Client, Room, RoomState,
    config::{RequestConfig, SyncSettings},
    ruma::{
        OwnedEventId, OwnedRoomId, RoomId, UserId,
        api::client::{
            account::register,
            filter::FilterDefinition,
            sync::sync_events::v3::Filter,
            uiaa::{AuthData, RegistrationToken},
        },
        assign, uint,
    },
};
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle};

/// Longest that a condition may take: a bound for failures, never a wait.
const PATIENCE: Duration = Duration::from_mins(1);

/// Everything that arrived by sync, in order.
#[derive(Debug, Default)]
pub struct Seen {
    /// Timeline events by room.
    pub timeline: HashMap<OwnedRoomId, Vec<Value>>,
    /// Ephemeral events by room.
    pub ephemeral: HashMap<OwnedRoomId, Vec<Value>>,
    /// Gaps in a room's timeline: before which of its entries.
    pub gaps: Vec<(OwnedRoomId, usize)>,
    /// The newest unread count by room.
    pub unread: HashMap<OwnedRoomId, u64>,
}

impl Seen {
    /// Timeline events of `room` with their ids.
    pub fn events(&self, room: &RoomId) -> impl Iterator<Item = (&str, &Value)> {
        self.timeline
            .get(room)
            .into_iter()
            .flatten()
            .filter_map(|event| Some((event.get("event_id")?.as_str()?, event)))
    }

    /// The event with this id, if it arrived.
    pub fn event(&self, room: &RoomId, id: &str) -> Option<&Value> {
        self.events(room).find(|(known, _)| *known == id).map(|(_, event)| event)
    }
}

/// See the module.
pub struct Person {
    /// The SDK's client.
    pub client: Client,
    seen: Arc<Mutex<Seen>>,
    changes: watch::Receiver<u64>,
    sync: JoinHandle<()>,
}

impl Drop for Person {
    fn drop(&mut self) {
        self.sync.abort();
    }
}

/// A client that is not logged in and does not retry by itself.
pub async fn anonymous(base_url: &str) -> Client {
    let config = RequestConfig::new().disable_retry().timeout(PATIENCE);
    Client::builder().homeserver_url(base_url).request_config(config).build().await.expect("the homeserver answers")
}

/// The password that [`register`] and [`Person::login`] use for `name`.
pub fn password(name: &str) -> String {
    format!("{name}-password")
}

/// Registers an account with a registration token through user-interactive authentication.
pub async fn register(base_url: &str, name: &str, token: &str) -> Client {
    let client = anonymous(base_url).await;
    let request = || {
        assign!(register::v3::Request::new(), {
            username: Some(name.to_owned()),
            password: Some(password(name)),
            initial_device_display_name: Some("first device".to_owned()),
        })
    };
    let refusal = client.matrix_auth().register(request()).await.expect_err("registration asks for a token first");
    let uiaa = refusal.as_uiaa_response().expect("user-interactive authentication").clone();
    let auth = assign!(RegistrationToken::new(token.to_owned()), { session: uiaa.session });
    let request = assign!(request(), { auth: Some(AuthData::RegistrationToken(auth)) });
    client.matrix_auth().register(request).await.expect("registration");
    client
}

impl Person {
    /// Logs in on a new device and starts syncing. Returns after the initial sync.
    pub async fn login(base_url: &str, name: &str, device: &str) -> Self {
        let client = anonymous(base_url).await;
        client
            .matrix_auth()
            .login_username(name, &password(name))
            .initial_device_display_name(device)
            .send()
            .await
            .expect("login");
        Self::start(client).await
    }

    /// Starts syncing with a client that is logged in.
    pub async fn start(client: Client) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (changed, mut changes) = watch::channel(0);
        let sync = tokio::spawn(follow(client.clone(), seen.clone(), changed));
        changes.changed().await.expect("the sync task runs");
        Self { client, seen, changes, sync }
    }

    /// The user id.
    pub fn user_id(&self) -> &UserId {
        self.client.user_id().expect("logged in")
    }

    /// A look at what arrived so far.
    pub fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `condition` is `Some`, looked at now and after every sync response.
    pub async fn until<T>(&self, what: &str, mut condition: impl FnMut(&Seen) -> Option<T>) -> T {
        let mut changes = self.changes.clone();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if let Some(value) = self.look(&mut condition) {
                    return value;
                }
                changes.changed().await.expect("the sync task runs");
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain for: {what}"))
    }

    /// Waits until the client knows `room` in `state`.
    pub async fn room_in(&self, room: &RoomId, state: RoomState) -> Room {
        self.until(&format!("{state:?} of {room}"), |_| self.client.get_room(room).filter(|room| room.state() == state))
            .await
    }

    /// Waits for an event in a room's timeline.
    pub async fn event(&self, room: &RoomId, id: &OwnedEventId) -> Value {
        self.until(&format!("event {id}"), |seen| seen.event(room, id.as_str()).cloned()).await
    }
}

/// Syncs for ever, through restarts of the server, and remembers what arrives.
async fn follow(client: Client, seen: Arc<Mutex<Seen>>, changed: watch::Sender<u64>) {
    // Long enough that a burst never makes a gap: what is missing then was lost.
    let mut filter = FilterDefinition::default();
    filter.room.timeline.limit = Some(uint!(1000));
    let settings = SyncSettings::new().timeout(Duration::from_secs(10)).filter(Filter::FilterDefinition(filter));
    loop {
        let Ok(response) = client.sync_once(settings.clone()).await else {
            // The server is restarting: try again soon, as clients do.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            for (room, update) in response.rooms.joined {
                if update.timeline.limited {
                    let entry = seen.timeline.get(&room).map_or(0, Vec::len);
                    seen.gaps.push((room.clone(), entry));
                }
                let events =
                    update.timeline.events.iter().filter_map(|event| event.raw().deserialize_as_unchecked().ok());
                seen.timeline.entry(room.clone()).or_default().extend(events);
                let ephemeral = update.ephemeral.iter().filter_map(|event| event.deserialize_as_unchecked().ok());
                seen.ephemeral.entry(room.clone()).or_default().extend(ephemeral);
                seen.unread.insert(room, update.unread_notifications.notification_count);
            }
        }
        changed.send_modify(|count| *count += 1);
    }
}
