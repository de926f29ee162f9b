//! The form in which clients see events
//! ([room event format](https://spec.matrix.org/v1.19/client-server-api/#room-event-format)).
//!
//! The JSON is written around the stored content, which is copied as it stands and never parsed (redactions excepted).

use ruma::{
    OwnedTransactionId,
    events::{AnyStrippedStateEvent, AnyTimelineEvent, TimelineEventType},
    serde::Raw,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::Pdu;

/// What goes into `unsigned`, each where known.
#[derive(Debug, Clone, Default)]
pub struct UnsignedData {
    /// Milliseconds since the event was sent.
    pub age: Option<i64>,
    /// The transaction id, for the device that sent the event.
    pub transaction_id: Option<OwnedTransactionId>,
    /// Content of the state event that this one replaced.
    pub prev_content: Option<Box<RawValue>>,
    /// Id of the state event that this one replaced (v1.19).
    pub replaces_state: Option<ruma::OwnedEventId>,
    /// The redaction that redacted this event, in client form.
    pub redacted_because: Option<Raw<AnyTimelineEvent>>,
    /// The reading user's membership when the event was sent (v1.11).
    pub membership: Option<String>,
    /// Bundled aggregations, `m.relations`.
    pub relations: Option<Box<RawValue>>,
}

/// Serializes an event for a client. `with_room_id` is false inside `/sync`.
///
/// A redaction names its target both at the top level and in `content`, whichever its room version has
/// ([v11](https://spec.matrix.org/v1.19/rooms/v11/#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property)).
pub fn to_client(pdu: &Pdu, unsigned: &UnsignedData, with_room_id: bool) -> Raw<AnyTimelineEvent> {
    let mut json = Object::with_capacity(pdu.content.get().len() + 512);
    json.raw("content", &content(pdu));
    json.text("event_id", pdu.event_id.as_str());
    json.raw("origin_server_ts", &pdu.origin_server_ts.0.to_string());
    if let Some(redacts) = &pdu.redacts {
        json.text("redacts", redacts.as_str());
    }
    if with_room_id {
        json.text("room_id", pdu.room_id.as_str());
    }
    json.text("sender", pdu.sender.as_str());
    if let Some(state_key) = &pdu.state_key {
        json.text("state_key", state_key);
    }
    json.text("type", &pdu.event_type.to_string());
    let unsigned = write_unsigned(unsigned);
    if unsigned != "{}" {
        json.raw("unsigned", &unsigned);
    }
    Raw::from_json(raw_value(json.end()))
}

/// Stripped state: `type`, `state_key`, `content`, `sender` alone
/// ([stripped state](https://spec.matrix.org/v1.19/client-server-api/#stripped-state)).
pub fn to_stripped(pdu: &Pdu) -> Raw<AnyStrippedStateEvent> {
    let mut json = Object::with_capacity(pdu.content.get().len() + 128);
    json.raw("content", pdu.content.get());
    json.text("sender", pdu.sender.as_str());
    json.text("state_key", pdu.state_key.as_deref().unwrap_or_default());
    json.text("type", &pdu.event_type.to_string());
    Raw::from_json(raw_value(json.end()))
}

/// The content, with `redacts` copied into it where the room version keeps that at the top level.
fn content(pdu: &Pdu) -> std::borrow::Cow<'_, str> {
    #[derive(Deserialize)]
    struct Redacts {
        redacts: Option<IgnoredAny>,
    }

    let content = pdu.content.get();
    let Some(redacts) = pdu.redacts.as_ref().filter(|_| pdu.event_type == TimelineEventType::RoomRedaction) else {
        return content.into();
    };
    match serde_json::from_str::<Redacts>(content) {
        Ok(Redacts { redacts: None }) => {
            let inner = content.trim_start().trim_start_matches('{');
            let comma = if inner.trim() == "}" { "" } else { "," };
            format!("{{\"redacts\":{}{comma}{inner}", quoted(redacts.as_str())).into()
        }
        _ => content.into(),
    }
}

fn write_unsigned(unsigned: &UnsignedData) -> String {
    let mut json = Object::with_capacity(64);
    if let Some(age) = unsigned.age {
        json.raw("age", &age.to_string());
    }
    if let Some(membership) = &unsigned.membership {
        json.text("membership", membership);
    }
    if let Some(relations) = &unsigned.relations {
        json.raw("m.relations", relations.get());
    }
    if let Some(content) = &unsigned.prev_content {
        json.raw("prev_content", content.get());
    }
    if let Some(redaction) = &unsigned.redacted_because {
        json.raw("redacted_because", redaction.json().get());
    }
    if let Some(event_id) = &unsigned.replaces_state {
        json.text("replaces_state", event_id.as_str());
    }
    if let Some(transaction_id) = &unsigned.transaction_id {
        json.text("transaction_id", transaction_id.as_str());
    }
    json.end()
}

