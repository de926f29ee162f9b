//! Power, membership, aliases, redactions, transaction ids and the forms of state.

use serde_json::{Value, json};

use crate::support::{User, bodies, code, encode, find, list, next_batch, server, txn};

/// [Power levels](https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels) on everything that writes.
#[tokio::test]
async fn power_decides_every_write() {
    let server = server().await;
    let alice = User::new(&server, "alice").await;
    let (mod_50, mod_20, guest, target) = (
        User::new(&server, "fifty").await,
        User::new(&server, "twenty").await,
        User::new(&server, "zero").await,
        User::new(&server, "target").await,
    );
    for version in ["10", "11", "12"] {
        let mut users = json!({ mod_50.id(): 50, mod_20.id(): 20 });
        if version != "12" {
            users[alice.id()] = 100.into();
        }
        let levels = json!({
            "users": users, "events_default": 10, "state_default": 40, "invite": 20, "kick": 30, "ban": 50, "redact": 50,
            "events": {
                "x.message": 50, "x.state": 0, "m.room.power_levels": 20, "m.room.canonical_alias": 50, "m.room.redaction": 0,
                "m.reaction": 0,
            },
        });
        let room = alice
            .create(json!({ "preset": "public_chat", "room_version": version, "power_level_content_override": levels }))
            .await;
        for user in [&mod_50, &mod_20, &guest] {
            user.own(&room, "join").await;
        }
        let event = alice.say(&room, "hello").await;
        let someone = json!({ "user_id": target.id() });
        let alias = format!("directory/room/{}", encode(&format!("#power{version}:hearth.test")));
        // What is needed is in the last column; whoever has less is refused and nothing happens.
        for (method, path, body, needed) in [
            ("PUT", "send/m.room.message/TXN", json!({ "body": "x" }), 10),
            ("PUT", "send/x.message/TXN", json!({}), 50),
            ("PUT", "send/m.reaction/TXN", json!({}), 0),
            ("PUT", "state/x.state", json!({ "n": 1 }), 0),
            ("PUT", "state/x.other", json!({ "n": 1 }), 40),
            ("PUT", "state/m.room.name", json!({ "name": "x" }), 40),
            ("PUT", "state/m.room.topic/", json!({ "topic": "x" }), 40),
            ("PUT", "state/m.room.canonical_alias", json!({}), 50),
            ("POST", "invite", someone.clone(), 20),
            ("POST", "kick", someone.clone(), 30),
            ("POST", "ban", someone.clone(), 50),
            ("POST", "unban", someone.clone(), 50),
            ("PUT", &format!("redact/{event}/TXN"), json!({}), 50),
            ("PUT", "directory", json!({ "visibility": "public" }), 50),
        ] {
            for (user, power) in [(&guest, 0), (&mod_20, 20), (&mod_50, 50), (&alice, 100)] {
                if power >= needed && method == "POST" {
                    // One who may is enough, and it should be something to do.
                    if power < 50 && needed != 20 {
                        continue;
                    }
                    if user.id() != mod_50.id() {
                        continue;
                    }
                }
                let path = match path {
                    "directory" => format!("directory/list/room/{room}"),
                    path => format!("rooms/{room}/{}", path.replace("TXN", &txn())),
                };
                if power >= needed {
                    user.ok(method, &path, Some(body.clone())).await;
                } else {
                    user.refused(method, &path, Some(body.clone()), 403, "M_FORBIDDEN").await;
                }
            }
        }
        // Nobody gives more than they have, takes from equals, or from those above.
        let now = alice.read(&format!("rooms/{room}/state/m.room.power_levels")).await;
        for (user, key, level) in [
            (&mod_20, guest.id(), 21),
            (&mod_20, mod_20.id(), 30),
            (&mod_20, mod_50.id(), 0),
            (&mod_50, guest.id(), 51),
            (&guest, guest.id(), 0),
        ] {
            let mut levels = now.clone();
            levels["users"][key] = level.into();
            let path = format!("rooms/{room}/state/m.room.power_levels");
            user.refused("PUT", &path, Some(levels), 403, "M_FORBIDDEN").await;
        }
        for key in ["ban", "kick", "redact", "state_default"] {
            let mut levels = now.clone();
            levels[key] = 0.into();
            let path = format!("rooms/{room}/state/m.room.power_levels");
            mod_20.refused("PUT", &path, Some(levels), 403, "M_FORBIDDEN").await;
        }
        if version == "12" {
            // A creator has no level, and cannot be given one.
            let mut levels = now.clone();
            levels["users"][alice.id()] = 100.into();
            let (status, answer) = alice.put(&format!("rooms/{room}/state/m.room.power_levels"), levels).await;
            assert!(matches!(status, 400 | 403), "{answer}");
        }
        mod_20
            .set(&room, "m.room.power_levels", "", {
                let mut levels = now.clone();
                levels["users"][guest.id()] = 20.into();
                levels
            })
            .await;
        // Those above are neither kicked nor banned.
        for action in ["kick", "ban"] {
            for (user, above) in [(&mod_50, &alice), (&mod_20, &mod_50), (&mod_20, &alice)] {
                let body = json!({ "user_id": above.id() });
                user.refused("POST", &format!("rooms/{room}/{action}"), Some(body), 403, "M_FORBIDDEN").await;
            }
        }
        // A state key that is a user id belongs to that user.
        let path = format!("rooms/{room}/state/x.state/{}", encode(alice.id()));
        guest.refused("PUT", &path, Some(json!({})), 403, "M_FORBIDDEN").await;
        guest.set(&room, "x.state", guest.id(), json!({})).await;
        // An alias is its creator's, or of those who may name the room.
        guest.ok("PUT", &alias, Some(json!({ "room_id": room }))).await;
        mod_20.refused("DELETE", &alias, None, 403, "M_FORBIDDEN").await;
        mod_50.ok("DELETE", &alias, None).await;
    }
}

