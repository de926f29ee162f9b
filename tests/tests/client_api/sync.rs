//! [`GET /sync`](https://spec.matrix.org/v1.19/client-server-api/#syncing): sections, filters, gaps, counts, waking up.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{User, bodies, encode, find, ids, list, next_batch, server, types};

/// Waits for news in the background.
fn wait(user: &User<'_>, since: &str) -> tokio::task::JoinHandle<Value> {
    let path = format!("/_matrix/client/v3/sync?timeout=60000&since={}", encode(since));
    let url = format!("{}{path}", user.server.base_url());
    let request = reqwest::Client::new().get(url).bearer_auth(user.token()).send();
    tokio::spawn(async move { request.await.unwrap().json().await.unwrap() })
}

/// What every kind of change wakes, and in which section it arrives. Sent before, while or after the sync begins to
/// wait: it must not matter.
#[tokio::test]
async fn everything_wakes_a_sync() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let room = alice.create(json!({ "preset": "public_chat" })).await;
    bob.own(&room, "join").await;
    let event = alice.say(&room, "first").await;
    let (alices, bobs) = (encode(alice.id()), encode(bob.id()));
    let second = bob.create(json!({})).await;
    let third = bob
        .create(json!({ "initial_state": [{ "type": "m.room.join_rules", "content": { "join_rule": "knock" } }] }))
        .await;
    // Settled: the first syncs tell of presence, too.
    let mut since = next_batch(&alice.sync(None, &[]).await).to_owned();
    let joined = format!("/rooms/join/{room}");
    for (user, method, path, body, pointer) in [
        (
            &bob,
            "PUT",
            format!("rooms/{room}/send/m.room.message/w1"),
            json!({ "body": "x" }),
            format!("{joined}/timeline/events/0"),
        ),
        (&bob, "PUT", format!("rooms/{room}/state/m.room.topic"), json!({}), String::new()),
        (
            &alice,
            "PUT",
            format!("rooms/{room}/state/m.room.topic"),
            json!({ "topic": "x" }),
            format!("{joined}/timeline/events/0"),
        ),
        (
            &bob,
            "PUT",
            format!("rooms/{room}/typing/{bobs}"),
            json!({ "typing": true, "timeout": 30_000 }),
            format!("{joined}/ephemeral/events/0"),
        ),
        (
            &bob,
            "PUT",
            format!("rooms/{room}/typing/{bobs}"),
            json!({ "typing": false }),
            format!("{joined}/ephemeral/events/0"),
        ),
        (
            &bob,
            "POST",
            format!("rooms/{room}/receipt/m.read/{event}"),
            json!({}),
            format!("{joined}/ephemeral/events/0"),
        ),
        (
            &alice,
            "PUT",
            format!("user/{alices}/account_data/x"),
            json!({ "a": 1 }),
            "/account_data/events/0".to_owned(),
        ),
        (
            &alice,
            "PUT",
            format!("user/{alices}/rooms/{room}/account_data/x"),
            json!({ "a": 1 }),
            format!("{joined}/account_data/events/0"),
        ),
        (
            &alice,
            "PUT",
            format!("user/{alices}/rooms/{room}/tags/u.x"),
            json!({}),
            format!("{joined}/account_data/events/0"),
        ),
        (
            &alice,
            "POST",
            format!("rooms/{room}/read_markers"),
            json!({ "m.fully_read": event }),
            format!("{joined}/account_data/events/0"),
        ),
        (
            &alice,
            "PUT",
            "pushrules/global/content/x".to_owned(),
            json!({ "actions": [], "pattern": "x" }),
            "/account_data/events/0".to_owned(),
        ),
        (
            &bob,
            "PUT",
            format!("profile/{bobs}/displayname"),
            json!({ "displayname": "B" }),
            format!("{joined}/timeline/events/0"),
        ),
        (
            &bob,
            "PUT",
            format!("presence/{bobs}/status"),
            json!({ "presence": "unavailable", "status_msg": "tea" }),
            "/presence/events/0".to_owned(),
        ),
        (
            &bob,
            "POST",
            format!("rooms/{second}/invite"),
            json!({ "user_id": alice.id() }),
            format!("/rooms/invite/{second}/invite_state/events/0"),
        ),
        (&alice, "POST", format!("rooms/{second}/join"), json!({}), format!("/rooms/join/{second}/timeline/events/0")),
        (
            &bob,
            "POST",
            format!("rooms/{second}/kick"),
            json!({ "user_id": alice.id() }),
            format!("/rooms/leave/{second}/timeline/events/0"),
        ),
        (&alice, "POST", format!("knock/{third}"), json!({}), format!("/rooms/knock/{third}/knock_state/events/0")),
        (&bob, "POST", format!("rooms/{third}/ban"), json!({ "user_id": alice.id() }), format!("/rooms/leave/{third}")),
        (&bob, "POST", format!("rooms/{room}/leave"), json!({}), format!("{joined}/timeline/events/0")),
    ] {
        if pointer.is_empty() {
            user.refused(method, &path, Some(body), 403, "M_FORBIDDEN").await;
            continue;
        }
        let waiting = wait(&alice, &since);
        user.ok(method, &path, Some(body)).await;
        let mut answer = waiting.await.unwrap();
        // Something else may come first (a presence that follows from a request), but this comes.
        for _ in 0..20 {
            if answer.pointer(&pointer).is_some() {
                break;
            }
            answer = wait(&alice, next_batch(&answer)).await.unwrap();
        }
        assert!(answer.pointer(&pointer).is_some(), "{method} {path}: {answer}");
        since = next_batch(&answer).to_owned();
    }
    // Without news and without a timeout it answers at once, empty.
    let nothing = alice.sync(Some(&since), &[]).await;
    let rest = alice.sync(Some(next_batch(&nothing)), &[]).await;
    assert_eq!(rest["rooms"]["join"], Value::Null, "{rest}");
}

