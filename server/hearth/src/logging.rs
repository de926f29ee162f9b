//! Where log lines go: standard error, and the ring that the dashboard reads.

use std::{io::IsTerminal, sync::Arc};

use hearth_api::admin::logs::{LogLayer, LogRing};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::failure::Failure;

/// Starts logging. `filter` is `info`, `debug`, `hearth_rooms=trace,info` and the like; without it `RUST_LOG` counts.
pub(crate) fn start(filter: Option<&str>) -> Result<Arc<LogRing>, Failure> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = filter.map(str::to_owned).or(from_environment).unwrap_or_else(|| "info".to_owned());
    // It tells the outcome of each rule of each event at the level `info`.
    let quiet = "ruma_state_res=warn";
    let filter = if filter.contains("ruma_state_res") { filter } else { format!("{quiet},{filter}") };
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| Failure::configuration(format!("{filter:?} is no log filter: {error}")))?;
    let ring = Arc::new(LogRing::default());
    tracing_subscriber::registry()
        .with(filter)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()))
        .with(LogLayer::new(ring.clone()))
        .init();
    Ok(ring)
}
