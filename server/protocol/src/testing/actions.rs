//! What users of a generated room come up with.

use rand::{Rng, rngs::StdRng, seq::SliceRandom};
use ruma::{EventId, OwnedEventId, OwnedUserId};
use serde_json::{Value, json};

use crate::RoomVersion;

/// What somebody tries to send.
pub(super) struct Action {
    pub(super) sender: OwnedUserId,
    pub(super) event_type: String,
    pub(super) state_key: Option<String>,
    pub(super) content: Value,
    pub(super) redacts: Option<OwnedEventId>,
}

/// The room as the actors see it.
pub(super) struct Actor<'a> {
    /// Everybody with their membership, the creator first.
    pub(super) members: Vec<(OwnedUserId, String)>,
    pub(super) levels: Value,
    pub(super) join_rule: String,
    pub(super) version: &'a RoomVersion,
    /// Makes contents differ.
    pub(super) number: usize,
}

impl Actor<'_> {
    /// Somebody joined (or, if lawless, anybody) does something.
    pub(super) fn act(&mut self, random: &mut StdRng, lawless: bool, any_event: Option<&EventId>) -> Action {
        let joined: Vec<_> = self.members.iter().filter(|(_, membership)| lawless || membership == "join").collect();
        let creator = self.members[0].0.clone();
        let (sender, _) = joined.choose(random).copied().cloned().unwrap_or_else(|| self.members[0].clone());
        let (other, theirs) = self.members.choose(random).cloned().unwrap_or_else(|| self.members[0].clone());
        let number = self.number;
        let state = |sender: &OwnedUserId, event_type: &str, key: &str, content: Value| Action {
            sender: sender.clone(),
            event_type: event_type.to_owned(),
            state_key: Some(key.to_owned()),
            content,
            redacts: None,
        };
        let member = |sender: &OwnedUserId, target: &OwnedUserId, content: Value| {
            state(sender, "m.room.member", target.as_str(), content)
        };
        match random.gen_range(0..100) {
            0..20 => Action {
                sender,
                event_type: "m.room.message".to_owned(),
                state_key: None,
                content: json!({ "body": format!("message {number}") }),
                redacts: None,
            },
            20..28 => state(&sender, "m.room.topic", "", json!({ "topic": format!("topic {number}") })),
            28..34 => state(&sender, "m.room.name", "", json!({ "name": format!("name {number}") })),
            34..38 => state(&sender, "org.example.own", sender.as_str(), json!({ "n": number })),
            // Whoever is out comes back, knocks or is invited; the creator stays, so that somebody has power.
            38..54 if theirs != "join" => self
                .enter(random, &other, &theirs)
                .unwrap_or_else(|| member(&sender, &other, json!({ "membership": "invite" }))),
            38..46 => member(&other, &other, json!({ "membership": "join", "displayname": format!("name {number}") })),
            46..50 if other != creator => member(&other, &other, json!({ "membership": "leave" })),
            50..60 if other != sender => member(&sender, &other, json!({ "membership": "leave", "reason": "kick" })),
            60..70 if other != sender => member(&sender, &other, json!({ "membership": "ban" })),
            70..75 => member(&sender, &other, json!({ "membership": "leave", "reason": "unban" })),
            75..90 => {
                let levels = self.change_levels(random, &creator, &other);
                state(&sender, "m.room.power_levels", "", levels)
            }
            90..96 => state(&sender, "m.room.join_rules", "", self.new_join_rule(random)),
            _ => Action {
                sender,
                event_type: "m.room.redaction".to_owned(),
                state_key: None,
                content: json!({ "reason": format!("reason {number}") }),
                redacts: any_event.map(ToOwned::to_owned),
            },
        }
    }

    /// The way in that the join rule leaves to somebody who is out.
    fn enter(&self, random: &mut StdRng, user: &OwnedUserId, membership: &str) -> Option<Action> {
        let mut content = json!({ "membership": "join" });
        match (self.join_rule.as_str(), membership) {
            ("public", _) | (_, "invite") => {}
            ("restricted" | "knock_restricted", _) if random.gen_bool(0.7) => {
                let joined: Vec<_> = self.members.iter().filter(|(_, membership)| membership == "join").collect();
                let (authorizer, _) = joined.choose(random)?;
                content["join_authorised_via_users_server"] = authorizer.as_str().into();
            }
            ("knock" | "knock_restricted", _) => content["membership"] = "knock".into(),
            _ => return None,
        }
        Some(Action {
            sender: user.clone(),
            event_type: "m.room.member".to_owned(),
            state_key: Some(user.to_string()),
            content,
            redacts: None,
        })
    }

    fn change_levels(&self, random: &mut StdRng, creator: &OwnedUserId, other: &OwnedUserId) -> Value {
        let mut levels = self.levels.clone();
        let level = *[0, 10, 50, 60, 90, 99].choose(random).unwrap_or(&0);
        if !levels["users"].is_object() {
            levels["users"] = json!({});
        }
        match random.gen_range(0..6) {
            0 => levels["events_default"] = [0, 0, 10][random.gen_range(0..3)].into(),
            1 => levels["state_default"] = [50, 50, 40][random.gen_range(0..3)].into(),
            2 => levels["ban"] = [50, 60][random.gen_range(0..2)].into(),
            _ if other == creator => levels["notifications"] = json!({ "room": level }),
            _ => levels["users"][other.as_str()] = level.into(),
        }
        levels
    }

    fn new_join_rule(&self, random: &mut StdRng) -> Value {
        let mut rules = vec!["public", "public", "invite"];
        if self.version.facts.knock {
            rules.push("knock");
        }
        if self.version.facts.restricted {
            rules.push("restricted");
        }
        if self.version.facts.knock_restricted {
            rules.push("knock_restricted");
        }
        let rule = *rules.choose(random).unwrap_or(&"public");
        let mut content = json!({ "join_rule": rule, "n": self.number });
        if rule.ends_with("restricted") {
            content["allow"] = json!([{ "type": "m.room_membership", "room_id": "!other:s0" }]);
        }
        content
    }
}