/// A gap is filled by `/messages` from `prev_batch` without a loss or a repetition.
#[tokio::test]
async fn gaps_close() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let room = alice.create(json!({ "preset": "public_chat" })).await;
    bob.own(&room, "join").await;
    let first = bob.sync(None, &[]).await;
    let since = next_batch(&first);
    let expected: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    for text in &expected {
        alice.say(&room, text).await;
    }
    for limit in [1, 7, 29, 30, 31, 100] {
        let filter = json!({ "room": { "timeline": { "limit": limit } } }).to_string();
        let sync = bob.sync(Some(since), &[("filter", &filter)]).await;
        let timeline = &sync["rooms"]["join"][&room]["timeline"];
        let mut got: Vec<String> = bodies(&timeline["events"]).into_iter().map(str::to_owned).collect();
        assert_eq!(got.len(), limit.min(30), "{timeline}");
        assert_eq!(timeline["limited"].as_bool().unwrap_or_default(), limit < 30, "{timeline}");
        let mut from = timeline["prev_batch"].as_str().unwrap().to_owned();
        // Back to where the client was.
        loop {
            let path = format!("rooms/{room}/messages?dir=b&limit=4&from={}&to={}", encode(&from), encode(since));
            let (status, page) = bob.get(&path).await;
            assert_eq!(status, 200, "a sync's token is a page's token: {page}");
            let older = bodies(&page["chunk"]);
            got.splice(0..0, older.into_iter().rev().map(str::to_owned));
            match page["end"].as_str() {
                Some(end) => from = end.to_owned(),
                None => break,
            }
        }
        assert_eq!(got, expected, "limit {limit}");
        // And forward from the old position.
        let page = bob.read(&format!("rooms/{room}/messages?dir=f&limit=100&from={}", encode(since))).await;
        assert_eq!(bodies(&page["chunk"]), expected);
    }
    // The state in a gap comes with it, what the timeline shows is not repeated.
    let topic = alice.set(&room, "m.room.topic", "", json!({ "topic": "new" })).await;
    alice.say(&room, "last").await;
    let filter = json!({ "room": { "timeline": { "limit": 1 } } }).to_string();
    for (query, key) in [
        (&[("filter", filter.as_str())][..], "state"),
        (&[("filter", &filter), ("use_state_after", "true")], "state_after"),
    ] {
        let sync = bob.sync(Some(since), query).await;
        let joined = &sync["rooms"]["join"][&room];
        assert_eq!(bodies(&joined["timeline"]["events"]), ["last"]);
        assert!(ids(&joined[key]["events"]).contains(&topic.as_str()), "{joined}");
        assert!(find(&joined[key]["events"], "m.room.create", Some("")).is_none(), "known already: {joined}");
    }
}

