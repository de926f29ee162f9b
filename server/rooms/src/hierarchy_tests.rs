//! Who may know of a room, and the trees of spaces.

use ruma::{OwnedRoomId, RoomId, room::JoinRuleKind, room_id, server_name};
use serde_json::{Value, json};

use crate::{
    Membership, RoomError, Rooms,
    hierarchy::{HierarchyPage, HierarchyRequest},
    membership::Change,
    summary::{Onlooker, RoomOutline},
    testing::{rooms, user},
};

async fn space(rooms: &Rooms, name: &str) -> OwnedRoomId {
    let body = json!({ "name": name, "preset": "public_chat", "creation_content": { "type": "m.space" } });
    rooms.create_for_test("alice", body).await.unwrap()
}

async fn room(rooms: &Rooms, name: &str) -> OwnedRoomId {
    rooms.create_for_test("alice", json!({ "name": name, "preset": "public_chat" })).await.unwrap()
}

async fn add(rooms: &Rooms, space: &RoomId, child: &RoomId, extra: Value) {
    let mut content = json!({ "via": ["example.org"] });
    for (field, value) in extra.as_object().unwrap() {
        content[field] = value.clone();
    }
    rooms.state_for_test(space, "alice", "m.space.child", child.as_str(), content).await.unwrap();
}

fn names(page: &HierarchyPage) -> Vec<&str> {
    page.rooms.iter().map(|room| room.summary.name.as_deref().unwrap_or("-")).collect()
}

async fn tree(rooms: &Rooms, root: &RoomId, request: &HierarchyRequest) -> HierarchyPage {
    rooms.hierarchy(root, Onlooker::User(&user("alice")), request).await.unwrap()
}

#[tokio::test]
async fn who_may_know_of_a_room() {
    let rooms = rooms();
    let other = room(&rooms, "other").await;
    rooms.change_for_test(&other, "dora", "dora", Change::Join).await.unwrap();
    let allow = json!([{ "type": "m.room_membership", "room_id": other }, { "type": "x" }, 3]);
    // Join rule, visibility; then a member, an invited, a banned user, one of the other room, a stranger, a server of the
    // other room, another one, somebody.
    let table = [
        ("public", "shared", [true, true, false, true, true, true, true, true]),
        ("knock", "shared", [true, true, false, true, true, true, true, true]),
        ("knock_restricted", "shared", [true, true, false, true, true, true, true, true]),
        ("restricted", "shared", [true, true, false, true, false, true, false, false]),
        ("invite", "shared", [true, true, false, false, false, false, false, false]),
        ("private", "joined", [true, true, false, false, false, false, false, false]),
        ("x.unknown", "joined", [true, true, false, false, false, false, false, false]),
        ("invite", "world_readable", [true; 8]),
    ];
    for (rule, visibility, expected) in table {
        let body = json!({ "initial_state": [
            { "type": "m.room.join_rules", "content": { "join_rule": rule, "allow": allow } },
            { "type": "m.room.history_visibility", "content": { "history_visibility": visibility } },
        ] });
        let room = rooms.create_for_test("alice", body).await.unwrap();
        rooms.change_for_test(&room, "alice", "bob", Change::Invite).await.unwrap();
        rooms.change_for_test(&room, "alice", "carol", Change::Ban).await.unwrap();
        let users = ["alice", "bob", "carol", "dora", "stranger"].map(user);
        // This server is in all rooms of this test, so a server that is not stands for those outside.
        let mut onlookers: Vec<Onlooker<'_>> = users.iter().map(|user| Onlooker::User(user)).collect();
        onlookers.push(Onlooker::Server(server_name!("example.org")));
        onlookers.push(Onlooker::Server(server_name!("elsewhere.example")));
        onlookers.push(Onlooker::Anyone);
        for (n, (onlooker, expected)) in onlookers.into_iter().zip(expected).enumerate() {
            let expected = expected || n == 5;
            let found = rooms.outline(&room, onlooker).await;
            assert_eq!(found.is_ok(), expected, "{rule} {visibility} {onlooker:?}");
            if !expected {
                assert!(matches!(found, Err(RoomError::RoomNotFound)));
            }
        }
    }
    let nowhere = rooms.outline(room_id!("!no:example.org"), Onlooker::Anyone).await;
    assert!(matches!(nowhere, Err(RoomError::RoomNotFound)));
}

