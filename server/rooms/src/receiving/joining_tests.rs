//! Joining a room of another server from its state, with interruptions.

use std::sync::Mutex;

use hearth_protocol::{
    Pdu, RoomVersion, SigningKey,
    build::{Named, Unsigned},
};
use hearth_store::{Store, check::Report};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, RoomVersionId, UInt, UserId, owned_server_name};
use serde_json::{Value, json, value::to_raw_value};

use super::{JoinStep, tests::verified};
use crate::{
    Membership, RoomError,
    check::check,
    keys::{BACKWARD, STAGED, STAGED_JOIN},
    testing::{rooms_on, user},
};

const MEMBERS: usize = 400;
const ALICE: &str = "@alice:remote";

/// Makes the other server's events.
struct Author {
    version: RoomVersion,
    key: SigningKey,
    room_id: Option<OwnedRoomId>,
    depth: u64,
    last: Option<OwnedEventId>,
}

impl Author {
    fn event(&mut self, sender: &str, event_type: &str, key: &str, content: &Value, auth: &[OwnedEventId]) -> Pdu {
        self.depth += 1;
        let pdu = Unsigned {
            room_id: self.room_id.clone(),
            sender: UserId::parse(sender).unwrap(),
            event_type: event_type.into(),
            state_key: Some(key.to_owned()),
            content: to_raw_value(content).unwrap(),
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::new(1_700_000_000_000 + self.depth).unwrap()),
            prev_events: self.last.take().into_iter().collect(),
            auth_events: auth.to_vec(),
            depth: self.depth,
            named: Named::default(),
        }
        .sign(&self.version, &self.key)
        .unwrap();
        self.last = Some(pdu.event_id.clone());
        self.room_id.get_or_insert_with(|| pdu.room_id.clone());
        pdu
    }
}

fn join(name: &str) -> Value {
    json!({ "membership": "join", "displayname": name })
}

#[tokio::test]
async fn a_join_goes_on_where_it_was_interrupted() {
    for id in [RoomVersionId::V10, RoomVersionId::V12] {
        let version = RoomVersion::get(&id).unwrap();
        let (key, _) = SigningKey::generate(owned_server_name!("remote"));
        let is_v12 = version.room_id_is_create_event();
        let room_id = (!is_v12).then(|| "!large:remote".try_into().unwrap());
        let mut author = Author { version: version.clone(), key, room_id, depth: 0, last: None };
        let create = json!({ "room_version": id, "creator": ALICE });
        let create = author.event(ALICE, "m.room.create", "", &create, &[]);
        let room_id = create.room_id.clone();
        let base: Vec<OwnedEventId> = if is_v12 { Vec::new() } else { vec![create.event_id.clone()] };
        let with = |ids: &[&Pdu]| {
            let more = ids.iter().map(|event| event.event_id.clone());
            base.iter().cloned().chain(more).collect::<Vec<_>>()
        };
        let alice = author.event(ALICE, "m.room.member", ALICE, &join("Alice"), &with(&[]));
        let users = if is_v12 { json!({}) } else { json!({ ALICE: 100 }) };
        let levels = author.event(ALICE, "m.room.power_levels", "", &json!({ "users": users }), &with(&[&alice]));
        let rules = json!({ "join_rule": "public" });
        let rules = author.event(ALICE, "m.room.join_rules", "", &rules, &with(&[&alice, &levels]));
        let auth = with(&[&levels, &rules]);
        let mut state: Vec<OwnedEventId> =
            [&create, &alice, &levels, &rules].iter().map(|event| event.event_id.clone()).collect();
        let mut events: Vec<_> = [create, alice, levels, rules.clone()].iter().map(verified).collect();
        for number in 0..MEMBERS {
            let user = format!("@member{number}:server{}", number % 7);
            let first = author.event(&user, "m.room.member", &user, &join("First"), &auth);
            let again = [auth.as_slice(), std::slice::from_ref(&first.event_id)].concat();
            let second = author.event(&user, "m.room.member", &user, &join("Second"), &again);
            state.push(second.event_id.clone());
            events.extend([verified(&first), verified(&second)]);
        }
        // Nobody may set that, and a server that says it is in the state is wrong.
        let name = json!({ "name": "of nobody" });
        let refused = author.event("@member0:server0", "m.room.name", "", &name, &with(&[]));
        state.push(refused.event_id.clone());
        events.push(verified(&refused));
        let bob = user("bob").to_string();
        let own = verified(&author.event(&bob, "m.room.member", &bob, &join("Bob"), &auth));
        // Later ones come first.
        events.reverse();

        let store = Store::memory();
        let rooms = rooms_on(store.clone());
        let staging = rooms.begin_join(&room_id, &version).await.unwrap();
        let (some, rest) = events.split_at(300);
        rooms.stage_events(&staging, some).await.unwrap();
        drop(rooms);
        // Another process goes on, and has all the events again.
        let rooms = rooms_on(store.clone());
        let staging = rooms.begin_join(&room_id, &version).await.unwrap();
        rooms.stage_events(&staging, &events).await.unwrap();
        rooms.stage_events(&staging, rest).await.unwrap();
        assert!(rooms.find_room(&store.begin(), &room_id).await.unwrap().is_none());
        let lacking = [state.clone(), vec!["$missing".try_into().unwrap()]].concat();
        let steps = Mutex::new(Vec::new());
        let note = |progress: super::JoinProgress| steps.lock().unwrap().push(progress);
        let failed = rooms.finish_join(&staging, &lacking, &own, &note).await;
        assert!(matches!(failed, Err(RoomError::BadState(_))), "{failed:?}");
        // Interrupted after everything was written: the join itself is refused.
        let intruder = verified(&author.event(&bob, "m.room.name", "", &json!({}), &auth));
        let failed = rooms.finish_join(&staging, &state, &intruder, &note).await;
        assert!(matches!(failed, Err(RoomError::Forbidden(_))), "{failed:?}");
        assert!(rooms.find_room(&store.begin(), &room_id).await.unwrap().is_none());
        let rooms = rooms_on(store.clone());
        let staging = rooms.begin_join(&room_id, &version).await.unwrap();
        rooms.finish_join(&staging, &state, &own, &note).await.unwrap();
        assert_eq!(steps.lock().unwrap().last().map(|last| (last.step, last.done)), Some((JoinStep::Publishing, 1)));

        let members = rooms.joined_members(&room_id, &user("bob")).await.unwrap();
        assert_eq!(members.len(), MEMBERS + 2, "version {id}");
        assert!(rooms.state_content(&room_id, &user("bob"), "m.room.name", "").await.is_err());
        assert_eq!(rooms.membership_of(&room_id, &user("bob")).await.unwrap(), Some(Membership::Join));
        let tx = store.begin();
        assert!(STAGED.scan(()).all(&tx).await.unwrap().is_empty());
        assert!(STAGED_JOIN.scan(()).all(&tx).await.unwrap().is_empty());
        assert_eq!(BACKWARD.scan(()).all(&tx).await.unwrap().len(), 1, "there is history before");
        rooms.send_for_test(&room_id, "bob", "m.room.message", json!({ "body": "hello" })).await.unwrap();
        let report = Report::new();
        check(&store, &report).await.unwrap();
        assert_eq!(report.kept(), [], "version {id}");
        let again = rooms.begin_join(&room_id, &version).await;
        assert!(matches!(again, Err(RoomError::BadState(_))));
    }
}
