//! `event_fields` of a [filter](https://spec.matrix.org/v1.19/client-server-api/#filtering).

use ruma::serde::Raw;
use serde_json::{Map, Value};

/// The paths that are kept of each event.
#[derive(Debug, Clone)]
pub(crate) struct EventFields(Vec<Vec<String>>);

impl EventFields {
    pub(crate) fn new(fields: &[String]) -> Self {
        Self(fields.iter().map(|field| split_path(field)).collect())
    }

    /// The event with these fields alone. An event that is no object stays as it is.
    pub(crate) fn apply<T>(&self, event: Raw<T>) -> Raw<T> {
        let Ok(Value::Object(full)) = serde_json::from_str(event.json().get()) else { return event };
        let mut kept = Map::new();
        for path in &self.0 {
            keep(&full, &mut kept, path);
        }
        match serde_json::value::to_raw_value(&kept) {
            Ok(json) => Raw::from_json(json),
            Err(_) => event,
        }
    }
}

/// Splits `content.body` at its dots; `\.` and `\\` stand for the characters themselves.
fn split_path(field: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut chars = field.chars();
    while let Some(char) = chars.next() {
        match char {
            '.' => parts.push(std::mem::take(&mut part)),
            '\\' => match chars.next() {
                Some(escaped @ ('.' | '\\')) => part.push(escaped),
                Some(other) => part.extend(['\\', other]),
                None => part.push('\\'),
            },
            other => part.push(other),
        }
    }
    parts.push(part);
    parts
}

fn keep(full: &Map<String, Value>, kept: &mut Map<String, Value>, path: &[String]) {
    let Some((name, rest)) = path.split_first() else { return };
    let Some(value) = full.get(name) else { return };
    if rest.is_empty() {
        kept.insert(name.clone(), value.clone());
        return;
    }
    let Value::Object(full) = value else { return };
    let inner = kept.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        keep(full, inner, rest);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_kept_by_path() {
        let event = json!({"type": "t", "content": {"body": "b", "a.b": 1, "x": {"y": 2, "z": 3}}, "sender": "s"});
        let event = Raw::<Value>::from_json(serde_json::value::to_raw_value(&event).unwrap());
        for (fields, kept) in [
            (json!(["type", "content.body"]), json!({"type": "t", "content": {"body": "b"}})),
            (json!(["content.a\\.b", "content.x.y"]), json!({"content": {"a.b": 1, "x": {"y": 2}}})),
            (json!(["content"]), json!({"content": {"body": "b", "a.b": 1, "x": {"y": 2, "z": 3}}})),
            (json!(["content", "content.body"]), json!({"content": {"body": "b", "a.b": 1, "x": {"y": 2, "z": 3}}})),
            (json!(["content.x"]), json!({"content": {"x": {"y": 2, "z": 3}}})),
            (json!(["missing", "type.deeper"]), json!({})),
            (json!([]), json!({})),
        ] {
            let fields: Vec<String> = serde_json::from_value(fields).unwrap();
            let projected = EventFields::new(&fields).apply(event.clone());
            assert_eq!(serde_json::from_str::<Value>(projected.json().get()).unwrap(), kept, "{fields:?}");
        }
    }
}