#[tokio::test]
async fn what_a_summary_says() {
    let rooms = rooms();
    let other = room_id!("!other:example.org");
    let body = json!({
        "name": "Pub", "topic": "Beer", "room_alias_name": "pub", "room_version": "10", "preset": "private_chat",
        "creation_content": { "type": "m.space" },
        "initial_state": [
            { "type": "m.room.avatar", "content": { "url": "mxc://example.org/a" } },
            { "type": "m.room.encryption", "content": { "algorithm": "m.megolm.v1.aes-sha2" } },
            { "type": "m.room.history_visibility", "content": { "history_visibility": "world_readable" } },
            { "type": "m.room.join_rules", "content": {
                "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": other }],
            } },
        ],
    });
    let room = rooms.create_for_test("alice", body).await.unwrap();
    let RoomOutline { summary, membership, children } =
        rooms.outline(&room, Onlooker::User(&user("alice"))).await.unwrap();
    assert_eq!(membership, Some(Membership::Join));
    assert!(children.is_empty());
    assert_eq!(summary.join_rule.kind(), JoinRuleKind::Restricted);
    let json = serde_json::to_value(&summary).unwrap();
    let expected = json!({
        "room_id": room, "name": "Pub", "topic": "Beer", "canonical_alias": "#pub:example.org",
        "avatar_url": "mxc://example.org/a", "encryption": "m.megolm.v1.aes-sha2", "guest_can_join": true,
        "world_readable": true, "join_rule": "restricted", "allowed_room_ids": [other], "room_type": "m.space",
        "room_version": "10", "num_joined_members": 1,
    });
    assert_eq!(json, expected);
    let stranger = rooms.outline(&room, Onlooker::Anyone).await.unwrap();
    assert_eq!(stranger.membership, None);
}

#[tokio::test]
async fn order_and_children() {
    let rooms = rooms();
    let root = space(&rooms, "root").await;
    let mut children = Vec::new();
    for name in ["ts1", "ts2", "long", "z", "a", "tie"] {
        children.push(room(&rooms, name).await);
    }
    let junk = "x".repeat(51);
    for (child, extra) in children.iter().zip([
        json!({}),
        json!({ "order": "ä" }),
        json!({ "order": junk }),
        json!({ "order": "z", "suggested": true }),
        json!({ "order": "a" }),
        json!({ "order": "z" }),
    ]) {
        add(&rooms, &root, child, extra).await;
    }
    let gone = room(&rooms, "gone").await;
    rooms.state_for_test(&root, "alice", "m.space.child", gone.as_str(), json!({})).await.unwrap();
    rooms.state_for_test(&root, "alice", "m.space.child", "junk", json!({ "via": [] })).await.unwrap();

    let page = tree(&rooms, &root, &HierarchyRequest::default()).await;
    let found = names(&page);
    assert_eq!(found[..2], ["root", "a"]);
    assert_eq!(found.iter().copied().collect::<std::collections::BTreeSet<_>>().len(), 7, "{found:?}");
    let place = |name: &str| found.iter().position(|found| *found == name).unwrap();
    assert!(place("z") < place("ts1") && place("tie") < place("ts1"), "{found:?}");
    assert_eq!(page.rooms[0].children.len(), 6);
    let event: Value = serde_json::from_str(page.rooms[0].children[0].event.json().get()).unwrap();
    assert_eq!(event["type"], "m.space.child");
    assert_eq!(event["state_key"], children[4].as_str());
    assert_eq!(event["content"], json!({ "via": ["example.org"], "order": "a" }));
    assert!(event["origin_server_ts"].is_u64() && event["sender"] == "@alice:example.org");
    assert!(event.get("event_id").is_none());

    let suggested = HierarchyRequest { suggested_only: true, ..HierarchyRequest::default() };
    let page = tree(&rooms, &root, &suggested).await;
    assert_eq!(names(&page), ["root", "z"]);
    assert_eq!(page.rooms[0].children.len(), 1);
}