/// From each membership, what each request makes of it.
#[tokio::test]
async fn memberships_and_what_changes_them() {
    let server = server().await;
    let alice = User::new(&server, "alice").await;
    let mut number = 0;
    for rule in ["public", "invite", "knock"] {
        for (before, [join, invite, knock, leave, kick, ban, unban, forget]) in [
            // 200, or the status of the refusal; 1 and 2 stand for what depends on the join rule.
            ("", [1, 200, 2, 403, 403, 200, 403, 400]),
            ("invite", [200, 200, 403, 200, 200, 200, 403, 400]),
            ("join", [200, 403, 403, 200, 200, 200, 403, 400]),
            ("leave", [1, 200, 2, 200, 403, 200, 403, 200]),
            ("ban", [403, 403, 403, 403, 403, 200, 200, 200]),
            ("knock", [1, 200, 2, 200, 200, 200, 403, 400]),
        ] {
            if before == "knock" && rule != "knock" {
                continue;
            }
            for (action, expected) in [
                ("join", join),
                ("invite", invite),
                ("knock", knock),
                ("leave", leave),
                ("kick", kick),
                ("ban", ban),
                ("unban", unban),
                ("forget", forget),
            ] {
                number += 1;
                let user = User::new(&server, &format!("user{number}")).await;
                let join_rule = json!({ "type": "m.room.join_rules", "content": { "join_rule": rule } });
                let room = alice.create(json!({ "initial_state": [join_rule] })).await;
                match before {
                    "" => {}
                    "invite" => alice.act(&room, "invite", &user).await,
                    "ban" => alice.act(&room, "ban", &user).await,
                    "knock" => user.own(&room, "knock").await,
                    _ => alice.bring(&room, &user).await,
                }
                if before == "leave" {
                    user.own(&room, "leave").await;
                }
                let status = match action {
                    "join" | "leave" | "forget" => user.post(&format!("rooms/{room}/{action}"), json!({})).await,
                    "knock" => user.post(&format!("knock/{room}"), json!({})).await,
                    _ => alice.post(&format!("rooms/{room}/{action}"), json!({ "user_id": user.id() })).await,
                };
                let expected = match expected {
                    1 => {
                        if rule == "public" {
                            200
                        } else {
                            403
                        }
                    }
                    2 => {
                        if rule == "knock" {
                            200
                        } else {
                            403
                        }
                    }
                    // Not banned is a bad state of the room, which some codes put under 400.
                    403 if action == "unban" && status.0 == 400 => 400,
                    other => other,
                };
                assert_eq!(status.0, expected, "{action} from {before:?} in a room for {rule}: {}", status.1);
                let path = format!("rooms/{room}/state/m.room.member/{}", encode(user.id()));
                let now = alice.get(&path).await.1["membership"].as_str().unwrap_or_default().to_owned();
                let changed = match action {
                    "leave" | "kick" | "unban" => "leave",
                    "forget" => before,
                    other => other,
                };
                assert_eq!(now, if status.0 == 200 { changed } else { before }, "{action} from {before:?}");
            }
        }
    }
}

