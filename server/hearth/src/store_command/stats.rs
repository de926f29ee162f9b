//! `hearth store stats`

use std::time::Duration;

use serde::Serialize;

use super::{failure, running_server::RunningServer, size};
use crate::{
    admin_settings,
    config::Config,
    failure::{Failure, OpenFailure, STOP},
    store_opening::open_store,
};

/// How long counting may take.
const LIMIT: Duration = Duration::from_mins(5);

/// What is printed as JSON.
#[derive(Serialize)]
struct Stats {
    engine: String,
    disk_bytes: u64,
    entries: u64,
    bytes: u64,
    /// Whether everything was counted.
    complete: bool,
    /// The largest first; empty ones are left out.
    tables: Vec<TableStats>,
}

#[derive(Serialize)]
struct TableStats {
    /// Empty for what belongs to no table that this version knows.
    database: String,
    table: String,
    entries: u64,
    bytes: u64,
}

pub(super) async fn run(config: &Config, json: bool) -> Result<u8, Failure> {
    let stats = match open_store(config).await {
        Ok(opened) => {
            let counted = hearth_archive::sizes(&opened.store, &admin_settings::tables(), LIMIT).await;
            let (engine, health) = (opened.store.engine(), opened.store.health().await);
            opened.close().await;
            let sizes = counted.map_err(failure)?;
            let tables = sizes.subspaces.into_iter().map(|sum| TableStats {
                bytes: sum.key_bytes + sum.value_bytes,
                database: sum.database,
                table: sum.table,
                entries: sum.keys,
            });
            Stats::new(engine.to_owned(), health.disk_bytes, sizes.complete, tables.collect())
        }
        Err(OpenFailure::Held(held)) => {
            let storage = RunningServer::of(config, &held)?.storage().await?;
            let sizes = &storage["sizes"];
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let tables = sizes["tables"].as_array().into_iter().flatten().map(|table| TableStats {
                database: text(&table["database"]),
                table: text(&table["table"]),
                entries: table["entries"].as_u64().unwrap_or_default(),
                bytes: table["bytes"].as_u64().unwrap_or_default(),
            });
            let complete = sizes["complete"].as_bool().unwrap_or_default();
            let disk_bytes = storage["disk_bytes"].as_u64().unwrap_or_default();
            Stats::new(text(&storage["engine"]), disk_bytes, complete, tables.collect())
        }
        Err(OpenFailure::Other(failure)) => return Err(failure),
    };
    if json {
        crate::say(&serde_json::to_string_pretty(&stats).map_err(|error| Failure::internal(error.to_string()))?);
    } else {
        for line in stats.lines() {
            crate::say(&line);
        }
    }
    Ok(STOP)
}

impl Stats {
    fn new(engine: String, disk_bytes: u64, complete: bool, mut tables: Vec<TableStats>) -> Self {
        tables.retain(|table| table.entries > 0);
        tables.sort_by_key(|table| std::cmp::Reverse(table.bytes));
        let entries = tables.iter().map(|table| table.entries).sum();
        let bytes = tables.iter().map(|table| table.bytes).sum();
        Self { engine, disk_bytes, entries, bytes, complete, tables }
    }

    fn lines(&self) -> Vec<String> {
        let name = |table: &TableStats| match table.database.as_str() {
            "" => "(others)".to_owned(),
            database => format!("{database}/{}", table.table),
        };
        let names: Vec<String> = self.tables.iter().map(name).collect();
        let width = names.iter().map(String::len).max().unwrap_or_default().max(8);
        let row = |name: &str, entries: u64, bytes: u64| format!("{name:<width$} {entries:>12} {:>9}", size(bytes));
        let mut lines = vec![format!("{:<width$} {:>12} {:>9}", "table", "entries", "size")];
        lines.extend(names.iter().zip(&self.tables).map(|(name, table)| row(name, table.entries, table.bytes)));
        lines.push(row("all", self.entries, self.bytes));
        lines.push(format!("{} on disk, engine {}.", size(self.disk_bytes), self.engine));
        if !self.complete {
            lines.push("There is more: counting all of it would have taken too long.".to_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_table_comes_first() {
        let table = |database: &str, table: &str, entries, bytes| TableStats {
            database: database.to_owned(),
            table: table.to_owned(),
            entries,
            bytes,
        };
        let tables = vec![table("", "", 1, 2), table("a", "none", 0, 0), table("a", "longer_name", 12, 3_456_789)];
        let lines = Stats::new("embedded".to_owned(), 5_000_000, true, tables).lines();
        assert_eq!(
            lines,
            [
                "table              entries      size",
                "a/longer_name           12    3.5 MB",
                "(others)                 1       2 B",
                "all                     13    3.5 MB",
                "5.0 MB on disk, engine embedded.",
            ]
        );
    }
}