/// `state`, `state_after`, `full_state`.
#[tokio::test]
async fn states() {
    let server = server().await;
    let alice = User::new(&server, "alice").await;
    let room = alice.create(json!({ "name": "one" })).await;
    let all = BTreeSet::from([
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.name",
    ]);
    let first = alice.sync(None, &[]).await;
    let joined = &first["rooms"]["join"][&room];
    let mut seen = types(&joined["state"]["events"]);
    seen.extend(types(&joined["timeline"]["events"]));
    assert_eq!(seen, all);
    assert_eq!(joined["summary"]["m.joined_member_count"], 1);
    // Within the timeline: `state` is that before it, `state_after` that after it.
    alice.set(&room, "m.room.name", "", json!({ "name": "two" })).await;
    let since = next_batch(&first);
    let sync = alice.sync(Some(since), &[]).await;
    assert_eq!(find(&sync["rooms"]["join"][&room]["state"]["events"], "m.room.name", Some("")), None, "{sync}");
    let sync = alice.sync(Some(since), &[("use_state_after", "true")]).await;
    let joined = &sync["rooms"]["join"][&room];
    assert_eq!(joined.get("state"), None, "{joined}");
    assert_eq!(find(&joined["state_after"]["events"], "m.room.name", Some("")).unwrap()["content"]["name"], "two");
    // Everything again, at once, also where nothing is new.
    let since = next_batch(&sync);
    for timeout in ["0", "60000"] {
        let full = alice.read(&format!("sync?full_state=true&timeout={timeout}&since={}", encode(since))).await;
        assert_eq!(types(&full["rooms"]["join"][&room]["state"]["events"]), all, "{full}");
    }
    let full = alice.sync(Some(since), &[("full_state", "true"), ("use_state_after", "true")]).await;
    assert_eq!(types(&full["rooms"]["join"][&room]["state_after"]["events"]), all, "{full}");
    assert_eq!(alice.sync(Some(since), &[]).await["rooms"], Value::Null);
    // A room id is not repeated inside, and senders see their transaction ids.
    let path = format!("rooms/{room}/send/m.room.message/mine");
    alice.ok("PUT", &path, Some(json!({ "body": "x" }))).await;
    let sync = alice.sync(Some(since), &[]).await;
    let event = &sync["rooms"]["join"][&room]["timeline"]["events"][0];
    assert_eq!((event.get("room_id"), &event["unsigned"]["transaction_id"]), (None, &json!("mine")));
    // A token of the future or of nobody is refused or treated as one of now, never a failure.
    for junk in ["s", "0", "1_2_3", "ffffffffffffffffffffffff"] {
        let (status, answer) = alice.get(&format!("sync?since={junk}")).await;
        assert!(status == 200 || status == 400 && answer["errcode"] == "M_INVALID_PARAM", "{junk}: {status} {answer}");
    }
}