#[tokio::test]
async fn reasons_profiles_and_repeats() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    bob.ok("PUT", &format!("profile/{}/displayname", bob.id()), Some(json!({ "displayname": "Bob" }))).await;
    let room = alice.create(json!({ "room_alias_name": "kitchen", "preset": "public_chat" })).await;
    let member = || async { alice.read(&format!("rooms/{room}/state/m.room.member/{}", encode(bob.id()))).await };
    for (user, path, body) in [
        (&alice, "invite", json!({ "user_id": bob.id(), "reason": "why not" })),
        (&bob, "join", json!({ "reason": "why not" })),
        (&bob, "leave", json!({ "reason": "why not" })),
        (&alice, "invite", json!({ "user_id": bob.id(), "reason": "why not" })),
        (&alice, "kick", json!({ "user_id": bob.id(), "reason": "why not" })),
        (&alice, "ban", json!({ "user_id": bob.id(), "reason": "why not" })),
        (&alice, "unban", json!({ "user_id": bob.id(), "reason": "why not" })),
    ] {
        user.ok("POST", &format!("rooms/{room}/{path}"), Some(body)).await;
        let member = member().await;
        assert_eq!(member["reason"], "why not", "{path}: {member}");
        let shows = matches!(path, "invite" | "join");
        assert_eq!(member["displayname"].as_str(), shows.then_some("Bob"), "{path}: {member}");
    }
    // By alias, and again, which changes nothing.
    bob.ok("POST", "join/%23kitchen%3Ahearth.test", Some(json!({}))).await;
    let path = format!("rooms/{room}/state/m.room.member/{}?format=event", encode(bob.id()));
    let first = alice.read(&path).await["event_id"].clone();
    assert_eq!(bob.ok("POST", &format!("join/{room}"), None).await["room_id"], room.as_str());
    assert_eq!(alice.read(&path).await["event_id"], first);
    assert_eq!(bob.read("joined_rooms").await["joined_rooms"], json!([room]));
    // A new name shows in the room.
    bob.ok("PUT", &format!("profile/{}/displayname", bob.id()), Some(json!({ "displayname": "Robert" }))).await;
    assert_eq!(member().await["displayname"], "Robert");
    // Where there is nothing to join.
    bob.refused("POST", "join/%23cellar%3Ahearth.test", None, 404, "M_NOT_FOUND").await;
    bob.refused("POST", "join/!nothing%3Ahearth.test", None, 404, "M_NOT_FOUND").await;
    bob.refused("POST", "knock/!nothing%3Ahearth.test", None, 404, "M_NOT_FOUND").await;
}

