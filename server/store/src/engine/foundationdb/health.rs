//! How the cluster is, from its status document.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::foundationdb::Database;
use serde_json::Value;
use tokio::sync::Mutex;

use super::client::{ask, store_error};
use crate::StoreError;
use crate::stats::Health;

/// The document costs the cluster some work, and most of it does not change by the second.
const FRESH: Duration = Duration::from_secs(3);
const STATUS: &[u8] = b"\xff\xff/status/json";

/// The last answer.
#[derive(Debug, Default)]
pub(super) struct HealthCache {
    last: Mutex<Option<(Instant, Health)>>,
    disk_bytes: AtomicU64,
}

impl HealthCache {
    /// Bytes on disk as of the last answer; 0 before the first.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    pub(super) async fn get(&self, database: &Database) -> Health {
        // Held while the cluster is asked, so that many who ask at once ask it once.
        let mut last = self.last.lock().await;
        if let Some((at, health)) = &*last
            && at.elapsed() < FRESH
        {
            return health.clone();
        }
        let health = match status(database).await {
            Ok(document) => parse(&document),
            Err(error) => Health { message: error.to_string(), ..Health::default() },
        };
        if health.disk_bytes > 0 {
            self.disk_bytes.store(health.disk_bytes, Ordering::Relaxed);
        }
        *last = Some((Instant::now(), health.clone()));
        health
    }
}

async fn status(database: &Database) -> Result<Value, StoreError> {
    let transaction = database.create_trx().map_err(store_error)?;
    let document = ask("a question for its status", transaction.get(STATUS, true)).await?;
    let document = document.ok_or_else(|| StoreError::Unavailable("the cluster has no status".to_owned()))?;
    serde_json::from_slice(&document)
        .map_err(|error| StoreError::Unavailable(format!("the cluster's status is not JSON: {error}")))
}

fn parse(document: &Value) -> Health {
    let cluster = &document["cluster"];
    let available = document["client"]["database_status"]["available"].as_bool().unwrap_or(false);
    let processes = || cluster["processes"].as_object().into_iter().flat_map(|processes| processes.values());
    let free = processes().filter_map(|process| process["disk"]["free_bytes"].as_u64()).min();
    let mut messages: Vec<&str> = Vec::new();
    for list in [&document["client"]["messages"], &cluster["messages"]] {
        let texts = list.as_array().into_iter().flatten().filter_map(|message| message["description"].as_str());
        messages.extend(texts);
    }
    if let Some(state) = cluster["data"]["state"]["description"].as_str().filter(|state| !state.is_empty()) {
        messages.push(state);
    }
    if !available && messages.is_empty() {
        messages.push(cluster["recovery_state"]["description"].as_str().unwrap_or("The database is unavailable."));
    }
    Health {
        available,
        message: messages.join(" "),
        version: processes().filter_map(|process| process["version"].as_str()).min().unwrap_or_default().to_owned(),
        disk_bytes: cluster["data"]["total_disk_used_bytes"].as_u64().unwrap_or(0),
        stored_bytes: cluster["data"]["total_kv_size_bytes"].as_u64(),
        free_disk_bytes: free,
        machines: cluster["machines"].as_object().map_or(0, |machines| machines.len() as u32),
        processes: processes().count() as u32,
        redundancy: cluster["configuration"]["redundancy_mode"].as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_document_is_understood() {
        let document = json!({
            "client": {"database_status": {"available": true, "healthy": false}, "messages": []},
            "cluster": {
                "configuration": {"redundancy_mode": "double"},
                "data": {"total_disk_used_bytes": 900, "total_kv_size_bytes": 300, "state": {"description": "Healing."}},
                "machines": {"a": {}, "b": {}},
                "messages": [{"name": "x", "description": "One replica is missing."}],
                "processes": {
                    "1": {"version": "7.4.6", "disk": {"free_bytes": 5000}},
                    "2": {"version": "7.4.7", "disk": {"free_bytes": 4000}},
                    "3": {"version": "7.4.6"},
                },
            },
        });
        let expected = Health {
            available: true,
            message: "One replica is missing. Healing.".to_owned(),
            version: "7.4.6".to_owned(),
            disk_bytes: 900,
            stored_bytes: Some(300),
            free_disk_bytes: Some(4000),
            machines: 2,
            processes: 3,
            redundancy: "double".to_owned(),
        };
        assert_eq!(parse(&document), expected);
        let nothing = parse(&json!({}));
        assert_eq!((nothing.available, nothing.message.as_str()), (false, "The database is unavailable."));
    }
}