/// [Filters](https://spec.matrix.org/v1.19/client-server-api/#filtering), given and stored.
#[tokio::test]
async fn filters() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let room = alice.create(json!({ "preset": "public_chat" })).await;
    let other = alice.create(json!({ "preset": "public_chat" })).await;
    bob.own(&room, "join").await;
    let user = encode(alice.id());
    alice.ok("PUT", &format!("user/{user}/account_data/x.one"), Some(json!({}))).await;
    alice.ok("PUT", &format!("user/{user}/account_data/x.two"), Some(json!({}))).await;
    alice.ok("PUT", &format!("user/{user}/rooms/{room}/account_data/x.three"), Some(json!({}))).await;
    let first = alice.sync(None, &[]).await;
    let since = next_batch(&first);
    for (sender, room, event_type, content) in [
        (&alice, &room, "m.room.message", json!({ "body": "alice", "url": "mxc://a/b" })),
        (&bob, &room, "m.room.message", json!({ "body": "bob" })),
        (&bob, &room, "x.type.one", json!({ "body": "one" })),
        (&bob, &room, "x.type.two", json!({ "body": "two" })),
        (&alice, &other, "m.room.message", json!({ "body": "other" })),
    ] {
        sender.send(room, event_type, content).await;
    }
    for (filter, expected, others) in [
        (json!({}), &["alice", "bob", "one", "two"][..], &["other"][..]),
        (json!({ "types": ["m.room.message"] }), &["alice", "bob"], &["other"]),
        (json!({ "types": [] }), &[], &[]),
        (json!({ "types": ["x.type.*"] }), &["one", "two"], &[]),
        (
            json!({ "types": ["x.*", "m.room.message"], "not_types": ["x.type.t*"] }),
            &["alice", "bob", "one"],
            &["other"],
        ),
        (json!({ "types": ["m.room.message"], "not_types": ["m.room.message"] }), &[], &[]),
        (json!({ "senders": [bob.id()] }), &["bob", "one", "two"], &[]),
        (json!({ "not_senders": [bob.id()] }), &["alice"], &["other"]),
        (json!({ "senders": [bob.id()], "not_senders": [bob.id()] }), &[], &[]),
        (json!({ "rooms": [room] }), &["alice", "bob", "one", "two"], &[]),
        (json!({ "not_rooms": [room] }), &[], &["other"]),
        (json!({ "contains_url": true }), &["alice"], &[]),
        (json!({ "contains_url": false }), &["bob", "one", "two"], &["other"]),
        (json!({ "limit": 2 }), &["one", "two"], &["other"]),
    ] {
        let filter = json!({ "room": { "timeline": filter } });
        let stored = alice.ok("POST", &format!("user/{user}/filter"), Some(filter.clone())).await;
        let id = stored["filter_id"].as_str().unwrap();
        assert!(!id.starts_with('{'));
        assert_eq!(
            alice.read(&format!("user/{user}/filter/{id}")).await["room"]["timeline"],
            filter["room"]["timeline"]
        );
        for filter in [&filter.to_string(), id] {
            let sync = alice.sync(Some(since), &[("filter", filter)]).await;
            let got = |room: &str| bodies(&sync["rooms"]["join"][room]["timeline"]["events"]).join(" ");
            assert_eq!(got(&room), expected.join(" "), "{filter}");
            assert_eq!(got(&other), others.join(" "), "{filter}");
        }
        // `/messages` and `/context` take the same.
        let room_filter = encode(&filter["room"]["timeline"].to_string());
        let page = alice.read(&format!("rooms/{room}/messages?dir=b&limit=50&filter={room_filter}")).await;
        let mut got = bodies(&page["chunk"]);
        got.reverse();
        assert_eq!(got, expected, "{filter}");
    }
    // Whole rooms, and the other sections.
    let sync = alice.sync(None, &[("filter", &json!({ "room": { "rooms": [other] } }).to_string())]).await;
    assert_eq!(sync["rooms"]["join"].as_object().unwrap().keys().collect::<Vec<_>>(), [&other]);
    let sync = alice.sync(None, &[("filter", &json!({ "room": { "not_rooms": [other] } }).to_string())]).await;
    assert_eq!(sync["rooms"]["join"].as_object().unwrap().keys().collect::<Vec<_>>(), [&room]);
    let filter = json!({
        "account_data": { "types": ["x.two"] }, "presence": { "not_types": ["*"] },
        "room": { "account_data": { "not_types": ["x.three"] }, "state": { "types": ["m.room.join_rules"] }, "timeline": { "limit": 1 } },
    });
    let sync = alice.sync(None, &[("filter", &filter.to_string())]).await;
    assert_eq!(types(&sync["account_data"]["events"]), BTreeSet::from(["x.two"]));
    assert_eq!(list(&sync["presence"]["events"]).count(), 0);
    let joined = &sync["rooms"]["join"][&room];
    assert_eq!(list(&joined["account_data"]["events"]).count(), 0);
    assert_eq!(types(&joined["state"]["events"]), BTreeSet::from(["m.room.join_rules"]));
    // Only the fields that are wanted, in both formats.
    let filter = json!({ "event_fields": ["type", "content.body"], "room": { "timeline": { "types": ["m.room.message"], "limit": 1 } } });
    let sync = alice.sync(None, &[("filter", &filter.to_string())]).await;
    let event = &sync["rooms"]["join"][&room]["timeline"]["events"][0];
    assert_eq!(*event, json!({ "type": "m.room.message", "content": { "body": "bob" } }));
}

