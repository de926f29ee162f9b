//! Events of other servers meet those of this one: forks, soft failure, gaps, collection, and what readers see of it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use hearth_protocol::{
    Pdu, SigningKey,
    auth::auth_types,
    build::{Named, Unsigned},
    receive::Verified,
    testing::{Dag, DagPlan},
};
use hearth_store::{Store, check::Report};
use ruma::{EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, RoomId, UInt, UserId, owned_server_name};
use serde_json::{Value, json, value::to_raw_value};

use super::{
    Fetch, StateIds,
    tests::{begin, values, verified},
};
use crate::{
    EventNid, Membership, Outcome, Reader, RoomError, RoomNid, Rooms,
    check::check,
    keys::{EVENT, EVENT_NID, EXTREMITY, NOTIFICATION, REDACTION, ROOM},
    membership::Change,
    snapshots::Wanted,
    testing::{draft, rooms, rooms_on, user},
};

/// Nothing can be had.
struct Nobody;

impl Fetch for Nobody {
    fn events<'a>(&'a self, _: &'a RoomId, _: &'a [OwnedEventId]) -> BoxFuture<'a, Vec<Verified>> {
        Box::pin(std::future::ready(Vec::new()))
    }
    fn state_ids<'a>(&'a self, _: &'a RoomId, _: &'a EventId) -> BoxFuture<'a, Option<StateIds>> {
        Box::pin(std::future::ready(None))
    }
}

/// A room of this server's Alice, and another server with users in it.
struct Meeting {
    rooms: Rooms,
    room: OwnedRoomId,
    nid: RoomNid,
    key: SigningKey,
    time: u64,
}

impl Meeting {
    async fn begin() -> Self {
        let rooms = rooms();
        let body = json!({
            "preset": "public_chat", "power_level_content_override": { "events": { "m.room.topic": 0 } },
        });
        let room = rooms.create_for_test("alice", body).await.unwrap();
        rooms.start_receiving(Arc::new(Nobody)).await.unwrap();
        let nid = rooms.find_room(&rooms.store.begin(), &room).await.unwrap().unwrap();
        let (key, _) = SigningKey::generate(owned_server_name!("remote"));
        let mut meeting = Self { rooms, room, nid, key, time: 1_700_000_000_000 };
        for name in ["rita", "ron"] {
            let user = format!("@{name}:remote");
            let ends = meeting.ends().await;
            let join = json!({ "membership": "join" });
            meeting.send(&ends, name, "m.room.member", Some(&user), join).await;
        }
        meeting
    }

    async fn ends(&self) -> Vec<OwnedEventId> {
        let tx = self.rooms.store.begin();
        let mut ends = Vec::new();
        for ((_, end), ()) in EXTREMITY.scan((self.nid,)).all(&tx).await.unwrap() {
            ends.push(self.rooms.stored_event(&tx, end).await.unwrap().pdu.event_id.clone());
        }
        ends
    }

    /// The other server sends an event after `prev`, authorized by the state that comes after these.
    async fn send(
        &mut self,
        prev: &[OwnedEventId],
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> OwnedEventId {
        let rooms = &self.rooms;
        let tx = rooms.store.begin();
        let info = rooms.room_info(&tx, self.nid).await.unwrap();
        let mut nids = Vec::new();
        let mut depth = 0;
        for id in prev {
            let nid = EVENT_NID.get(&tx, (id.as_str(),)).await.unwrap().unwrap();
            depth = depth.max(rooms.graph(&tx, self.nid, nid).await.unwrap().depth);
            nids.push(nid);
        }
        let state = rooms.state_over(&info, &nids).await.unwrap();
        let sender = UserId::parse(format!("@{sender}:remote")).unwrap();
        let content = to_raw_value(&content).unwrap();
        let keys = auth_types(&info.version, &event_type.into(), &sender, state_key, &content).unwrap();
        let mut auth_events = Vec::new();
        for (event_type, key) in keys {
            let numbers = (
                rooms.find_type(&tx, &event_type.to_string()).await.unwrap(),
                rooms.find_state_key(&tx, &key).await.unwrap(),
            );
            let (Some(event_type), Some(key)) = numbers else { continue };
            if let Some(event) = rooms.snapshots.lookup(&tx, self.nid, state, &[(event_type, key)]).await.unwrap()[0] {
                auth_events.push(rooms.stored_event(&tx, event).await.unwrap().pdu.event_id.clone());
            }
        }
        self.time += 1;
        let redacts = serde_json::from_str::<Value>(content.get()).unwrap()["redacts"].as_str().map(str::to_owned);
        let pdu = Unsigned {
            room_id: Some(self.room.clone()),
            sender,
            event_type: event_type.into(),
            state_key: state_key.map(str::to_owned),
            content,
            redacts: redacts.map(|id| id.try_into().unwrap()),
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::new(self.time).unwrap()),
            prev_events: prev.to_vec(),
            auth_events,
            depth: depth + 1,
            named: Named::default(),
        }
        .sign(&info.version, &self.key)
        .unwrap();
        let id = pdu.event_id.clone();
        self.receive(&pdu).await;
        id
    }

