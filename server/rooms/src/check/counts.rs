//! Counters against what they count, room by room.
//!
//! Counting a large room takes more than one transaction. Its head tells whether something was published meanwhile; then it
//! is counted again, and left alone after some attempts: a room in which so much happens has no time for this.

use std::collections::BTreeMap;

use hearth_store::{
    Key, Store, StoreError, Table, Transaction, Value, Versionstamp,
    check::{Report, expect},
    tuple::TuplePack,
};

use super::REBUILD_MEMBERS;
use crate::{
    Membership, RoomNid, StateKeyNid,
    keys::{COUNTER, LOCAL_MEMBER, MEMBER, ROOM_HEAD, SERVER_USERS, STATE_KEY, TIMELINE},
    publish::counter,
};

const ATTEMPTS: usize = 3;
/// Entries read in one transaction.
const PAGE: usize = 500;
const SET: &str = "set the counter";

pub(super) async fn check(store: &Store, report: &Report) -> Result<(), StoreError> {
    let mut rooms = Pages::new(&ROOM_HEAD, ());
    while let Some(page) = rooms.next(store).await? {
        for ((room,), _) in page {
            for _ in 0..ATTEMPTS {
                let head = head_of(store, room).await?;
                let found = Report::new();
                one_room(store, room, &found).await?;
                if head_of(store, room).await? == head {
                    report.absorb(&found);
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn head_of(store: &Store, room: RoomNid) -> Result<Option<Versionstamp>, StoreError> {
    store.transact("check.head", |tx| async move { ROOM_HEAD.get(&tx, (room,)).await }).await
}

async fn one_room(store: &Store, room: RoomNid, report: &Report) -> Result<(), StoreError> {
    let (mut joined, mut invited, mut events) = (0u64, 0u64, 0u64);
    let mut servers: BTreeMap<String, u64> = BTreeMap::new();
    let mut members = Pages::new(&MEMBER, (room,));
    while let Some(page) = members.next(store).await? {
        let users: Vec<StateKeyNid> = page
            .iter()
            .filter(|(_, record)| record.membership == Membership::Join)
            .map(|((_, user), _)| *user)
            .collect();
        joined += users.len() as u64;
        invited += page.iter().filter(|(_, record)| record.membership == Membership::Invite).count() as u64;
        for server in servers_of(store, &users).await? {
            *servers.entry(server).or_default() += 1;
        }
    }
    let mut timeline = Pages::new(&TIMELINE, (room,));
    while let Some(page) = timeline.next(store).await? {
        events += page.len() as u64;
    }

    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let mut rows = Pages::new(&SERVER_USERS, (room,));
    while let Some(page) = rows.next(store).await? {
        for ((_, server), users) in page {
            let name = store.transact("check.name", |tx| async move { STATE_KEY.get_snapshot(&tx, (server,)).await });
            counted.insert(name.await?.unwrap_or_else(|| format!("number {}", server.0)), users);
        }
    }
    let what =
        || format!("room {} counts its servers' users as {}, and they are {}", room.0, few(&counted), few(&servers));
    report.add_wrong(&SERVER_USERS.name(), expect(counted == servers, what, REBUILD_MEMBERS));

    for (kind, name, there) in [
        (counter::JOINED, "joined members", joined),
        (counter::INVITED, "invited members", invited),
        (counter::EVENTS, "events", events),
    ] {
        let read = |tx: Transaction| async move { COUNTER.get_snapshot(&tx, (room, kind)).await };
        let count = store.transact("check.counter", read).await?.unwrap_or(0);
        let what = || format!("room {} counts {count} {name}, and there are {there}", room.0);
        report.add_wrong(&COUNTER.name(), expect(count == there, what, SET));
    }
    local_members(store, room, report).await
}

/// Who is notified at all decides which server is ours; then every joined user of it must be.
async fn local_members(store: &Store, room: RoomNid, report: &Report) -> Result<(), StoreError> {
    let first =
        store.transact("check.local", |tx| async move { LOCAL_MEMBER.scan((room,)).snapshot().first(&tx).await });
    let Some((_, first)) = first.await? else { return Ok(()) };
    let Some(ours) = server_of(&first.user_id).map(str::to_owned) else { return Ok(()) };
    let mut members = Pages::new(&MEMBER, (room,));
    while let Some(page) = members.next(store).await? {
        let (page, ours) = (&page, &ours);
        let missing = store
            .transact("check.local_members", |tx| async move {
                let mut missing = Vec::new();
                for ((_, user), _) in page.iter().filter(|(_, record)| record.membership == Membership::Join) {
                    let name = STATE_KEY.get_snapshot(&tx, (*user,)).await?;
                    let is_ours = name.as_deref().and_then(server_of) == Some(ours.as_str());
                    if is_ours && LOCAL_MEMBER.get_snapshot(&tx, (room, *user)).await?.is_none() {
                        missing.extend(name);
                    }
                }
                Ok::<_, StoreError>(missing)
            })
            .await?;
        for user in missing {
            let what = || format!("{user} is joined to room {} and would not be notified", room.0);
            report.add_wrong(&LOCAL_MEMBER.name(), expect(false, what, REBUILD_MEMBERS));
        }
    }
    Ok(())
}

/// The server of each user; what has no name is reported elsewhere.
async fn servers_of(store: &Store, users: &[StateKeyNid]) -> Result<Vec<String>, StoreError> {
    store
        .transact("check.servers", |tx| async move {
            let mut servers = Vec::with_capacity(users.len());
            for user in users {
                let name = STATE_KEY.get_snapshot(&tx, (*user,)).await?;
                servers.extend(name.as_deref().and_then(server_of).map(str::to_owned));
            }
            Ok(servers)
        })
        .await
}

fn server_of(user: &str) -> Option<&str> {
    user.strip_prefix('@')?.split_once(':').map(|(_, server)| server)
}

/// The first few, for people.
fn few(servers: &BTreeMap<String, u64>) -> String {
    let mut words: Vec<String> = servers.iter().take(4).map(|(server, users)| format!("{server} {users}")).collect();
    if servers.len() > words.len() {
        words.push("…".to_owned());
    }
    format!("[{}]", words.join(", "))
}

/// Reads a part of a table page by page, each in its own transaction.
struct Pages<'t, K, V, P> {
    table: &'t Table<K, V>,
    prefix: P,
    after: Option<K>,
    done: bool,
}

impl<'t, K, V, P> Pages<'t, K, V, P>
where
    K: Key + TuplePack + Clone + Send + Sync,
    V: Value + Send,
    P: TuplePack + Copy + Send + Sync,
{
    fn new(table: &'t Table<K, V>, prefix: P) -> Self {
        Self { table, prefix, after: None, done: false }
    }

    async fn next(&mut self, store: &Store) -> Result<Option<Vec<(K, V)>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let (table, prefix, after) = (self.table, self.prefix, &self.after);
        let page = store
            .transact("check.page", |tx| async move {
                let scan = table.scan(prefix).snapshot().limit(PAGE);
                match after {
                    Some(key) => scan.after(key).all(&tx).await,
                    None => scan.all(&tx).await,
                }
            })
            .await?;
        self.done = page.len() < PAGE;
        if let Some((key, _)) = page.last() {
            self.after = Some(key.clone());
        }
        Ok(Some(page))
    }
}