/// [Room aliases](https://spec.matrix.org/v1.19/client-server-api/#room-aliases) and the directory.
#[tokio::test]
async fn aliases() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let room = alice.create(json!({ "preset": "public_chat" })).await;
    let other = alice.create(json!({})).await;
    let path = |alias: &str| format!("directory/room/{}", encode(alias));
    let kitchen = path("#kitchen:hearth.test");
    // Who is not in a room names nothing there.
    bob.refused("PUT", &kitchen, Some(json!({ "room_id": room })), 403, "M_FORBIDDEN").await;
    alice.ok("PUT", &kitchen, Some(json!({ "room_id": room }))).await;
    assert_eq!(code(&alice.put(&kitchen, json!({ "room_id": other })).await).0, 409);
    // Resolved without an account.
    let (status, answer) = server.call("GET", &crate::support::absolute(&kitchen), None, None).await;
    assert_eq!((status, &answer["room_id"]), (200, &json!(room)));
    assert_eq!(answer["servers"], json!(["hearth.test"]));
    for (alias, statuses) in [
        ("#kitchen:elsewhere.example", [400, 404]),
        ("kitchen", [400, 400]),
        ("#kitchen", [400, 400]),
        (&format!("#{}:hearth.test", "x".repeat(250)), [400, 400]),
    ] {
        let (status, answer) = alice.put(&path(alias), json!({ "room_id": room })).await;
        assert!(statuses.contains(&status) && answer["errcode"] == "M_INVALID_PARAM", "{alias}: {status} {answer}");
    }
    alice.refused("GET", &path("#cellar:hearth.test"), None, 404, "M_NOT_FOUND").await;
    alice.refused("GET", &path("#kitchen:elsewhere.example"), None, 404, "M_NOT_FOUND").await;
    alice.refused("DELETE", &path("#cellar:hearth.test"), None, 404, "M_NOT_FOUND").await;
    alice.refused("DELETE", &path("#kitchen:elsewhere.example"), None, 404, "M_NOT_FOUND").await;
    bob.refused("DELETE", &kitchen, None, 403, "M_FORBIDDEN").await;
    // Canonical aliases are valid and lead here.
    for (content, errcode) in [
        (json!({ "alias": "#cellar:hearth.test" }), "M_BAD_ALIAS"),
        (json!({ "alt_aliases": ["#cellar:hearth.test"] }), "M_BAD_ALIAS"),
        (json!({ "alias": "nonsense" }), "M_INVALID_PARAM"),
    ] {
        alice.refused("PUT", &format!("rooms/{room}/state/m.room.canonical_alias"), Some(content), 400, errcode).await;
    }
    let content = json!({ "alias": "#kitchen:hearth.test", "alt_aliases": ["#kitchen:hearth.test"] });
    alice
        .refused(
            "PUT",
            &format!("rooms/{other}/state/m.room.canonical_alias"),
            Some(content.clone()),
            400,
            "M_BAD_ALIAS",
        )
        .await;
    alice.set(&room, "m.room.canonical_alias", "", content).await;
    // Listed and unlisted.
    alice.ok("PUT", &format!("directory/list/room/{room}"), Some(json!({ "visibility": "public" }))).await;
    let listed = bob.read("publicRooms").await;
    let chunk = &listed["chunk"][0];
    assert_eq!(chunk["canonical_alias"], "#kitchen:hearth.test", "{listed}");
    assert_eq!((&chunk["room_id"], &chunk["num_joined_members"]), (&json!(room), &json!(1)));
    assert_eq!((&chunk["world_readable"], &chunk["guest_can_join"]), (&json!(false), &json!(false)));
    bob.refused(
        "PUT",
        &format!("directory/list/room/{room}"),
        Some(json!({ "visibility": "private" })),
        403,
        "M_FORBIDDEN",
    )
    .await;
    alice.ok("PUT", &format!("directory/list/room/{room}"), Some(json!({ "visibility": "private" }))).await;
    assert_eq!(bob.read("publicRooms").await["chunk"], json!([]));
    // An alias that is gone is free.
    alice.ok("DELETE", &kitchen, None).await;
    alice.refused("GET", &kitchen, None, 404, "M_NOT_FOUND").await;
    alice.ok("PUT", &kitchen, Some(json!({ "room_id": other }))).await;
}