    async fn receive(&self, pdu: &Pdu) {
        self.rooms.receive(&self.room, vec![verified(pdu)]).await.unwrap();
        self.rooms.received(&self.room).await.unwrap();
    }

    async fn message(&mut self, prev: &[OwnedEventId], sender: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": format!("of {sender}") });
        self.send(prev, sender, "m.room.message", None, content).await
    }

    async fn outcome(&self, id: &EventId) -> Outcome {
        let tx = self.rooms.store.begin();
        let nid = EVENT_NID.get(&tx, (id.as_str(),)).await.unwrap().unwrap();
        EVENT.get(&tx, (nid,)).await.unwrap().unwrap().outcome
    }

    async fn sees(&self, name: &str, id: &EventId) -> bool {
        let reader = user(name);
        let reader = Reader::new(&reader, None);
        match self.rooms.event(&self.room, &reader, id).await {
            Ok(_) => true,
            Err(RoomError::EventNotFound) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn local_message(&self) -> Pdu {
        let id = self.rooms.send_for_test(&self.room, "alice", "m.room.message", json!({ "body": "x" })).await.unwrap();
        let tx = self.rooms.store.begin();
        let nid = EVENT_NID.get(&tx, (id.as_str(),)).await.unwrap().unwrap();
        (*self.rooms.stored_event(&tx, nid).await.unwrap().pdu).clone()
    }
}

#[tokio::test]
async fn a_local_event_merges_all_ends() {
    let mut meeting = Meeting::begin().await;
    let fork = meeting.ends().await;
    let mut ends = BTreeSet::new();
    for name in ["rita", "ron"] {
        ends.insert(meeting.message(&fork, name).await);
    }
    let topic = meeting.send(&fork, "ron", "m.room.topic", Some(""), json!({ "topic": "ron's" })).await;
    ends.insert(topic.clone());
    ends.insert(meeting.send(&fork, "rita", "m.room.topic", Some(""), json!({ "topic": "rita's" })).await);
    let local = meeting.local_message().await;
    assert_eq!(local.prev_events.iter().cloned().collect::<BTreeSet<_>>(), ends);
    assert_eq!(meeting.ends().await, std::slice::from_ref(&local.event_id));
    let reader = user("alice");
    let topic = meeting.rooms.state_content(&meeting.room, &reader, "m.room.topic", "").await.unwrap();
    assert!(topic.get().contains("rita's"), "of two at once the later one stays: {topic}");
    for id in &ends {
        assert!(meeting.sees("alice", id).await);
    }
    // It is read again after a restart, too.
    let tx = meeting.rooms.store.begin();
    let alice = meeting.rooms.find_state_key(&tx, user("alice").as_str()).await.unwrap().unwrap();
    let unread = NOTIFICATION.scan((alice, meeting.nid)).all(&tx).await.unwrap();
    assert!(unread.iter().any(|(_, row)| row.notify), "messages of others notify");
}

#[tokio::test]
async fn who_is_banned_sends_into_the_past_in_vain() {
    let mut meeting = Meeting::begin().await;
    let before = meeting.ends().await;
    let ban = json!({ "membership": "ban" });
    meeting.rooms.send(&meeting.room, &user("alice"), draft("m.room.member", Some("@ron:remote"), ban)).await.unwrap();
    let ends = meeting.ends().await;
    let late = meeting.message(&before, "ron").await;
    assert_eq!(meeting.outcome(&late).await, Outcome::SoftFailed);
    assert!(!meeting.sees("alice", &late).await);
    assert_eq!(meeting.ends().await, ends, "it is no end, and what it follows stays what it is");
    let local = meeting.local_message().await;
    assert!(!local.prev_events.contains(&late));
    // Somebody who had it before the ban goes on from there.
    let follower = meeting.message(std::slice::from_ref(&late), "rita").await;
    assert_eq!(meeting.outcome(&follower).await, Outcome::Accepted);
    let expected = BTreeSet::from([local.event_id, follower]);
    assert_eq!(meeting.ends().await.into_iter().collect::<BTreeSet<_>>(), expected);
    // From after the ban it is not even accepted.
    let ends = meeting.ends().await;
    let refused = meeting.message(&ends, "ron").await;
    assert_eq!(meeting.outcome(&refused).await, Outcome::Rejected);
    assert!(!meeting.sees("alice", &refused).await);
    let tx = meeting.rooms.store.begin();
    let nid = EVENT_NID.get(&tx, (refused.as_str(),)).await.unwrap().unwrap();
    assert!(EVENT.get(&tx, (nid,)).await.unwrap().unwrap().reason.is_some());
}

#[tokio::test]
async fn redactions_and_memberships_of_others_count() {
    let mut meeting = Meeting::begin().await;
    meeting.rooms.change_for_test(&meeting.room, "bob", "bob", Change::Join).await.unwrap();
    let ends = meeting.ends().await;
    let message = meeting.message(&ends, "ron").await;
    let by_rita = json!({ "redacts": message });
    let redaction = meeting.send(std::slice::from_ref(&message), "rita", "m.room.redaction", None, by_rita).await;
    assert_eq!(meeting.outcome(&redaction).await, Outcome::Accepted);
    let tx = meeting.rooms.store.begin();
    let nid = EVENT_NID.get(&tx, (message.as_str(),)).await.unwrap().unwrap();
    assert!(REDACTION.get(&tx, (nid,)).await.unwrap().is_some(), "of the same server");
    let local = meeting.local_message().await;
    let by_rita = json!({ "redacts": local.event_id });
    meeting.send(std::slice::from_ref(&local.event_id), "rita", "m.room.redaction", None, by_rita).await;
    let tx = meeting.rooms.store.begin();
    let nid = EVENT_NID.get(&tx, (local.event_id.as_str(),)).await.unwrap().unwrap();
    assert!(REDACTION.get(&tx, (nid,)).await.unwrap().is_none(), "without the power to");
    let ends = meeting.ends().await;
    meeting.send(&ends, "ron", "m.room.member", Some("@ron:remote"), json!({ "membership": "leave" })).await;
    let ron = UserId::parse("@ron:remote").unwrap();
    assert_eq!(meeting.rooms.membership_of(&meeting.room, &ron).await.unwrap(), Some(Membership::Leave));
    let report = Report::new();
    check(&meeting.rooms.store, &report).await.unwrap();
    assert_eq!(report.kept(), []);
}

/// The other server tells the state, and the newest events alone.
struct Forgetful {
    dag: Dag,
    events: HashMap<OwnedEventId, Verified>,
    newest: BTreeSet<OwnedEventId>,
}

impl Fetch for Forgetful {
    fn events<'a>(&'a self, _: &'a RoomId, wanted: &'a [OwnedEventId]) -> BoxFuture<'a, Vec<Verified>> {
        let known = |id: &OwnedEventId| {
            let event = self.events.get(id)?;
            (event.pdu.state_key.is_some() || self.newest.contains(id)).then(|| event.clone())
        };
        Box::pin(std::future::ready(wanted.iter().filter_map(known).collect()))
    }

