//! The newest log lines, in memory, for the dashboard.
//!
//! The binary adds a [`LogLayer`] to its subscriber; the lines land in a bounded [`LogRing`] that the
//! admin API reads. Nothing here waits: a full ring forgets its oldest line.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};
use utoipa::ToSchema;

/// Lines that a ring keeps unless told otherwise: about 1 MB at worst for ordinary lines.
pub const DEFAULT_CAPACITY: usize = 4000;
/// Longest text of one line, in bytes; the rest is cut off.
const LONGEST_TEXT: usize = 4096;

/// How grave a line is. The order is by gravity, `trace` the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl From<&tracing::Level> for LogLevel {
    fn from(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::ERROR => Self::Error,
        }
    }
}

/// One log line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Numbers the lines without gaps, beyond those of earlier processes.
    pub seq: u64,
    /// When, in Unix milliseconds.
    pub at: u64,
    /// How grave.
    pub level: LogLevel,
    /// The module that wrote it.
    pub target: String,
    /// What happened, with its fields as `name=value`.
    pub text: String,
    /// The spans around it, outermost first, as `name{field=value}`, joined by `:`. Empty outside of spans.
    pub context: String,
}

/// Which lines to read.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    /// Only lines at least as grave.
    pub level: Option<LogLevel>,
    /// Only lines that contain this in text, target or context, in any case.
    pub text: Option<String>,
}

impl LogFilter {
    fn passes(&self, line: &LogLine) -> bool {
        self.level.is_none_or(|level| line.level >= level)
            && self.text.as_deref().is_none_or(|text| {
                let text = text.to_lowercase();
                [&line.text, &line.target, &line.context].iter().any(|part| part.to_lowercase().contains(&text))
            })
    }
}

/// Lines that a reader asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// Where the next read goes on: pass it as `after`.
    pub next: u64,
    /// Lines after `after` that the ring had already forgotten.
    pub missed: u64,
}

/// The newest lines, bounded. Shared between the [`LogLayer`] that writes and the API that reads.
#[derive(Debug)]
pub struct LogRing {
    capacity: usize,
    /// The number of the first line.
    first_seq: u64,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    last_seq: u64,
    kept: VecDeque<LogLine>,
}

impl Default for LogRing {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl LogRing {
    /// A ring for at most `capacity` lines. Numbers begin at the time in microseconds, so that a reader who saw
    /// an earlier process goes on with this one.
    pub fn new(capacity: usize) -> Self {
        Self::starting_at(
            capacity,
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_micros() as u64),
        )
    }

    fn starting_at(capacity: usize, first_seq: u64) -> Self {
        let lines = Lines { last_seq: first_seq - 1, kept: VecDeque::new() };
        Self { capacity: capacity.max(1), first_seq, lines: Mutex::new(lines) }
    }

    /// The number of the newest line, of the last process before the first.
    pub fn last_seq(&self) -> u64 {
        self.lock().last_seq
    }

    /// Reads forward: the oldest `limit` lines after number `after` that pass the filter. A number that has not
    /// been reached is from before the clock was set back: then everything is new.
    pub fn after(&self, after: u64, filter: &LogFilter, limit: usize) -> LogPage {
        let lines = self.lock();
        let before_all = self.first_seq - 1;
        let after = if after > lines.last_seq { before_all } else { after.max(before_all) };
        let oldest = lines.kept.front().map_or(lines.last_seq + 1, |line| line.seq);
        let missed = oldest.saturating_sub(after + 1);
        let start = lines.kept.partition_point(|line| line.seq <= after);
        let mut page = LogPage { lines: Vec::new(), next: lines.last_seq, missed };
        for line in lines.kept.iter().skip(start).filter(|line| filter.passes(line)) {
            if page.lines.len() == limit {
                page.next = page.lines.last().map_or(after, |line| line.seq);
                break;
            }
            page.lines.push(line.clone());
        }
        page
    }

    /// The newest `limit` lines that pass the filter, oldest first.
    pub fn newest(&self, filter: &LogFilter, limit: usize) -> LogPage {
        let lines = self.lock();
        let mut found: Vec<_> =
            lines.kept.iter().rev().filter(|line| filter.passes(line)).take(limit).cloned().collect();
        found.reverse();
        LogPage { lines: found, next: lines.last_seq, missed: 0 }
    }