/// A JSON object being written.
struct Object(String);

impl Object {
    fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes);
        text.push('{');
        Self(text)
    }

    /// Adds a field whose value is JSON already. `key` needs no escaping.
    fn raw(&mut self, key: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
        self.0.push_str(value);
    }

    fn text(&mut self, key: &str, value: &str) {
        if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            if self.0.len() > 1 {
                self.0.push(',');
            }
            for part in ["\"", key, "\":\"", value, "\""] {
                self.0.push_str(part);
            }
        } else {
            self.raw(key, &quoted(value));
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn raw_value(json: String) -> Box<RawValue> {
    // Every part is JSON: `RawValue`s, numbers and strings escaped above.
    RawValue::from_string(json).expect("fields written one by one make an object")
}

#[cfg(test)]
mod tests {
    use ruma::{MilliSecondsSinceUnixEpoch, event_id, room_id, uint, user_id};
    use serde_json::{Value, json};

    use super::*;

    fn pdu(event_type: &str, content: &str, state_key: Option<&str>) -> Pdu {
        Pdu {
            event_id: event_id!("$e:h").to_owned(),
            room_id: room_id!("!r:h").to_owned(),
            sender: user_id!("@a:h").to_owned(),
            event_type: event_type.into(),
            state_key: state_key.map(ToOwned::to_owned),
            content: RawValue::from_string(content.to_owned()).unwrap(),
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(uint!(12)),
            prev_events: Vec::new(),
            auth_events: Vec::new(),
            depth: 1,
            rejected: false,
            json: String::new(),
        }
    }

    fn value<T>(raw: &Raw<T>) -> Value {
        serde_json::from_str(raw.json().get()).unwrap()
    }

    #[test]
    fn writes_every_field() {
        let event = pdu("a\"\\\u{1}b", r#"{"body":"hé"}"#, Some("s\"\nk"));
        assert_eq!(
            value(&to_client(&event, &UnsignedData::default(), true)),
            json!({
                "content": {"body": "hé"}, "event_id": "$e:h", "origin_server_ts": 12, "room_id": "!r:h",
                "sender": "@a:h", "state_key": "s\"\nk", "type": "a\"\\\u{1}b",
            })
        );
        assert_eq!(value(&to_client(&event, &UnsignedData::default(), false)).get("room_id"), None);
        assert_eq!(
            value(&to_stripped(&event)),
            json!({"content": {"body": "hé"}, "sender": "@a:h", "state_key": "s\"\nk", "type": "a\"\\\u{1}b"})
        );
    }

    #[test]
    fn writes_unsigned() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let unsigned = UnsignedData {
            age: Some(-3),
            transaction_id: Some("t\"1".into()),
            prev_content: Some(raw(r#"{"a":1}"#)),
            replaces_state: Some(event_id!("$p:h").to_owned()),
            redacted_because: Some(Raw::from_json(raw(r#"{"type":"m.room.redaction"}"#))),
            membership: Some("join".to_owned()),
            relations: Some(raw(r#"{"m.thread":{}}"#)),
        };
        assert_eq!(
            value(&to_client(&pdu("m", "{}", None), &unsigned, false))["unsigned"],
            json!({
                "age": -3, "transaction_id": "t\"1", "prev_content": {"a": 1}, "replaces_state": "$p:h",
                "redacted_because": {"type": "m.room.redaction"}, "membership": "join",
                "m.relations": {"m.thread": {}},
            })
        );
    }

    #[test]
    fn redactions_name_their_target_twice() {
        for (content, expected) in [
            ("{}", json!({"redacts": "$x:h"})),
            (" { } ", json!({"redacts": "$x:h"})),
            (r#"{"reason":"spam"}"#, json!({"redacts": "$x:h", "reason": "spam"})),
            (r#"{"redacts":"$x:h"}"#, json!({"redacts": "$x:h"})),
        ] {
            let mut event = pdu("m.room.redaction", content, None);
            event.redacts = Some(event_id!("$x:h").to_owned());
            let written = value(&to_client(&event, &UnsignedData::default(), false));
            assert_eq!(written["redacts"], "$x:h");
            assert_eq!(written["content"], expected, "{content}");
        }
    }
}
