//! Junk for every endpoint, from a fixed seed: whatever comes, the server answers with an error of the specification's
//! form or does what was asked, and goes on.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::{
    errors::{bearer, raw},
    routes::ROUTES,
    support::{User, encode, server},
};

/// Requests for each endpoint.
const ROUNDS: usize = 20;

const SEGMENTS: &[&str] = &[
    "x",
    "%00",
    "%FF%FE",
    "%F0%9F%90%88",
    "!",
    "@",
    "$",
    "%23",
    "@a:b",
    "..",
    "%2e%2e",
    "%2F",
    "%3F",
    "-1",
    "null",
    "%7B%7D",
    "99999999999999999999999",
    "@:hearth.test",
    "%23:hearth.test",
    "!:hearth.test",
    "@alice:hearth.test%00",
    "m.room.member",
    "@alice:hearth.test:70000",
    "@Al%20ice:hearth.test",
    "%E2%80%AE",
    ".m.rule.master",
    "override",
    "t1",
];

const NAMES: &[&str] = &[
    "membership",
    "user_id",
    "reason",
    "displayname",
    "avatar_url",
    "name",
    "topic",
    "preset",
    "visibility",
    "invite",
    "initial_state",
    "creation_content",
    "power_level_content_override",
    "room_version",
    "room_alias_name",
    "is_direct",
    "room_id",
    "limit",
    "since",
    "filter",
    "timeout",
    "typing",
    "presence",
    "status_msg",
    "m.fully_read",
    "m.read",
    "thread_id",
    "order",
    "actions",
    "enabled",
    "conditions",
    "pattern",
    "kind",
    "search_term",
    "devices",
    "password",
    "new_password",
    "identifier",
    "type",
    "user",
    "token",
    "refresh_token",
    "auth",
    "username",
    "device_id",
    "msgtype",
    "body",
    "m.relates_to",
    "rel_type",
    "event_id",
    "m.mentions",
    "event_format",
    "event_fields",
    "room",
    "account_data",
    "users",
    "events",
    "ban",
    "join_rule",
    "history_visibility",
    "alias",
    "alt_aliases",
    "redacts",
    "append",
    "pushkey",
    "app_id",
    "data",
    "lang",
    "allow",
    "content",
];

const PARAMETERS: &[&str] = &[
    "from",
    "to",
    "dir",
    "limit",
    "since",
    "timeout",
    "filter",
    "full_state",
    "use_state_after",
    "set_presence",
    "at",
    "membership",
    "not_membership",
    "format",
    "recurse",
    "include",
    "server",
    "ts",
    "kind",
    "username",
    "before",
    "after",
    "only",
    "via",
    "server_name",
];

const VALUES: &[&str] = &[
    "",
    "x",
    "-1",
    "0",
    "1",
    "99999999999999999999",
    "true",
    "%00",
    "%FF",
    "%7B%7D",
    "%7B%22limit%22%3A-1%7D",
    "%7B%22room%22%3A1%7D",
    "f",
    "b",
    "null",
    "join",
    "s1",
    "t1-1",
    "event",
    "all",
    "%7B%22a%22%3A",
];

const BODIES: &[&[u8]] = &[
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xFF\xFE{}",
    b"{\"a\":\"\xFF\"}",
    b"{\"a\":1,\"a\":2}",
    b"{\"a\":1e400}",
    b"{\"a\":1.5}",
    b"{\"a\":9007199254740993}",
    b"{\"a\":\"\\u0000\"}",
    b"{\"a\":\"\\ud800\"}",
    b"{\"\\u0000\":1}",
    b"{}{}",
];

/// What the junk is mixed with, so that some of it gets far.
struct Real {
    room: String,
    event: String,
    user: String,
    device: String,
}

