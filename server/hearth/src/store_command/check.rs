//! `hearth store check`

use std::time::Duration;

use hearth_store::{Store, StoreError, check::Report};
use serde::Serialize;

use crate::{
    config::Config,
    failure::{FAILED, Failure, OpenFailure, STOP},
    stop_signal::StopSignal,
    store_opening::open_store,
};

/// Time between two lines that say how far it is.
const LINE: Duration = Duration::from_secs(10);

/// What is printed as JSON.
#[derive(Serialize)]
struct Checked {
    rows: u64,
    findings: u64,
    /// The first thousand.
    first: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    table: String,
    what: String,
    repair: &'static str,
}

pub(super) async fn run(config: &Config, json: bool) -> Result<u8, Failure> {
    let opened = open_store(config).await.map_err(|failure| match failure {
        OpenFailure::Held(failure) => Failure::new(format!(
            "{} A check needs the embedded store for itself: stop the server first.",
            failure.message
        )),
        OpenFailure::Other(failure) => failure,
    })?;
    let report = Report::new();
    let mut stop = StopSignal::install(false)?;
    let tell = async {
        loop {
            tokio::time::sleep(LINE).await;
            eprintln!("{} rows looked at, {} findings", report.rows(), report.findings());
        }
    };
    let outcome = tokio::select! {
        checked = check(&opened.store, &report) => {
            checked.map_err(|error| Failure::internal(format!("The store cannot be read: {error}.")))
        }
        _ = stop.wait() => Err(Failure::new("Interrupted. The store is not checked.")),
        () = tell => unreachable!("it tells for ever"),
        never = opened.keep_up() => match never {},
    };
    opened.close().await;
    outcome?;
    let found: Vec<Found> = report
        .kept()
        .into_iter()
        .map(|finding| Found { table: finding.table, what: finding.what, repair: finding.repair })
        .collect();
    let checked = Checked { rows: report.rows(), findings: report.findings(), first: found };
    if json {
        crate::say(&serde_json::to_string_pretty(&checked).map_err(|error| Failure::internal(error.to_string()))?);
    } else {
        for line in checked.lines() {
            crate::say(&line);
        }
    }
    Ok(if checked.findings == 0 { STOP } else { FAILED })
}

async fn check(store: &Store, report: &Report) -> Result<(), StoreError> {
    hearth_rooms::check::check(store, report).await?;
    hearth_accounts::check::check(store, report).await?;
    hearth_transitory::check::check(store, report).await
}

impl Checked {
    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .first
            .iter()
            .map(|found| format!("{}: {}. Repair: {}.", found.table, found.what, found.repair))
            .collect();
        if self.findings > self.first.len() as u64 {
            lines.push(format!("... and {} more.", self.findings - self.first.len() as u64));
        }
        lines.push(match self.findings {
            0 => format!("{} rows looked at, everything agrees.", self.rows),
            findings => format!("{} rows looked at, {findings} findings. Nothing was changed.", self.rows),
        });
        lines
    }
}
