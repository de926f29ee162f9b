//! What the owner sees: numbers, lists, members, state.

use serde_json::json;

use crate::{
    Membership, RoomError, Rooms,
    admin::{RoomOrder, RoomQuery, RoomTotals},
    membership::Change,
    testing::rooms,
};

async fn listed(rooms: &Rooms, query: RoomQuery) -> (Vec<String>, usize) {
    let page = rooms.list_rooms(&query).await.unwrap();
    let names = page.rooms.into_iter().map(|room| room.name.unwrap_or_else(|| "?".to_owned())).collect();
    (names, page.total)
}

fn query(order: RoomOrder, ascending: bool) -> RoomQuery {
    RoomQuery { order, ascending, limit: 10, ..RoomQuery::default() }
}

#[tokio::test]
async fn nothing_is_listed_of_nothing() {
    let rooms = rooms();
    assert_eq!(rooms.totals().await.unwrap(), RoomTotals::default());
    assert_eq!(rooms.count_rooms().await.unwrap(), 0);
    assert_eq!(listed(&rooms, query(RoomOrder::Activity, false)).await, (vec![], 0));
    let none = ruma::room_id!("!none:example.org");
    assert!(matches!(rooms.room_summary(none).await, Err(RoomError::RoomNotFound)));
    assert!(matches!(rooms.list_members(none, 0, 10).await, Err(RoomError::RoomNotFound)));
    assert!(matches!(rooms.list_state(none).await, Err(RoomError::RoomNotFound)));
}

#[tokio::test]
async fn rooms_are_sorted_searched_and_paged() {
    let rooms = rooms();
    let body = |name: &str, alias: &str| json!({ "preset": "public_chat", "name": name, "room_alias_name": alias });
    let kitchen = rooms.create_for_test("ada", body("Kitchen", "soup")).await.unwrap();
    let attic = rooms.create_for_test("ada", body("attic", "dust")).await.unwrap();
    rooms.create_for_test("ada", body("Cellar", "wine")).await.unwrap();
    rooms.change_for_test(&attic, "bob", "bob", Change::Join).await.unwrap();
    for _ in 0..2 {
        let text = json!({ "msgtype": "m.text", "body": "hello" });
        rooms.send_for_test(&kitchen, "ada", "m.room.message", text).await.unwrap();
    }
    let text = json!({ "msgtype": "m.text", "body": "hello" });
    rooms.send_for_test(&attic, "bob", "m.room.message", text).await.unwrap();

    for (order, ascending, expected) in [
        (RoomOrder::Name, true, ["attic", "Cellar", "Kitchen"]),
        (RoomOrder::Name, false, ["Kitchen", "Cellar", "attic"]),
        (RoomOrder::Messages, false, ["Kitchen", "attic", "Cellar"]),
        (RoomOrder::Messages, true, ["Cellar", "attic", "Kitchen"]),
    ] {
        assert_eq!(listed(&rooms, query(order, ascending)).await.0, expected, "{order:?} {ascending}");
    }
    assert_eq!(listed(&rooms, query(RoomOrder::Members, false)).await.0[0], "attic");
    assert_eq!(listed(&rooms, query(RoomOrder::Activity, false)).await.1, 3);

    for (search, expected) in [("KIT", vec!["Kitchen"]), ("wine", vec!["Cellar"]), ("nothing", vec![])] {
        let query = RoomQuery { search: Some(search.to_owned()), ..query(RoomOrder::Name, true) };
        let found = listed(&rooms, query).await;
        assert_eq!(found, (expected.iter().map(ToString::to_string).collect(), expected.len()), "{search}");
    }
    let by_id = RoomQuery { search: Some(attic.to_string()), ..query(RoomOrder::Activity, false) };
    assert_eq!(listed(&rooms, by_id).await.0, ["attic"]);
    let page = RoomQuery { offset: 1, limit: 1, ..query(RoomOrder::Name, true) };
    assert_eq!(listed(&rooms, page).await, (vec!["Cellar".to_owned()], 3));

    let totals = rooms.totals().await.unwrap();
    assert_eq!((totals.messages, rooms.count_rooms().await.unwrap()), (3, 3));
    assert!(totals.events > totals.messages);
}

#[tokio::test]
async fn a_room_is_described_with_its_members_and_state() {
    let rooms = rooms();
    let body = json!({
        "preset": "private_chat",
        "name": "Family",
        "topic": "The cat",
        "room_alias_name": "family",
        "creation_content": { "m.federate": false },
        "initial_state": [{ "type": "m.room.encryption", "content": { "algorithm": "m.megolm.v1.aes-sha2" } }],
    });
    let room = rooms.create_for_test("ada", body).await.unwrap();
    for (target, change) in [("bob", Change::Invite), ("cyd", Change::Ban), ("dan", Change::Invite)] {
        rooms.change_for_test(&room, "ada", target, change).await.unwrap();
    }
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    let summary = rooms.room_summary(&room).await.unwrap();
    assert_eq!(summary.name.as_deref(), Some("Family"));
    assert_eq!(summary.topic.as_deref(), Some("The cat"));
    assert_eq!(summary.canonical_alias.as_deref(), Some("#family:example.org"));
    assert_eq!(summary.creator.as_deref(), Some("@ada:example.org"));
    assert_eq!(summary.join_rule.as_deref(), Some("invite"));
    assert_eq!(summary.history_visibility.as_deref(), Some("shared"));
    assert_eq!((summary.joined, summary.invited, summary.servers), (2, 1, 1));
    assert!(summary.encrypted && !summary.federated && !summary.published);

    let members = rooms.list_members(&room, 0, 10).await.unwrap();
    let brief: Vec<_> = members.members.iter().map(|member| (member.user_id.as_str(), member.membership)).collect();
    assert_eq!(
        brief,
        [
            ("@ada:example.org", Membership::Join),
            ("@bob:example.org", Membership::Join),
            ("@dan:example.org", Membership::Invite),
            ("@cyd:example.org", Membership::Ban),
        ]
    );
    assert_eq!(members.members[3].sender, "@ada:example.org");
    assert_eq!(members.members[2].displayname.as_deref(), Some("dan"));
    let second = rooms.list_members(&room, 1, 1).await.unwrap();
    assert_eq!((second.members[0].user_id.as_str(), second.total), ("@bob:example.org", 4));

    let state = rooms.list_state(&room).await.unwrap();
    let types: Vec<_> = state.iter().map(|entry| entry.event_type.as_str()).collect();
    assert!(types.is_sorted() && types.contains(&"m.room.name") && !types.contains(&"m.room.member"), "{types:?}");
    let name = state.iter().find(|entry| entry.event_type == "m.room.name").unwrap();
    assert_eq!((name.content.get(), name.sender.as_str()), (r#"{"name":"Family"}"#, "@ada:example.org"));
    assert!(name.event_id.starts_with('$') && name.origin_server_ts > 0);
}

#[tokio::test]
async fn content_of_a_wrong_type_counts_as_absent() {
    let rooms = rooms();
    let room = rooms.public_room("ada").await;
    rooms.state_for_test(&room, "ada", "org.example.odd", "", json!({ "x": 1 })).await.unwrap();
    // The client API would refuse some of these; rooms of other servers may hold anything.
    for (event_type, content) in [("m.room.name", json!({ "name": "" })), ("m.room.topic", json!({}))] {
        rooms.state_for_test(&room, "ada", event_type, "", content).await.unwrap();
    }
    let summary = rooms.room_summary(&room).await.unwrap();
    assert_eq!((summary.name, summary.topic), (None, None));
}