    fn push(&self, mut line: LogLine) {
        let mut lines = self.lock();
        lines.last_seq += 1;
        line.seq = lines.last_seq;
        if lines.kept.len() == self.capacity {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A layer for a `tracing_subscriber` registry that copies every event into a [`LogRing`].
#[derive(Debug, Clone)]
pub struct LogLayer {
    ring: Arc<LogRing>,
}

impl LogLayer {
    /// A layer that writes to `ring`.
    pub fn new(ring: Arc<LogRing>) -> Self {
        Self { ring }
    }
}

/// A span's fields, formatted once when the span begins.
struct SpanFields(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut text = LineText::default();
        attributes.record(&mut text);
        span.extensions_mut().insert(SpanFields(text.finish()));
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let mut text = LineText::default();
        if let Some(SpanFields(fields)) = extensions.get_mut() {
            text.fields = std::mem::take(fields);
        }
        values.record(&mut text);
        extensions.replace(SpanFields(text.finish()));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = LineText::default();
        event.record(&mut text);
        let mut spans = String::new();
        for span in context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            if !spans.is_empty() {
                spans.push(':');
            }
            spans.push_str(span.name());
            if let Some(SpanFields(fields)) = span.extensions().get().filter(|SpanFields(fields)| !fields.is_empty()) {
                // Formatting into a string cannot fail.
                let _ = write!(spans, "{{{fields}}}");
            }
        }
        cut(&mut spans);
        let metadata = event.metadata();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        self.ring.push(LogLine {
            seq: 0,
            at,
            level: metadata.level().into(),
            target: metadata.target().to_owned(),
            text: text.finish(),
            context: spans,
        });
    }
}

/// Collects an event's message and its other fields.
#[derive(Default)]
struct LineText {
    message: String,
    fields: String,
}

impl LineText {
    fn finish(mut self) -> String {
        if !self.message.is_empty() && !self.fields.is_empty() {
            self.message.push(' ');
        }
        self.message.push_str(&self.fields);
        cut(&mut self.message);
        self.message
    }
}

impl Visit for LineText {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Strings stand as they are, without the quotes that Debug would add.
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Formatting into a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            let space = if self.fields.is_empty() { "" } else { " " };
            write!(self.fields, "{space}{}={value:?}", field.name())
        };
    }
}

fn cut(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn line(text: &str, level: LogLevel) -> LogLine {
        LogLine { seq: 0, at: 0, level, target: "t".into(), text: text.into(), context: String::new() }
    }

    fn texts(page: &LogPage) -> Vec<&str> {
        page.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_full_ring_forgets_its_oldest_lines_and_says_so() {
        let ring = LogRing::starting_at(3, 1);
        let everything = LogFilter::default();
        assert_eq!(ring.after(0, &everything, 10), LogPage { lines: vec![], next: 0, missed: 0 });
        for text in ["a", "b", "c", "d", "e"] {
            ring.push(line(text, LogLevel::Info));
        }
        let page = ring.after(0, &everything, 10);
        assert_eq!((texts(&page), page.next, page.missed), (vec!["c", "d", "e"], 5, 2));
        let page = ring.after(3, &everything, 1);
        assert_eq!((texts(&page), page.next, page.missed), (vec!["d"], 4, 0));
        let page = ring.after(page.next, &everything, 1);
        assert_eq!((texts(&page), page.next, page.missed), (vec!["e"], 5, 0));
        let page = ring.after(77, &everything, 10);
        assert_eq!((texts(&page), page.next), (vec!["c", "d", "e"], 5), "77 was before the clock was set back");
        let page = ring.newest(&everything, 2);
        assert_eq!((texts(&page), page.next), (vec!["d", "e"], 5));
    }

    #[test]
    fn a_reader_of_an_earlier_process_goes_on() {
        let everything = LogFilter::default();
        let old = LogRing::starting_at(3, 1000);
        old.push(line("a", LogLevel::Info));
        let seen = old.after(0, &everything, 10);
        assert_eq!((seen.next, seen.missed), (1000, 0));
        let new = LogRing::starting_at(3, 5000);
        assert_eq!(new.after(seen.next, &everything, 10), LogPage { lines: vec![], next: 4999, missed: 0 });
        new.push(line("b", LogLevel::Info));
        let page = new.after(seen.next, &everything, 10);
        assert_eq!((texts(&page), page.next, page.missed), (vec!["b"], 5000, 0));
    }

    #[test]
    fn filters_by_level_and_text() {
        let ring = LogRing::starting_at(10, 1);
        ring.push(line("Server ready", LogLevel::Info));
        ring.push(line("slow commit", LogLevel::Warn));
        ring.push(line("READY to fail", LogLevel::Error));
        let filter = |level, text: Option<&str>| LogFilter { level, text: text.map(str::to_owned) };
        let warnings = ring.newest(&filter(Some(LogLevel::Warn), None), 10);
        assert_eq!(texts(&warnings), ["slow commit", "READY to fail"]);
        let ready = ring.newest(&filter(None, Some("ready")), 10);
        assert_eq!(texts(&ready), ["Server ready", "READY to fail"]);
        let both = ring.after(0, &filter(Some(LogLevel::Error), Some("ready")), 10);
        assert_eq!((texts(&both), both.next), (vec!["READY to fail"], 3));
        assert!(ring.newest(&filter(Some(LogLevel::Error), Some("commit")), 10).lines.is_empty());
    }

    #[test]
    fn events_become_lines_with_fields_and_spans() {
        let ring = Arc::new(LogRing::starting_at(10, 1));
        let subscriber = tracing_subscriber::registry().with(LogLayer::new(ring.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let outer = tracing::info_span!("request", method = "GET", status = tracing::field::Empty);
            let _outer = outer.enter();
            outer.record("status", 200);
            tracing::info_span!("transaction").in_scope(|| {
                tracing::warn!(target: "hearth::x", attempts = 3, "tried {} times", 3);
            });
            tracing::info!(long = "x".repeat(2 * LONGEST_TEXT), "cut");
        });
        let page = ring.newest(&LogFilter::default(), 10);
        let first = &page.lines[0];
        assert_eq!(
            (first.seq, first.level, &*first.target, &*first.text, &*first.context),
            (1, LogLevel::Warn, "hearth::x", "tried 3 times attempts=3", "request{method=GET status=200}:transaction")
        );
        assert!(page.lines[1].text.len() <= LONGEST_TEXT + '…'.len_utf8());
        assert!(page.lines[1].text.starts_with("cut long=xxx"));
    }
}
