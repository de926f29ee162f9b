//! Every membership change from every membership, restricted joins, forgetting, profiles.

use std::collections::BTreeMap;

use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};

use crate::{
    Membership, RoomError, Rooms, StateKeyNid,
    keys::{COUNTER, LOCAL_MEMBER, MEMBER, MEMBERSHIP, MEMBERSHIP_LOG, NOTIFICATION, SERVER_USERS},
    membership::{Change, MemberProfile},
    publish::counter,
    testing::{VERSIONS, rooms, user},
};

/// What a request came to, in one word.
fn word(outcome: &Result<(), RoomError>) -> &'static str {
    match outcome {
        Ok(()) => "ok",
        Err(RoomError::Forbidden(_)) => "forbidden",
        Err(RoomError::BadState(_)) => "bad state",
        Err(RoomError::BadRequest(_)) => "bad request",
        Err(RoomError::RoomNotFound) => "not found",
        Err(_) => "other",
    }
}

/// A room of Alice with the moderator (power 50), the member Bob and `target` in the given membership.
async fn room_with(rooms: &Rooms, join_rule: &str, version: &str, target: Option<Membership>) -> OwnedRoomId {
    let initial_state = json!([{ "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "public" } }]);
    let users = if version == "12" {
        json!({ "@moderator:example.org": 50 })
    } else {
        json!({ "@moderator:example.org": 50, "@alice:example.org": 100 })
    };
    let body = json!({
        "room_version": version, "initial_state": initial_state, "power_level_content_override": { "users": users },
    });
    let room = rooms.create_for_test("alice", body).await.unwrap();
    for name in ["moderator", "bob"] {
        rooms.change_for_test(&room, name, name, Change::Join).await.unwrap();
    }
    let change = async |sender, change| rooms.change_for_test(&room, sender, "target", change).await.unwrap();
    match target {
        None => {}
        Some(Membership::Join) => change("target", Change::Join).await,
        Some(Membership::Invite) => change("alice", Change::Invite).await,
        Some(Membership::Ban) => change("alice", Change::Ban).await,
        Some(Membership::Leave) => {
            change("target", Change::Join).await;
            change("target", Change::Leave).await;
        }
        Some(Membership::Knock) => {
            set_join_rule(rooms, &room, json!({ "join_rule": "knock" })).await;
            change("target", Change::Knock).await;
        }
    }
    set_join_rule(rooms, &room, json!({ "join_rule": join_rule })).await;
    room
}

async fn set_join_rule(rooms: &Rooms, room: &RoomId, content: Value) {
    rooms.state_for_test(room, "alice", "m.room.join_rules", "", content).await.unwrap();
}

#[tokio::test]
async fn every_change_from_every_membership() {
    use Change::{Ban, Invite, Join, Kick, Knock, Leave, Unban};
    use Membership as M;
    const FROM: [Option<Membership>; 6] =
        [None, Some(M::Join), Some(M::Invite), Some(M::Leave), Some(M::Ban), Some(M::Knock)];
    // Who, what, join rule; outcome from no membership, join, invite, leave, ban, knock.
    #[rustfmt::skip]
    let table: &[(&str, Change, &str, [&str; 6])] = &[
        ("target", Join, "public",             ["join", "join", "join", "join", "forbidden", "join"]),
        ("target", Join, "invite",             ["forbidden", "join", "join", "forbidden", "forbidden", "forbidden"]),
        ("target", Join, "knock",              ["forbidden", "join", "join", "forbidden", "forbidden", "forbidden"]),
        ("target", Join, "private",            ["forbidden", "join", "forbidden", "forbidden", "forbidden", "forbidden"]),
        ("target", Knock, "knock",             ["knock", "forbidden", "forbidden", "knock", "forbidden", "knock"]),
        ("target", Knock, "knock_restricted",  ["knock", "forbidden", "forbidden", "knock", "forbidden", "knock"]),
        ("target", Knock, "public",            ["forbidden", "forbidden", "forbidden", "forbidden", "forbidden", "forbidden"]),
        ("target", Leave, "invite",            ["forbidden", "leave", "leave", "leave", "forbidden", "leave"]),
        ("bob", Invite, "invite",              ["invite", "forbidden", "invite", "invite", "forbidden", "invite"]),
        ("moderator", Invite, "invite",        ["invite", "forbidden", "invite", "invite", "forbidden", "invite"]),
        ("stranger", Invite, "public",         ["forbidden"; 6]),
        ("moderator", Kick, "invite",          ["forbidden", "leave", "leave", "forbidden", "forbidden", "leave"]),
        ("bob", Kick, "invite",                ["forbidden"; 6]),
        ("stranger", Kick, "invite",           ["forbidden"; 6]),
        ("moderator", Ban, "invite",           ["ban", "ban", "ban", "ban", "ban", "ban"]),
        ("bob", Ban, "invite",                 ["forbidden"; 6]),
        ("moderator", Unban, "invite",         ["bad state", "bad state", "bad state", "bad state", "leave", "bad state"]),
        ("bob", Unban, "invite",               ["bad state", "bad state", "bad state", "bad state", "forbidden", "bad state"]),
        ("stranger", Unban, "invite",          ["forbidden"; 6]),
        ("target", Ban, "invite",              ["forbidden"; 6]),
    ];
    let rooms = rooms();
    for (who, change, join_rule, outcomes) in table {
        for (from, expected) in FROM.into_iter().zip(outcomes) {
            let room = room_with(&rooms, join_rule, "12", from).await;
            let outcome = rooms.change_for_test(&room, who, "target", *change).await;
            let case = format!("{who} {change:?} in a room of {join_rule} from {from:?}: {outcome:?}");
            let after = rooms.membership_of(&room, &user("target")).await.unwrap();
            if outcome.is_ok() {
                assert_eq!(after.map(Membership::as_str), Some(*expected), "{case}");
            } else {
                assert_eq!(word(&outcome), *expected, "{case}");
                assert_eq!(after, from, "{case}: a refusal changes nothing");
            }
            check_books(&rooms, &room).await;
        }
    }
}

#[tokio::test]
async fn the_same_in_every_version() {
    for version in VERSIONS {
        let rooms = rooms();
        let room = room_with(&rooms, "invite", version, None).await;
        let step = async |who: &str, change| word(&rooms.change_for_test(&room, who, "target", change).await);
        for (who, change, expected) in [
            ("target", Change::Join, "forbidden"),
            ("bob", Change::Invite, "ok"),
            ("target", Change::Join, "ok"),
            ("moderator", Change::Kick, "ok"),
            ("moderator", Change::Ban, "ok"),
            ("moderator", Change::Unban, "ok"),
            ("target", Change::Join, "forbidden"),
        ] {
            assert_eq!(step(who, change).await, expected, "version {version}: {who} {change:?}");
        }
        check_books(&rooms, &room).await;
    }
}

/// What is derived from the members agrees with them.
async fn check_books(rooms: &Rooms, room: &RoomId) {
    let tx = rooms.store.begin();
    let nid = rooms.find_room(&tx, room).await.unwrap().unwrap();
    let mut counted: BTreeMap<Membership, u64> = BTreeMap::new();
    let mut joined: Vec<StateKeyNid> = Vec::new();
    for ((_, user), record) in MEMBER.scan((nid,)).all(&tx).await.unwrap() {
        *counted.entry(record.membership).or_default() += 1;
        let own = MEMBERSHIP.get(&tx, (user, nid)).await.unwrap().unwrap();
        assert_eq!((own.membership, own.event), (record.membership, record.event));
        let log = MEMBERSHIP_LOG.scan((user,)).all(&tx).await.unwrap();
        let last = log.into_iter().rev().map(|(_, change)| change).find(|change| change.room == nid).unwrap();
        assert_eq!(last.membership, record.membership);
        if record.membership == Membership::Join {
            joined.push(user);
        } else {
            let rows = NOTIFICATION.scan((user, nid)).all(&tx).await.unwrap();
            let outside = matches!(record.membership, Membership::Leave | Membership::Ban);
            assert!(!outside || rows.is_empty(), "who is outside has nothing unread");
        }
    }
    let local: Vec<StateKeyNid> =
        LOCAL_MEMBER.scan((nid,)).all(&tx).await.unwrap().into_iter().map(|((_, user), _)| user).collect();
    assert_eq!(local, joined);
    for (kind, membership) in [(counter::JOINED, Membership::Join), (counter::INVITED, Membership::Invite)] {
        let expected = counted.get(&membership).copied().unwrap_or(0);
        assert_eq!(COUNTER.get(&tx, (nid, kind)).await.unwrap().unwrap_or(0), expected, "{membership:?}");
    }
    let server = rooms.find_state_key(&tx, "example.org").await.unwrap().unwrap();
    let users = SERVER_USERS.get(&tx, (nid, server)).await.unwrap();
    assert_eq!(users, Some(joined.len() as u64).filter(|users| *users > 0));
    let membership = MEMBERSHIP.get(&tx, (server, nid)).await.unwrap().unwrap().membership;
    assert_eq!(membership == Membership::Join, users.is_some());
}

#[tokio::test]
async fn the_server_leaves_with_its_last_user_and_comes_back() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    for name in ["alice", "bob"] {
        rooms.change_for_test(&room, name, name, Change::Leave).await.unwrap();
        check_books(&rooms, &room).await;
    }
    rooms.change_for_test(&room, "carol", "carol", Change::Join).await.unwrap();
    check_books(&rooms, &room).await;
    let tx = rooms.store.begin();
    let server = rooms.find_state_key(&tx, "example.org").await.unwrap().unwrap();
    let log: Vec<_> = MEMBERSHIP_LOG.scan((server,)).all(&tx).await.unwrap();
    let log: Vec<_> = log.into_iter().map(|(_, change)| (change.previous, change.membership)).collect();
    let (join, leave) = (Membership::Join, Membership::Leave);
    assert_eq!(log, [(None, join), (Some(join), leave), (Some(leave), join)]);
}

#[tokio::test]
async fn restricted_rooms_let_in_members_of_the_rooms_they_name() {
    for rule in ["restricted", "knock_restricted"] {
        let rooms = rooms();
        let space = rooms.public_room("alice").await;
        let body = json!({ "preset": "private_chat" });
        let room = rooms.create_for_test("alice", body).await.unwrap();
        rooms.change_for_test(&space, "bob", "bob", Change::Join).await.unwrap();
        let allow = json!([
            { "type": "m.room_membership", "room_id": "!nowhere:example.org" },
            { "type": "x.unknown", "room_id": space },
            { "type": "m.room_membership", "room_id": space },
        ]);
        set_join_rule(&rooms, &room, json!({ "join_rule": rule, "allow": allow })).await;
        let join = async |name: &str| word(&rooms.change_for_test(&room, name, name, Change::Join).await);
        assert_eq!(join("stranger").await, "forbidden", "{rule}");
        assert_eq!(join("bob").await, "ok", "{rule}");
        let tx = rooms.store.begin();
        let nid = rooms.find_room(&tx, &room).await.unwrap().unwrap();
        let bob = rooms.find_state_key(&tx, "@bob:example.org").await.unwrap().unwrap();
        let member = MEMBER.get(&tx, (nid, bob)).await.unwrap().unwrap();
        let event = rooms.stored_event(&tx, member.event).await.unwrap();
        let content: Value = serde_json::from_str(event.pdu.content.get()).unwrap();
        assert_eq!(content["join_authorised_via_users_server"], "@alice:example.org", "{rule}");

        // A client cannot name an authority itself.
        let forged = json!({ "membership": "join", "join_authorised_via_users_server": "@alice:example.org" });
        let forged = rooms.state_for_test(&room, "mallory", "m.room.member", "@mallory:example.org", forged).await;
        assert!(matches!(forged, Err(RoomError::Forbidden(_))), "{rule}: {forged:?}");

        // The banned stay out, the invited need no authority, and without Alice nobody could give one.
        rooms.change_for_test(&space, "mallory", "mallory", Change::Join).await.unwrap();
        rooms.change_for_test(&room, "alice", "mallory", Change::Ban).await.unwrap();
        assert_eq!(join("mallory").await, "forbidden", "{rule}");
        rooms.change_for_test(&room, "alice", "dora", Change::Invite).await.unwrap();
        assert_eq!(join("dora").await, "ok", "{rule}");
        rooms.change_for_test(&room, "bob", "bob", Change::Leave).await.unwrap();
        let levels = json!({ "invite": 50 });
        rooms.state_for_test(&room, "alice", "m.room.power_levels", "", levels).await.unwrap();
        rooms.change_for_test(&room, "alice", "alice", Change::Leave).await.unwrap();
        assert_eq!(join("bob").await, "forbidden", "{rule}: Dora has not the power to let him in");
    }
}

#[tokio::test]
async fn member_events_as_state_events() {
    let rooms = rooms();
    let room = room_with(&rooms, "public", "12", None).await;
    let put = async |sender: &str, target: &str, content: Value| {
        let target = if target.is_empty() { String::new() } else { user(target).to_string() };
        let outcome = rooms.state_for_test(&room, sender, "m.room.member", &target, content).await;
        (word(&outcome.as_ref().map(|_| ()).map_err(Clone::clone)), outcome.ok())
    };
    let join = json!({ "membership": "join", "displayname": "One", "custom": 1 });
    assert_eq!(put("bob", "", join.clone()).await.0, "bad request");
    assert_eq!(put("bob", "bob", json!({ "displayname": "x" })).await.0, "bad request");
    assert_eq!(put("bob", "bob", json!({ "membership": "sleep" })).await.0, "bad request");
    assert_eq!(put("bob", "target", join.clone()).await.0, "forbidden");
    let (outcome, first) = put("target", "target", join.clone()).await;
    assert_eq!(outcome, "ok");
    assert_eq!(put("target", "target", join).await.1, first, "the same again is the same event");
    let (_, second) = put("target", "target", json!({ "membership": "join", "displayname": "Two" })).await;
    assert_ne!(second, first, "another display name is another event");
    assert_eq!(put("moderator", "target", json!({ "membership": "leave", "reason": "r" })).await.0, "ok");
    assert_eq!(put("moderator", "target", json!({ "membership": "leave" })).await.0, "forbidden", "not in the room");
    assert_eq!(put("moderator", "target", json!({ "membership": "ban" })).await.0, "ok");
    assert_eq!(put("bob", "target", json!({ "membership": "leave" })).await.0, "forbidden");
    assert_eq!(put("moderator", "target", json!({ "membership": "leave" })).await.0, "ok", "unbans");
    assert_eq!(put("bob", "target", json!({ "membership": "invite" })).await.0, "ok");
    check_books(&rooms, &room).await;
    // Without state key it is no member event, and the rules refuse it.
    let message = rooms.send_for_test(&room, "bob", "m.room.member", json!({ "membership": "leave" })).await;
    assert!(matches!(message, Err(RoomError::BadRequest(_) | RoomError::Forbidden(_))), "{message:?}");
}

#[tokio::test]
async fn rooms_are_forgotten_after_they_are_left() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    let forget = async || word(&rooms.forget(&room, &user("bob")).await);
    assert_eq!(forget().await, "bad state");
    for (change, expected) in [(Change::Join, "bad state"), (Change::Leave, "ok"), (Change::Join, "bad state")] {
        rooms.change_for_test(&room, "bob", "bob", change).await.unwrap();
        assert_eq!(forget().await, expected, "{change:?}");
    }
    rooms.change_for_test(&room, "alice", "bob", Change::Ban).await.unwrap();
    assert_eq!(forget().await, "ok");
    assert_eq!(forget().await, "ok");
    let tx = rooms.store.begin();
    let nid = rooms.find_room(&tx, &room).await.unwrap().unwrap();
    let bob = rooms.find_state_key(&tx, "@bob:example.org").await.unwrap().unwrap();
    assert!(MEMBERSHIP.get(&tx, (bob, nid)).await.unwrap().unwrap().forgotten);
    assert!(matches!(
        rooms.forget(ruma::room_id!("!nowhere:example.org"), &user("bob")).await,
        Err(RoomError::RoomNotFound)
    ));
}

#[tokio::test]
async fn a_profile_goes_into_every_joined_room() {
    let rooms = rooms();
    let (here, left) = (rooms.public_room("alice").await, rooms.public_room("alice").await);
    for room in [&here, &left] {
        rooms.change_for_test(room, "bob", "bob", Change::Join).await.unwrap();
    }
    rooms.change_for_test(&left, "bob", "bob", Change::Leave).await.unwrap();
    let profile = MemberProfile { displayname: Some("Robert".to_owned()), avatar_url: Some("mxc://a/b".into()) };
    rooms.update_profile(&user("bob"), &profile).await.unwrap();
    let version = rooms.store.current_version().await.unwrap();
    rooms.update_profile(&user("bob"), &profile).await.unwrap();
    assert_eq!(rooms.store.current_version().await.unwrap(), version, "the same profile writes nothing");
    let tx = rooms.store.begin();
    let bob = rooms.find_state_key(&tx, "@bob:example.org").await.unwrap().unwrap();
    for (room, membership, name) in [(&here, "join", json!("Robert")), (&left, "leave", Value::Null)] {
        let nid = rooms.find_room(&tx, room).await.unwrap().unwrap();
        let member = MEMBER.get(&tx, (nid, bob)).await.unwrap().unwrap();
        let event = rooms.stored_event(&tx, member.event).await.unwrap();
        let content: Value = serde_json::from_str(event.pdu.content.get()).unwrap();
        assert_eq!((&content["membership"], &content["displayname"]), (&json!(membership), &name));
        let local = LOCAL_MEMBER.get(&tx, (nid, bob)).await.unwrap();
        assert_eq!(local.and_then(|member| member.displayname), name.as_str().map(str::to_owned));
    }
}

#[tokio::test]
async fn lists_of_rooms_and_leaving_them_all() {
    let rooms = rooms();
    let (joined, invited, banned) =
        (rooms.public_room("alice").await, rooms.public_room("alice").await, rooms.public_room("alice").await);
    rooms.change_for_test(&joined, "bob", "bob", Change::Join).await.unwrap();
    rooms.change_for_test(&invited, "alice", "bob", Change::Invite).await.unwrap();
    rooms.change_for_test(&banned, "alice", "bob", Change::Ban).await.unwrap();
    let bob = user("bob");
    assert_eq!(rooms.rooms_of(&bob, Membership::Join).await.unwrap(), std::slice::from_ref(&joined));
    assert_eq!(rooms.rooms_of(&bob, Membership::Invite).await.unwrap(), std::slice::from_ref(&invited));
    assert!(rooms.rooms_of(&user("nobody"), Membership::Join).await.unwrap().is_empty());
    for (a, b, shared) in [("alice", "bob", true), ("bob", "alice", true), ("bob", "nobody", false)] {
        assert_eq!(rooms.share_room(&user(a), &user(b)).await.unwrap(), shared, "{a} {b}");
    }
    rooms.leave_some(&bob, None, 100).await.unwrap();
    rooms.leave_some(&bob, None, 100).await.unwrap();
    assert!(rooms.rooms_of(&bob, Membership::Join).await.unwrap().is_empty());
    assert_eq!(rooms.rooms_of(&bob, Membership::Leave).await.unwrap().len(), 2);
    assert_eq!(rooms.rooms_of(&bob, Membership::Ban).await.unwrap(), [banned]);
    assert!(!rooms.share_room(&user("alice"), &bob).await.unwrap());
}

#[tokio::test]
async fn who_cannot_be_reached_is_not_invited() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    let far = ruma::user_id!("@far:elsewhere.example");
    let profile = MemberProfile::default();
    let invite = rooms.change_membership(&room, &user("alice"), far, Change::Invite, &profile, None).await;
    assert_eq!(word(&invite), "bad request");
    let nowhere = ruma::room_id!("!nowhere:example.org");
    assert_eq!(word(&rooms.change_for_test(nowhere, "bob", "bob", Change::Join).await), "not found");
}
