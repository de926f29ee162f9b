//! What the status document (`status json`) says of a local instance.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Below this share of the disk FoundationDB slows writes down, and stops them at last.
const LEAST_FREE_SHARE: f64 = 0.05;

/// How the instance is, by its own account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceHealth {
    /// Whether transactions are answered.
    pub available: bool,
    /// What is wrong, each a sentence for people; empty where all is well.
    pub problems: Vec<String>,
    /// The server's version.
    pub version: Option<String>,
    /// Bytes free on the disk.
    pub disk_free_bytes: Option<u64>,
    /// Bytes of the disk.
    pub disk_total_bytes: Option<u64>,
    /// Bytes of the data's files.
    pub data_bytes: Option<u64>,
    /// Memory that the server uses, in bytes.
    pub memory_bytes: Option<u64>,
}

impl InstanceHealth {
    /// Reads the document; `None` where it is none. Every field of it is optional: it leaves out what it does not know now.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let document: Value = serde_json::from_str(text.get(text.find('{')?..)?).ok()?;
        let at = |path: &str| document.pointer(path);
        let number = |value: Option<&Value>| value.and_then(Value::as_u64);
        let process = at("/cluster/processes").and_then(Value::as_object).and_then(|all| all.values().next());
        let of_process = |path: &str| process.and_then(|process| process.pointer(path));
        let mut health = Self {
            available: at("/client/database_status/available") == Some(&Value::Bool(true)),
            problems: Vec::new(),
            version: of_process("/version").and_then(Value::as_str).map(str::to_owned),
            disk_free_bytes: number(of_process("/disk/free_bytes")),
            disk_total_bytes: number(of_process("/disk/total_bytes")),
            data_bytes: number(at("/cluster/data/total_disk_used_bytes")),
            memory_bytes: number(of_process("/memory/rss_bytes")),
        };
        health.find_problems(&document);
        Some(health)
    }

    fn find_problems(&mut self, document: &Value) {
        if let (Some(free), Some(total)) = (self.disk_free_bytes, self.disk_total_bytes)
            && (free as f64) < total as f64 * LEAST_FREE_SHARE
        {
            self.problems.push(format!(
                "the disk is almost full ({} MB are free), and the database stops taking writes: make room on it",
                free / 1_000_000
            ));
        }
        if !self.available {
            self.problems.push("the database does not answer transactions now".to_owned());
        }
        // The first says why there is no second.
        for messages in ["/client/messages", "/cluster/messages"] {
            let messages = document.pointer(messages).and_then(Value::as_array);
            let words = messages.into_iter().flatten().filter(|message| is_a_problem(message));
            self.problems.extend(
                words
                    .filter_map(|message| message.get("description")?.as_str())
                    .map(|words| words.trim_end_matches('.').to_owned()),
            );
        }
        if self.available && document.pointer("/cluster/data/state/healthy") == Some(&Value::Bool(false)) {
            let words = document.pointer("/cluster/data/state/description").and_then(Value::as_str);
            self.problems.push(words.unwrap_or("the data is not healthy").trim_end_matches('.').to_owned());
        }
    }
}

/// Some messages are for clusters of many machines, and one is about ourselves, who just asked.
fn is_a_problem(message: &Value) -> bool {
    let name = message.get("name").and_then(Value::as_str).unwrap_or_default();
    !matches!(name, "client_issues" | "status_incomplete" | "inconsistent_cluster_file" | "fetch_primary_dc_timedout")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "client": {"database_status": {"available": true, "healthy": true}, "messages": []},
            "cluster": {
                "messages": [{"name": "client_issues", "description": "Some clients of this cluster have issues."}],
                "data": {"total_disk_used_bytes": 209_715_200, "state": {"healthy": true, "name": "healthy"}},
                "processes": {"abc": {
                    "version": "7.4.6", "disk": {"free_bytes": 80_000_000_000_u64, "total_bytes": 100_000_000_000_u64},
                    "memory": {"rss_bytes": 150_000_000},
                }},
            },
        })
    }

    #[test]
    fn a_healthy_instance_has_no_problems() {
        let health = InstanceHealth::parse(&format!("some words\n{}", document())).unwrap();
        let expected = InstanceHealth {
            available: true,
            problems: Vec::new(),
            version: Some("7.4.6".to_owned()),
            disk_free_bytes: Some(80_000_000_000),
            disk_total_bytes: Some(100_000_000_000),
            data_bytes: Some(209_715_200),
            memory_bytes: Some(150_000_000),
        };
        assert_eq!(health, expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let problems = |pointer: &str, value: Value| {
            let mut document = document();
            *document.pointer_mut(pointer).unwrap() = value;
            InstanceHealth::parse(&document.to_string()).unwrap().problems
        };
        let full = problems("/cluster/processes/abc/disk/free_bytes", json!(4_000_000_000_u64));
        assert_eq!(full.len(), 1);
        assert!(full[0].contains("almost full (4000 MB"), "{full:?}");
        let gone = problems("/client/database_status/available", json!(false));
        assert_eq!(gone, ["the database does not answer transactions now"]);
        let words = problems(
            "/client/messages",
            json!([{"name": "no_cluster_controller", "description": "Unable to locate a cluster controller."}]),
        );
        assert_eq!(words, ["Unable to locate a cluster controller"]);
        let data = problems("/cluster/data/state", json!({"healthy": false, "description": "No replicas remain."}));
        assert_eq!(data, ["No replicas remain"]);
    }

    #[test]
    fn what_is_no_document_says_nothing() {
        assert_eq!(InstanceHealth::parse("ERROR: no cluster"), None);
        assert_eq!(InstanceHealth::parse("{"), None);
        assert!(!InstanceHealth::parse("{}").unwrap().available);
    }
}