/// [Transaction identifiers](https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers) belong to a device
/// and an endpoint.
#[tokio::test]
async fn transactions_happen_once() {
    let mut server = server().await;
    let (room, other, event, redaction, account) = {
        let alice = User::new(&server, "alice").await;
        let room = alice.create(json!({})).await;
        let other = alice.create(json!({})).await;
        let phone = alice.second_device().await;
        let path = |room: &str| format!("rooms/{room}/send/m.room.message/1");
        let send = async |user: &User<'_>, room: &str, text: &str| {
            user.ok("PUT", &path(room), Some(json!({ "body": text }))).await["event_id"].as_str().unwrap().to_owned()
        };
        let event = send(&alice, &room, "one").await;
        assert_eq!(send(&alice, &room, "two").await, event, "the same transaction");
        // Another device, another room, another endpoint: another transaction.
        assert_ne!(send(&phone, &room, "three").await, event);
        assert_ne!(send(&alice, &other, "four").await, event);
        let redact = format!("rooms/{room}/redact/{event}/1");
        let redaction = alice.ok("PUT", &redact, Some(json!({}))).await["event_id"].as_str().unwrap().to_owned();
        assert_ne!(redaction, event);
        assert_eq!(alice.ok("PUT", &redact, Some(json!({}))).await["event_id"], redaction.as_str());
        // Many at once are one.
        let path = format!("rooms/{room}/send/m.room.message/many");
        let attempts = (0..10).map(|number| alice.put(&path, json!({ "body": format!("many {number}") })));
        let answers = futures_util::future::join_all(attempts).await;
        assert!(answers.iter().all(|answer| answer.0 == 200 && answer.1 == answers[0].1), "{answers:?}");
        let page = alice.read(&format!("rooms/{room}/messages?dir=b&limit=50")).await;
        assert_eq!(bodies(&page["chunk"]).iter().filter(|body| body.starts_with("many")).count(), 1);
        // Only the device that sent it sees the transaction's id.
        for (user, expected) in [(&alice, json!("many")), (&phone, Value::Null)] {
            let event = user.read(&format!("rooms/{room}/event/{}", answers[0].1["event_id"].as_str().unwrap())).await;
            assert_eq!(event["unsigned"]["transaction_id"], expected, "{event}");
        }
        (room, other, event, redaction, alice.account)
    };
    server.restart().await;
    let alice = User { server: &server, account };
    let again = alice.put(&format!("rooms/{room}/send/m.room.message/1"), json!({ "body": "five" })).await;
    assert_eq!(again, (200, json!({ "event_id": event })));
    let again = alice.put(&format!("rooms/{room}/redact/{event}/1"), json!({})).await;
    assert_eq!(again, (200, json!({ "event_id": redaction })));
    let page = alice.read(&format!("rooms/{other}/messages?dir=b&limit=50")).await;
    assert_eq!(bodies(&page["chunk"]), ["four"]);
}

/// [Redactions](https://spec.matrix.org/v1.19/client-server-api/#redactions)
#[tokio::test]
async fn redactions() {
    let server = server().await;
    let (alice, bob, eve) =
        (User::new(&server, "alice").await, User::new(&server, "bob").await, User::new(&server, "eve").await);
    for version in ["10", "11", "12"] {
        let room = alice.create(json!({ "preset": "public_chat", "room_version": version })).await;
        bob.own(&room, "join").await;
        let (hers, his) = (alice.say(&room, "hers").await, bob.say(&room, "his").await);
        let redact = |event: &str| format!("rooms/{room}/redact/{event}/{}", txn());
        bob.refused("PUT", &redact(&hers), Some(json!({})), 403, "M_FORBIDDEN").await;
        eve.refused("PUT", &redact(&his), Some(json!({})), 403, "M_FORBIDDEN").await;
        let (status, _) = alice.put(&redact("$nothing"), json!({})).await;
        assert!(matches!(status, 400 | 404), "{status}");
        // An event of another room is none of this one.
        let elsewhere = alice.create(json!({})).await;
        let (status, _) = alice.put(&format!("rooms/{elsewhere}/redact/{hers}/{}", txn()), json!({})).await;
        assert!(matches!(status, 400 | 403 | 404), "{status}");
        let get = async |event: &str| alice.read(&format!("rooms/{room}/event/{event}")).await;
        assert_eq!(get(&hers).await["content"]["body"], "hers");

        let since = alice.sync(None, &[]).await;
        bob.ok("PUT", &redact(&his), Some(json!({ "reason": "typo" }))).await;
        alice.ok("PUT", &redact(&hers), Some(json!({}))).await;
        for event in [&hers, &his] {
            let redacted = get(event).await;
            assert_eq!(redacted["content"], json!({}), "{redacted}");
            assert_eq!(redacted["unsigned"]["redacted_because"]["type"], "m.room.redaction", "{redacted}");
        }
        assert_eq!(get(&his).await["unsigned"]["redacted_because"]["content"]["reason"], "typo");
        let sync = alice.sync(Some(next_batch(&since)), &[]).await;
        let redaction = find(&sync["rooms"]["join"][&room]["timeline"]["events"], "m.room.redaction", None).unwrap();
        // Clients of every age find the target, whatever the room's version.
        assert_eq!(redaction["redacts"], his.as_str(), "{redaction}");
        assert_eq!(redaction["content"]["redacts"], his.as_str(), "{redaction}");
        // Power to redact is power over the events of others; state keeps what rules need.
        let name = alice.set(&room, "m.room.name", "", json!({ "name": "Kitchen" })).await;
        alice.ok("PUT", &redact(&name), Some(json!({}))).await;
        assert_eq!(alice.read(&format!("rooms/{room}/state/m.room.name")).await, json!({}));
        let rules = alice.read(&format!("rooms/{room}/state/m.room.join_rules?format=event")).await;
        alice.ok("PUT", &redact(rules["event_id"].as_str().unwrap()), Some(json!({}))).await;
        let rules = alice.read(&format!("rooms/{room}/state/m.room.join_rules")).await;
        assert_eq!(rules, json!({ "join_rule": "public" }));
    }
}