#[tokio::test]
async fn depth_first_with_loops_and_what_is_hidden() {
    let rooms = rooms();
    let root = space(&rooms, "root").await;
    let inner = space(&rooms, "inner").await;
    let deep = space(&rooms, "deep").await;
    let leaf = room(&rooms, "leaf").await;
    let last = room(&rooms, "last").await;
    let hidden = rooms.create_for_test("bob", json!({ "name": "hidden" })).await.unwrap();
    add(&rooms, &root, &inner, json!({ "order": "a" })).await;
    add(&rooms, &root, &last, json!({ "order": "b" })).await;
    add(&rooms, &root, &hidden, json!({ "order": "c" })).await;
    add(&rooms, &root, room_id!("!elsewhere:example.com"), json!({ "order": "d" })).await;
    add(&rooms, &inner, &deep, json!({})).await;
    add(&rooms, &inner, &root, json!({})).await;
    add(&rooms, &deep, &leaf, json!({})).await;
    add(&rooms, &deep, &inner, json!({})).await;
    add(&rooms, &deep, &last, json!({ "order": "z" })).await;

    let all = tree(&rooms, &root, &HierarchyRequest::default()).await;
    assert_eq!(names(&all), ["root", "inner", "deep", "last", "leaf"]);
    assert_eq!(all.next_batch, None);
    for (max_depth, expected) in [
        (0, vec!["root"]),
        (1, vec!["root", "inner", "last"]),
        (2, vec!["root", "inner", "deep", "last"]),
        (u64::MAX, vec!["root", "inner", "deep", "last", "leaf"]),
    ] {
        let request = HierarchyRequest { max_depth: Some(max_depth), ..HierarchyRequest::default() };
        assert_eq!(names(&tree(&rooms, &root, &request).await), expected, "{max_depth}");
    }
    // Bob sees his own room, too.
    let bobs = rooms.hierarchy(&root, Onlooker::User(&user("bob")), &HierarchyRequest::default()).await.unwrap();
    assert_eq!(names(&bobs), ["root", "inner", "deep", "last", "leaf", "hidden"]);
    let refused = rooms.hierarchy(&hidden, Onlooker::User(&user("alice")), &HierarchyRequest::default()).await;
    assert!(matches!(refused, Err(RoomError::Forbidden(_))));

    // Page by page it is the same.
    for limit in 1..6 {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let request = HierarchyRequest { from, limit: Some(limit), ..HierarchyRequest::default() };
            let page = tree(&rooms, &root, &request).await;
            assert!(page.rooms.len() as u64 <= limit);
            found.extend(names(&page).into_iter().map(str::to_owned));
            from = page.next_batch;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(found, ["root", "inner", "deep", "last", "leaf"], "{limit}");
    }
    // The last room of a page goes: nothing is lost.
    let request = HierarchyRequest { limit: Some(4), ..HierarchyRequest::default() };
    let page = tree(&rooms, &root, &request).await;
    rooms.state_for_test(&deep, "alice", "m.space.child", last.as_str(), json!({})).await.unwrap();
    rooms.state_for_test(&root, "alice", "m.space.child", last.as_str(), json!({})).await.unwrap();
    let request = HierarchyRequest { from: page.next_batch.clone(), ..HierarchyRequest::default() };
    let rest = tree(&rooms, &root, &request).await;
    assert_eq!(rest.next_batch, None);
    assert!(names(&rest).len() <= 1);

    let token = page.next_batch;
    for request in [
        HierarchyRequest { from: token.clone(), suggested_only: true, ..HierarchyRequest::default() },
        HierarchyRequest { from: token.clone(), max_depth: Some(1), ..HierarchyRequest::default() },
        HierarchyRequest { limit: Some(0), ..HierarchyRequest::default() },
    ] {
        let refused = rooms.hierarchy(&root, Onlooker::User(&user("alice")), &request).await;
        assert!(matches!(refused, Err(RoomError::InvalidParam(_))), "{request:?}");
    }
    for junk in ["", "h", "h_1", "h_1_2", "x_1_2_!a:b", "h_x_2_!a:b", "h_1_x_!a:b", "h_1_2_a"] {
        let request = HierarchyRequest { from: Some(junk.to_owned()), ..HierarchyRequest::default() };
        let refused = rooms.hierarchy(&root, Onlooker::User(&user("alice")), &request).await;
        assert!(matches!(refused, Err(RoomError::InvalidToken)), "{junk}");
    }
}
