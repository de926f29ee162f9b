//! How far a long command is: a line that changes on a terminal, now and then a new line elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use hearth_archive::{ArchiveError, Phase, Progress, ProgressFigures};

use super::{failure, opening::Opened, size};
use crate::{failure::Failure, stop_signal::StopSignal};

/// Time between two looks.
const TICK: Duration = Duration::from_millis(200);
/// Time between two lines where nobody sees them change.
const LINE: Duration = Duration::from_secs(10);
/// Letters of the bar.
const BAR: usize = 24;

/// Does `work` and shows how far it is, until it is done or a signal ends it; says `interrupted` then.
pub(super) async fn show<T>(
    work: impl Future<Output = Result<T, ArchiveError>>,
    progress: &Progress,
    stores: &[&Opened],
    interrupted: &str,
) -> Result<T, Failure> {
    let mut stop = StopSignal::install(false)?;
    let mut display = Display::new();
    let keep_up = async {
        futures_util::future::join_all(stores.iter().map(|store| store.keep_up())).await;
        // Where no store needs it, the list is at its end at once.
        std::future::pending::<()>().await;
    };
    let ticks = async {
        loop {
            tokio::time::sleep(TICK).await;
            display.look(progress.figures());
        }
    };
    let outcome = tokio::select! {
        done = work => done.map_err(failure),
        _ = stop.wait() => Err(Failure::new(interrupted)),
        () = ticks => unreachable!("it looks for ever"),
        () = keep_up => unreachable!("it waits for ever"),
    };
    display.end();
    outcome
}

/// What a terminal, or a log, was shown.
pub(super) struct Display {
    terminal: bool,
    phase: Phase,
    since: Instant,
    last: Option<Instant>,
}

impl Display {
    pub(super) fn new() -> Self {
        Self { terminal: stderr().is_terminal(), phase: Phase::Starting, since: Instant::now(), last: None }
    }

    /// Shows the figures, if it is time for that.
    pub(super) fn look(&mut self, figures: ProgressFigures) {
        let now = Instant::now();
        if figures.phase != self.phase {
            self.phase = figures.phase;
            self.since = now;
            self.last = None;
        }
        if matches!(figures.phase, Phase::Starting | Phase::Done) {
            return;
        }
        if !self.terminal && self.last.is_some_and(|last| now - last < LINE) {
            return;
        }
        self.last = Some(now);
        let text = line(figures, now - self.since, self.terminal);
        // Who closed standard error does not want to know.
        let _ = if self.terminal {
            let mut stderr = stderr();
            write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr(), "{text}")
        };
    }

    /// Makes room for what comes next.
    pub(super) fn end(&self) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[2K");
        }
    }
}

fn line(figures: ProgressFigures, since: Duration, bar: bool) -> String {
    let ProgressFigures { phase, keys, bytes, total_bytes } = figures;
    let part = total_bytes.map_or_else(String::new, |total| {
        // In 1000ths, in whole numbers.
        let part = (bytes.saturating_mul(1000) / total.max(1)).min(1000) as usize;
        let full = part * BAR / 1000;
        let bar = if bar { format!(" [{}{}]", "#".repeat(full), " ".repeat(BAR - full)) } else { String::new() };
        format!("{bar} {:3} %", part / 10)
    });
    let rate =
        if since >= Duration::from_secs(1) { format!(", {}/s", per_second(bytes, since)) } else { String::new() };
    format!("{:<10}{part}  {}, {keys} entries{rate}", phase.name(), size(bytes))
}

/// So much of something in a second.
fn per_second(bytes: u64, took: Duration) -> String {
    let milliseconds = took.as_millis().max(1);
    size(u64::try_from(u128::from(bytes) * 1000 / milliseconds).unwrap_or(u64::MAX))
}

/// `12 entries, 3.4 MB in 0.5 s (24 entries/s, 6.8 MB/s)`
pub(super) fn throughput(keys: u64, bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let (rate, bytes) = (per_second(bytes, took), size(bytes));
    format!("{keys} entries, {bytes} in {seconds:.1} s ({:.0} entries/s, {rate}/s)", keys as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far_it_is() {
        let figures =
            ProgressFigures { phase: Phase::Loading, keys: 12, bytes: 5_000_000, total_bytes: Some(20_000_000) };
        assert_eq!(
            line(figures, Duration::from_secs(2), true),
            "loading    [######                  ]  25 %  5.0 MB, 12 entries, 2.5 MB/s"
        );
        assert_eq!(line(figures, Duration::ZERO, false), "loading     25 %  5.0 MB, 12 entries");
        let unknown = ProgressFigures { phase: Phase::BackingUp, total_bytes: None, ..figures };
        assert_eq!(line(unknown, Duration::ZERO, true), "backing up  5.0 MB, 12 entries");
    }
}
