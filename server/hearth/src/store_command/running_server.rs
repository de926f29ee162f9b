//! Asks the running server to do on its store what a command cannot do beside it.

use std::{path::Path, time::Duration};

use hearth_archive::{Passphrase, Phase, ProgressFigures};
use hyper::Method;
use serde_json::{Value, json};

use super::display::Display;
use crate::{
    admin_client::AdminClient, config::Config, data_folder::DataFolder, failure::Failure, stop_signal::StopSignal,
};

/// Time between two questions how far it is.
const PAUSE: Duration = Duration::from_millis(200);

/// The server on a configuration's data folder.
pub(super) struct RunningServer(AdminClient);

/// What the server has written.
pub(super) struct Written {
    pub(super) keys: u64,
    pub(super) bytes: u64,
    pub(super) file_bytes: u64,
}

impl RunningServer {
    /// The one that keeps `held` from opening the store.
    pub(super) fn of(config: &Config, held: &Failure) -> Result<Self, Failure> {
        let access = DataFolder::open(&config.data_dir)?.admin_access();
        let (url, token) = access
            .map_err(|error| Failure::new(format!("{held}, and where its admin API is cannot be read: {error}.")))?;
        Ok(Self(AdminClient::new(&url, token)))
    }

    /// Makes it write a backup to `path`.
    pub(super) async fn back_up(
        &self,
        path: &Path,
        passphrase: Option<&Passphrase>,
        interrupted: &str,
    ) -> Result<Written, Failure> {
        let path = path.to_str().ok_or_else(|| Failure::new("The path is not Unicode, and the server runs."))?;
        let body = json!({ "path": path, "passphrase": passphrase.map(Passphrase::reveal) });
        let mut stop = StopSignal::install(false)?;
        let mut work = self.0.ask(Method::POST, "/backup_works", Some(body)).await?;
        let place = format!("/backup_works/{}", work["id"]);
        let mut display = Display::new();
        let outcome = loop {
            display.look(figures(&work));
            match work["state"].as_str() {
                Some("running") => {}
                Some("done") => break Ok(written(&work)),
                Some("cancelled") => break Err(Failure::new("The backup was cut off in the server.")),
                _ => break Err(Failure::new(format!("{}.", words(&work["error"])))),
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = stop.wait() => {
                    // It leaves nothing there; should the server not hear it, the file will be whole.
                    self.0.ask(Method::DELETE, &place, None).await?;
                    break Err(Failure::new(interrupted));
                }
            }
            work = self.0.ask(Method::GET, &place, None).await?;
        };
        display.end();
        outcome
    }

    /// The sizes of its store's tables, measured now.
    pub(super) async fn storage(&self) -> Result<Value, Failure> {
        let mut storage = self.0.ask(Method::GET, "/storage", None).await?;
        let before = storage["sizes"]["measured_at"].as_u64();
        // Not again where it just has.
        self.0.ask(Method::POST, "/storage/measure", None).await?;
        let mut began = storage["sizes"]["under_way"] == json!(true);
        for _ in 0.. {
            tokio::time::sleep(PAUSE).await;
            storage = self.0.ask(Method::GET, "/storage", None).await?;
            let sizes = &storage["sizes"];
            let under_way = sizes["under_way"] == json!(true);
            began |= under_way;
            let rested = !began && before.is_some();
            if (sizes["measured_at"].as_u64() != before || rested || !sizes["failure"].is_null()) && !under_way {
                break;
            }
        }
        match storage["sizes"]["failure"].as_str() {
            Some(failure) => Err(Failure::new(format!("{failure}."))),
            None => Ok(storage),
        }
    }
}

fn figures(work: &Value) -> ProgressFigures {
    let number = |name: &str| work[name].as_u64();
    let phase = work["phase"].as_str().and_then(Phase::named).unwrap_or_default();
    ProgressFigures {
        phase,
        keys: number("entries").unwrap_or_default(),
        bytes: number("bytes").unwrap_or_default(),
        total_bytes: number("total_bytes"),
    }
}

fn written(work: &Value) -> Written {
    let number = |name: &str| work[name].as_u64().unwrap_or_default();
    Written { keys: number("entries"), bytes: number("bytes"), file_bytes: number("file_bytes") }
}

fn words(error: &Value) -> &str {
    error.as_str().unwrap_or("The server did not write the backup and does not say why").trim_end_matches('.')
}