/// [Lazy loading of members](https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members)
#[tokio::test]
async fn lazy_members() {
    let server = server().await;
    let (alice, bob, carol) =
        (User::new(&server, "alice").await, User::new(&server, "bob").await, User::new(&server, "carol").await);
    let room = alice.create(json!({ "preset": "public_chat", "name": "named" })).await;
    for user in [&bob, &carol] {
        user.own(&room, "join").await;
    }
    for number in 0..5 {
        bob.say(&room, &number.to_string()).await;
    }
    let filter = |redundant: bool, limit: usize| {
        let state = json!({ "lazy_load_members": true, "include_redundant_members": redundant });
        json!({ "room": { "state": state, "timeline": { "limit": limit } } }).to_string()
    };
    let members = |sync: &Value| -> BTreeSet<String> {
        let events = &sync["rooms"]["join"][&room]["state"]["events"];
        let members = list(events).filter(|event| event["type"] == "m.room.member");
        members.map(|event| event["state_key"].as_str().unwrap().to_owned()).collect()
    };
    let first = alice.sync(None, &[("filter", &filter(false, 3))]).await;
    // Those who sent, and the user.
    assert_eq!(members(&first), BTreeSet::from([alice.id().to_owned(), bob.id().to_owned()]));
    assert_eq!(first["rooms"]["join"][&room]["summary"]["m.joined_member_count"], 3);
    bob.say(&room, "again").await;
    carol.say(&room, "now me").await;
    let since = next_batch(&first);
    let sync = alice.sync(Some(since), &[("filter", &filter(false, 3))]).await;
    assert_eq!(members(&sync), BTreeSet::from([carol.id().to_owned()]), "Bob is known");
    let sync = alice.sync(Some(since), &[("filter", &filter(true, 3))]).await;
    assert_eq!(members(&sync), BTreeSet::from([bob.id().to_owned(), carol.id().to_owned()]));
    // In pages and contexts.
    let lazy = encode(&json!({ "lazy_load_members": true }).to_string());
    let page = alice.read(&format!("rooms/{room}/messages?dir=b&limit=1&filter={lazy}")).await;
    assert_eq!(
        list(&page["state"]).map(|event| event["state_key"].as_str().unwrap()).collect::<Vec<_>>(),
        [carol.id()]
    );
    // Without a name, the heroes tell who is there.
    let nameless = alice.create(json!({ "preset": "public_chat" })).await;
    bob.own(&nameless, "join").await;
    let sync = alice.sync(Some(since), &[("filter", &filter(false, 3))]).await;
    assert_eq!(sync["rooms"]["join"][&nameless]["summary"]["m.heroes"], json!([bob.id()]));
}