/// [`PUT` and `GET` of state](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey)
/// with and without a state key.
#[tokio::test]
async fn forms_of_state() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let room = alice.create(json!({ "preset": "public_chat" })).await;
    let mut number = 0;
    for version in ["r0", "v3"] {
        for (write, key) in [
            ("x.state", ""),
            ("x.state/", ""),
            ("x.state/key", "key"),
            ("x.state/a%2Fb%20%C3%BC", "a/b ü"),
            ("x.y%2Fz", ""),
        ] {
            number += 1;
            let path = format!("/_matrix/client/{version}/rooms/{room}/state/{write}");
            let event = alice.ok("PUT", &path, Some(json!({ "n": number }))).await;
            assert_eq!(alice.read(&path).await, json!({ "n": number }), "{path}");
            let full = alice.read(&format!("{path}?format=event")).await;
            assert_eq!((&full["event_id"], &full["state_key"]), (&event["event_id"], &json!(key)), "{full}");
            assert_eq!((&full["room_id"], &full["sender"]), (&json!(room), &json!(alice.id())), "{full}");
            assert_eq!(alice.read(&format!("{path}?format=content")).await, json!({ "n": number }));
        }
    }
    alice.refused("GET", &format!("rooms/{room}/state/x.nothing"), None, 404, "M_NOT_FOUND").await;
    alice.refused("GET", &format!("rooms/{room}/state/x.state/nothing"), None, 404, "M_NOT_FOUND").await;
    // The same again is no new event.
    let first = alice.set(&room, "x.same", "", json!({ "a": 1 })).await;
    assert_eq!(alice.set(&room, "x.same", "", json!({ "a": 1 })).await, first);
    assert_ne!(alice.set(&room, "x.same", "", json!({ "a": 2 })).await, first);
    // Member events as state: an invite, a profile of one's own, and what is not one's own business.
    let path = |user: &User<'_>| format!("rooms/{room}/state/m.room.member/{}", encode(user.id()));
    alice.ok("PUT", &path(&bob), Some(json!({ "membership": "invite" }))).await;
    bob.ok("PUT", &path(&bob), Some(json!({ "membership": "join", "displayname": "B" }))).await;
    assert_eq!(alice.read(&path(&bob)).await["displayname"], "B");
    bob.refused("PUT", &path(&alice), Some(json!({ "membership": "leave" })), 403, "M_FORBIDDEN").await;
    alice.refused("PUT", &path(&bob), Some(json!({ "membership": "join" })), 403, "M_FORBIDDEN").await;
    alice.ok("PUT", &path(&bob), Some(json!({ "membership": "ban" }))).await;
    bob.refused("PUT", &path(&bob), Some(json!({ "membership": "join" })), 403, "M_FORBIDDEN").await;
    let members = alice.read(&format!("rooms/{room}/members?membership=ban")).await;
    assert_eq!(list(&members["chunk"]).count(), 1);
    // The create event is there once.
    alice.refused("PUT", &format!("rooms/{room}/state/m.room.create"), Some(json!({})), 403, "M_FORBIDDEN").await;
}