impl Real {
    fn path(&self, template: &str, random: &mut StdRng) -> String {
        let variables = template.matches('{').count();
        let junk = if random.gen_bool(0.6) { random.gen_range(0..=variables) } else { variables };
        let mut path = String::new();
        for (number, part) in template.split('{').enumerate() {
            let Some((name, rest)) = part.split_once('}') else {
                path += part;
                continue;
            };
            let long = "a".repeat(300);
            let kinds = ["override", "content", "room", "sender", "underride"];
            let event_types =
                ["m.room.message", "m.room.name", "m.room.power_levels", "m.room.member", "x.y", "m.room.redaction"];
            let value: &str = match name {
                _ if number == junk + 1 && random.gen_bool(0.1) => &long,
                _ if number == junk + 1 => SEGMENTS.choose(random).unwrap(),
                "roomId" | "roomIdOrAlias" => &self.room,
                "userId" => &self.user,
                "eventId" => &self.event,
                "deviceId" => &self.device,
                "roomAlias" => "%23kitchen:hearth.test",
                "kind" => kinds.choose(random).unwrap(),
                "eventType" => event_types.choose(random).unwrap(),
                "keyName" => ["displayname", "avatar_url", "m.tz"].choose(random).unwrap(),
                "receiptType" => "m.read",
                "relType" => "m.thread",
                _ => "1",
            };
            path += value;
            path += rest;
        }
        if random.gen_bool(0.5) {
            path += "?";
            for _ in 0..random.gen_range(1..4) {
                let parameter = [PARAMETERS.choose(random).unwrap(), "=", VALUES.choose(random).unwrap(), "&"].concat();
                path += parameter.as_str();
            }
        }
        path
    }

    fn value(&self, random: &mut StdRng, depth: usize) -> Value {
        match random.gen_range(0..if depth > 2 { 13 } else { 18 }) {
            0 => Value::Null,
            1 => true.into(),
            2 => 0.into(),
            3 => (-1).into(),
            4 => 1.5.into(),
            5 => (1_u64 << 60).into(),
            6 => "".into(),
            7 => "\0".into(),
            8 => "x".repeat(random.gen_range(1..2000)).into(),
            9 => self.room.as_str().into(),
            10 => self.event.as_str().into(),
            11 => "@bob:hearth.test".into(),
            12 => NAMES.choose(random).copied().into(),
            13 | 14 => (0..random.gen_range(0..4)).map(|_| self.value(random, depth + 1)).collect(),
            _ => self.object(random, depth + 1),
        }
    }

    fn object(&self, random: &mut StdRng, depth: usize) -> Value {
        let fields = random.gen_range(0..6);
        (0..fields).map(|_| ((*NAMES.choose(random).unwrap()).to_owned(), self.value(random, depth))).collect()
    }
}

#[tokio::test]
async fn every_endpoint_stands_junk() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let room = alice.create(json!({ "preset": "public_chat", "room_alias_name": "kitchen" })).await;
    bob.own(&room, "join").await;
    let event = alice.say(&room, "hello").await;
    let real = Real { room, event, user: encode(alice.id()), device: alice.account.device_id.clone() };
    let mut random = StdRng::seed_from_u64(20);
    for (method, template, _) in ROUTES {
        // Those would end Alice's session and with it the test.
        let headers = if template.contains("/logout") { HeaderMap::new() } else { bearer(alice.token()) };
        for _ in 0..ROUNDS {
            let path = real.path(template, &mut random);
            let body = match *method {
                "GET" => Vec::new(),
                _ if random.gen_bool(0.3) => BODIES.choose(&mut random).unwrap().to_vec(),
                _ => real.object(&mut random, 0).to_string().into_bytes(),
            };
            let shown = String::from_utf8_lossy(&body).into_owned();
            let (status, headers, answer) = raw(&server, method, &path, headers.clone(), body).await;
            let is_error = answer["errcode"].is_string() && answer["error"].is_string();
            assert!(
                status == 200 || matches!(status, 400..500) && (is_error || answer["flows"].is_array()),
                "{method} {path} {shown:.500}: {status} {answer}\n{}",
                server.log()
            );
            assert_eq!(headers["access-control-allow-origin"], "*", "{method} {path}");
            assert_eq!(headers["content-type"], "application/json", "{method} {path}");
        }
    }
    // Nothing of it ended the session or broke what it reads.
    assert_eq!(alice.read("account/whoami").await["user_id"], alice.id());
    alice.sync(None, &[("full_state", "true")]).await;
}
