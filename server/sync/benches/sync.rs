//! Measures what syncing costs: an idle poll, a poll with one message, an initial sync, and how long a waiting
//! client waits for a message.
//!
//! `cargo bench -p hearth-sync`; bounded to about a minute. Figures are for comparison on one machine in one session.
//! Everything runs on one thread, so the time of a request is the CPU that it costs, except where it waits for the disk.

use std::{
    error::Error,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use hearth_accounts::{Accounts, AccountsConfig, NewUser};
use hearth_protocol::SigningKey;
use hearth_rooms::{
    PushRules, Rooms, RoomsConfig,
    membership::{Change, MemberProfile},
    send::Draft,
};
use hearth_store::{EmbeddedOptions, Store};
use hearth_sync::{Audience, Limits, SyncEngine};
use hearth_transitory::Transitory;
use ruma::{
    DeviceId, OwnedRoomId, OwnedUserId, RoomVersionId, UserId,
    api::{
        OutgoingResponse,
        client::{
            room::create_room::{self, v3::RoomPreset},
            sync::sync_events::v3,
        },
    },
    device_id, owned_server_name,
    presence::PresenceState,
    push::Ruleset,
};
use serde_json::{json, value::to_raw_value};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const IDLE_ROOMS: usize = 200;
const INITIAL_ROOMS: usize = 50;
const MESSAGES: usize = 20;
const IDLE_POLLS: u32 = 20_000;
const WAKES: u32 = 300;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench failed: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Server {
    store: Store,
    rooms: Rooms,
    accounts: Accounts,
    engine: SyncEngine,
}

struct AccountRules(Accounts);

impl PushRules for AccountRules {
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>> {
        Box::pin(async move { self.0.rulesets(users).await.unwrap_or_else(|_| vec![None; users.len()]) })
    }
}

async fn run() -> Outcome {
    // Beside the build's files rather than in the temporary directory, which is memory on many machines.
    let directory = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let server = Server::open(directory.path()).await?;
    let (alice, bob) = (server.user("alice").await?, server.user("bob").await?);
    let strangers = server.create(&bob, 1).await?;
    println!("{:<56} {:>12}", "on the embedded store, one thread", "each");

    let rooms = server.create(&alice, INITIAL_ROOMS).await?;
    for room in &rooms {
        server.join(room, &bob).await?;
        for number in 0..MESSAGES {
            server.say(room, &bob, number).await?;
        }
    }
    let started = Instant::now();
    let first = server.sync(&alice, None).await?;
    let bytes = first.1;
    row(&format!("initial sync, {INITIAL_ROOMS} rooms, first time ({} kB)", bytes / 1000), started.elapsed());
    repeated(&format!("initial sync, {INITIAL_ROOMS} rooms"), 50, async || server.sync(&alice, None).await.map(drop))
        .await?;

    server.create(&alice, IDLE_ROOMS - INITIAL_ROOMS).await?;
    let (position, _) = server.sync(&alice, None).await?;
    repeated(&format!("idle poll, {IDLE_ROOMS} rooms"), IDLE_POLLS, async || {
        server.sync(&alice, Some(&position)).await.map(drop)
    })
    .await?;
    for number in 0..20 {
        server.say(&strangers[0], &bob, number).await?;
    }
    repeated(&format!("idle poll, {IDLE_ROOMS} rooms, 20 events elsewhere"), IDLE_POLLS, async || {
        server.sync(&alice, Some(&position)).await.map(drop)
    })
    .await?;
    let since = position.parse()?;
    repeated("of that, the engine's batch", IDLE_POLLS, async || {
        let audience = Audience::User(alice.clone());
        server.engine.next_batch(&audience, Some(since), Limits::default()).await?;
        Ok(())
    })
    .await?;
    server.say(&rooms[0], &bob, 1).await?;
    repeated(&format!("poll with one message, {IDLE_ROOMS} rooms"), 2000, async || {
        server.sync(&alice, Some(&position)).await.map(drop)
    })
    .await?;
    wakes(&server, &rooms[0], &alice, &bob).await?;
    server.rooms.close().await;
    server.store.close().await;
    Ok(())
}

/// From the answer of a send to the answer of the poll that it wakes.
async fn wakes(server: &Server, room: &OwnedRoomId, reader: &UserId, writer: &UserId) -> Outcome {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn({
        let (engine, stop) = (server.engine.clone(), stop.clone());
        async move { engine.run(stop).await }
    });
    let mut times = Vec::new();
    let (mut position, _) = server.sync(reader, None).await?;
    for number in 0..WAKES as usize {
        let waiting = async {
            let answer = server.poll(reader, Some(&position), Duration::from_mins(1)).await;
            answer.map(|answer| (answer, Instant::now()))
        };
        let sending = async {
            while server.engine.hub().waiting() == 0 {
                tokio::task::yield_now().await;
            }
            server.say(room, writer, number).await.map(|()| Instant::now())
        };
        let (answered, sent) = tokio::join!(waiting, sending);
        let ((next, _), answered) = answered?;
        times.push(answered.saturating_duration_since(sent?));
        position = next;
    }
    times.sort_unstable();
    row("wake: from a send's answer to the poll's, median", times[times.len() / 2]);
    row("wake: the slowest of a hundred", times[times.len() * 99 / 100]);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn repeated(what: &str, times: u32, mut request: impl AsyncFnMut() -> Outcome) -> Outcome {
    let started = Instant::now();
    for _ in 0..times {
        request().await?;
    }
    row(what, started.elapsed() / times);
    Ok(())
}

fn row(what: &str, each: Duration) {
    println!("{what:<56} {:>9.1} µs", each.as_secs_f64() * 1e6);
}

impl Server {
    async fn open(directory: &Path) -> Outcome<Self> {
        let name = owned_server_name!("bench.example.org");
        let store = Store::open(EmbeddedOptions { path: directory.join("store"), cache_bytes: 64 << 20 }).await?;
        let accounts = Accounts::new(store.clone(), AccountsConfig::new(name.clone()));
        let config = RoomsConfig {
            key: SigningKey::generate(name.clone()).0,
            server_name: name,
            default_version: RoomVersionId::V12,
        };
        let rooms = Rooms::new(store.clone(), config, Arc::new(AccountRules(accounts.clone())));
        let engine = SyncEngine::new(rooms.clone(), accounts.clone(), Transitory::new(store.clone()));
        Ok(Self { store, rooms, accounts, engine })
    }

    async fn user(&self, localpart: &str) -> Outcome<OwnedUserId> {
        Ok(self.accounts.create_user(NewUser { localpart: Some(localpart), ..NewUser::default() }).await?)
    }

    async fn create(&self, creator: &UserId, count: usize) -> Outcome<Vec<OwnedRoomId>> {
        let mut rooms = Vec::new();
        for _ in 0..count {
            let mut request = create_room::v3::Request::new();
            request.preset = Some(RoomPreset::PublicChat);
            rooms.push(self.rooms.create(creator, &MemberProfile::default(), request).await?);
        }
        Ok(rooms)
    }

    async fn join(&self, room: &OwnedRoomId, user: &UserId) -> Outcome {
        let profile = MemberProfile::default();
        Ok(self.rooms.change_membership(room, user, user, Change::Join, &profile, None).await?)
    }

    async fn say(&self, room: &OwnedRoomId, user: &UserId, number: usize) -> Outcome {
        let draft = Draft {
            event_type: "m.room.message".into(),
            state_key: None,
            content: to_raw_value(&json!({ "msgtype": "m.text", "body": format!("message {number}") }))?,
            redacts: None,
            transaction: None,
            timestamp: None,
        };
        self.rooms.send(room, user, draft).await?;
        Ok(())
    }

    async fn sync(&self, user: &UserId, since: Option<&str>) -> Outcome<(String, usize)> {
        self.poll(user, since, Duration::ZERO).await
    }

    /// A request as far as the body's bytes; gives the next position and their number.
    async fn poll(&self, user: &UserId, since: Option<&str>, timeout: Duration) -> Outcome<(String, usize)> {
        let device: &DeviceId = device_id!("BENCH");
        let mut request = v3::Request::new();
        request.since = since.map(ToOwned::to_owned);
        request.timeout = Some(timeout);
        request.set_presence = PresenceState::Online;
        let response = self.engine.sync(user, device, &request).await?;
        let position = response.next_batch.clone();
        Ok((position, response.try_into_http_response::<Vec<u8>>()?.body().len()))
    }
}