/// [Unread counts](https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications): mentions, threads, receipts.
#[tokio::test]
async fn unread_counts() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    // Three, so that it is no conversation of two, for which the rules differ.
    let carol = User::new(&server, "carol").await;
    let room = alice.create(json!({ "preset": "public_chat" })).await;
    for user in [&bob, &carol] {
        user.own(&room, "join").await;
    }
    let filter = json!({ "room": { "timeline": { "unread_thread_notifications": true } } }).to_string();
    let counts = async |threads: bool| {
        let query = [("filter", filter.as_str())];
        let sync = bob.sync(None, if threads { &query } else { &[] }).await;
        let joined = &sync["rooms"]["join"][&room];
        let pair = |value: &Value| {
            (value["notification_count"].as_i64().unwrap_or(0), value["highlight_count"].as_i64().unwrap_or(0))
        };
        let by_thread: Vec<(String, (i64, i64))> = joined["unread_thread_notifications"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(thread, counts)| (thread.clone(), pair(counts)))
            .collect();
        (pair(&joined["unread_notifications"]), by_thread)
    };
    let read = async |event: &str, body: Value| {
        bob.ok("POST", &format!("rooms/{room}/receipt/m.read/{event}"), Some(body)).await;
    };
    let start = alice.say(&room, "start").await;
    read(&start, json!({})).await;
    assert_eq!(counts(false).await, ((0, 0), vec![]));
    let plain = alice.say(&room, "plain").await;
    assert_eq!(counts(false).await, ((1, 0), vec![]));
    let mention = json!({ "msgtype": "m.text", "body": "hey", "m.mentions": { "user_ids": [bob.id()] } });
    alice.send(&room, "m.room.message", mention.clone()).await;
    assert_eq!(counts(false).await, ((2, 1), vec![]));
    // The room only by those who may; edits and reactions do not count.
    let everybody = json!({ "msgtype": "m.text", "body": "all", "m.mentions": { "room": true } });
    carol.send(&room, "m.room.message", everybody.clone()).await;
    assert_eq!(counts(false).await, ((3, 1), vec![]));
    alice.send(&room, "m.room.message", everybody).await;
    assert_eq!(counts(false).await, ((4, 2), vec![]));
    let edit = json!({
        "msgtype": "m.text", "body": "*", "m.new_content": { "msgtype": "m.text", "body": "x" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": plain },
    });
    alice.send(&room, "m.room.message", edit).await;
    let reaction = json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": plain, "key": "+" } });
    alice.send(&room, "m.reaction", reaction).await;
    assert_eq!(counts(false).await, ((4, 2), vec![]));
    // In a thread: together with the rest, or apart when the client asks so.
    let mut reply = mention;
    reply["m.relates_to"] = json!({ "rel_type": "m.thread", "event_id": plain });
    let reply = alice.send(&room, "m.room.message", reply).await;
    assert_eq!(counts(false).await, ((5, 3), vec![]));
    assert_eq!(counts(true).await, ((4, 2), vec![(plain.clone(), (1, 1))]));
    // The same as a list, page by page.
    let (mut seen, mut from) = (Vec::new(), String::new());
    loop {
        let page = bob.read(&format!("notifications?limit=2{from}")).await;
        seen.extend(list(&page["notifications"]).map(|entry| entry["event"]["event_id"].as_str().unwrap().to_owned()));
        assert!(list(&page["notifications"]).all(|entry| entry["room_id"] == room.as_str() && entry["read"] == false));
        match page["next_token"].as_str() {
            Some(next) => from = format!("&from={}", encode(next)),
            None => break,
        }
    }
    assert_eq!((seen.len(), seen.first(), seen.last()), (5, Some(&reply), Some(&plain)), "{seen:?}");
    let highlights = bob.read("notifications?only=highlight").await;
    assert_eq!(list(&highlights["notifications"]).count(), 3, "{highlights}");
    let last = alice.say(&room, "last").await;
    read(&last, json!({ "thread_id": "main" })).await;
    assert_eq!(counts(true).await, ((0, 0), vec![(plain.clone(), (1, 1))]));
    read(&reply, json!({ "thread_id": plain })).await;
    assert_eq!(counts(true).await.0, (0, 0));
    assert_eq!(counts(false).await, ((0, 0), vec![]));
    // A private receipt counts like a public one, and only its sender hears of it.
    let secret = alice.say(&room, "secretly read").await;
    assert_eq!(counts(false).await.0, (1, 0));
    let since = alice.sync(None, &[]).await;
    bob.ok("POST", &format!("rooms/{room}/receipt/m.read.private/{secret}"), Some(json!({}))).await;
    assert_eq!(counts(false).await.0, (0, 0));
    assert!(!alice.sync(Some(next_batch(&since)), &[]).await.to_string().contains("m.read.private"));
    // One's own messages are read.
    bob.say(&room, "mine").await;
    assert_eq!(counts(false).await.0, (0, 0));
}