    fn state_ids<'a>(&'a self, _: &'a RoomId, event: &'a EventId) -> BoxFuture<'a, Option<StateIds>> {
        let event = self.dag.reference.events().get(event).expect("it is in the room");
        let state = self.dag.reference.state_before(&event.prev_events);
        let auth_chain = self.dag.reference.auth_chain(state.values()).into_iter().collect();
        let ids = StateIds { state: state.values().cloned().collect(), auth_chain };
        Box::pin(std::future::ready(Some(ids)))
    }
}

#[tokio::test]
async fn over_a_gap_the_state_is_what_another_server_says() {
    for (version, seed) in [("6", 3), ("11", 4), ("12", 5)] {
        let plan = DagPlan { events: 80, invalid: 0.0, ..DagPlan::new(version, seed) };
        let dag = Dag::generate(&plan);
        let newest: BTreeSet<OwnedEventId> =
            dag.events.iter().rev().take(15).map(|event| event.pdu.event_id.clone()).collect();
        let events = dag.events.iter().map(|event| (event.pdu.event_id.clone(), verified(&event.pdu))).collect();
        let rooms = rooms_on(Store::memory());
        let room = begin(&rooms, &dag).await;
        let last = dag.events[dag.events.len() - 1].pdu.clone();
        let (room_id, is_closed) = (dag.room_id.clone(), dag.is_closed);
        let expected = values(dag.reference.state_after(&last.event_id));
        rooms.start_receiving(Arc::new(Forgetful { dag, events, newest })).await.unwrap();
        rooms.receive(&room_id, vec![verified(&last)]).await.unwrap();
        rooms.received(&room_id).await.unwrap();
        let tx = rooms.store.begin();
        let nid = EVENT_NID.get(&tx, (last.event_id.as_str(),)).await.unwrap().expect("it is here");
        let info = rooms.room_info(&tx, room).await.unwrap();
        let after = rooms.state_over(&info, &[nid]).await.unwrap();
        let entries = rooms.snapshots.entries(&tx, room, after, Wanted::All).await.unwrap();
        let events: Vec<EventNid> = entries.into_iter().map(|tuple| tuple.event).collect();
        assert!(is_closed);
        assert_eq!(super::tests::ids(&rooms, events).await, expected, "version {version}");
    }
}

#[tokio::test]
async fn what_nothing_refers_to_is_collected_while_events_come() {
    let dag = Arc::new(Dag::generate(&DagPlan { events: 60, ..DagPlan::new("12", 9) }));
    let rooms = rooms_on(Store::memory());
    let room = begin(&rooms, &dag).await;
    rooms.start_receiving(Arc::new(Nobody)).await.unwrap();
    for index in dag.topological_order(1) {
        rooms.receive(&dag.room_id, vec![verified(&dag.events[index].pdu)]).await.unwrap();
        let (received, collected) = tokio::join!(rooms.received(&dag.room_id), rooms.collect_state(room));
        received.unwrap();
        collected.unwrap();
    }
    super::tests::check(&rooms, room, &dag, "with a collector").await;
    assert!(ROOM.get(&rooms.store.begin(), (room,)).await.unwrap().is_some());
}
