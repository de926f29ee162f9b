//! Live updates as server-sent events.
//!
//! A listener is pulled, never pushed to: its stream looks at the figures and the log ring when it is
//! polled, at most a few times a second, so that a slow one makes nothing grow and an absent one costs nothing.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use utoipa::{IntoParams, ToSchema};

use super::Query;
use crate::admin::{
    error::{AdminError, ErrorCode},
    figures::{Counts, Overview},
    logs::{LogFilter, LogLevel, LogLine},
    state::Admin,
};

/// How often the log is looked at.
const LOG_TICK: Duration = Duration::from_millis(250);
/// An overview comes with every so many looks at the log: once a second.
const OVERVIEW_TICKS: u32 = 4;
/// Most log lines in one event.
const LINES_PER_EVENT: usize = 500;

/// What a listener wants to hear.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct LiveQuery {
    /// Topics, separated by commas: `overview`, `changes`, `logs`. Default: `overview,changes`.
    topics: Option<String>,
    /// For `logs`: only lines at least as grave.
    level: Option<LogLevel>,
    /// For `logs`: only lines that contain this text.
    text: Option<String>,
    /// For `logs`: lines after this number; default from now on.
    after: Option<u64>,
}

/// One live update: the `data` of a server-sent event, whose `event` is the same as `type`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in crate::admin) enum LiveEvent {
    /// A reading of the whole server, every second.
    Overview {
        /// The reading.
        overview: Box<Overview>,
    },
    /// Some lists have changed and should be read again. Also sent first of all, so that what
    /// happened while nobody listened is not missed.
    Changed {
        /// The numbers now.
        counts: Counts,
        /// What has changed.
        topics: Vec<ChangedTopic>,
    },
    /// The server cannot take a reading now.
    Failing {
        /// Why, in a sentence.
        message: String,
    },
    /// New log lines.
    Logs {
        /// The lines, oldest first.
        lines: Vec<LogLine>,
        /// Lines that were forgotten before they could be sent.
        missed: u64,
    },
}

/// A list that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::admin) enum ChangedTopic {
    /// Users were added or deactivated.
    Users,
    /// Rooms were added or removed.
    Rooms,
    /// Events were added in rooms: messages, members, state.
    Events,
    /// Jobs began, ended, or were steered.
    Jobs,
}

impl LiveEvent {
    fn into_sse(self) -> Event {
        let name = match self {
            Self::Overview { .. } => "overview",
            Self::Changed { .. } => "changed",
            Self::Failing { .. } => "failing",
            Self::Logs { .. } => "logs",
        };
        // Plain numbers and strings: serialization cannot fail, and an empty event would be ignored.
        Event::default().event(name).json_data(self).unwrap_or_default()
    }
}

/// What tells whether lists have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    counts: Counts,
    /// Changes of the queue of jobs.
    jobs: u64,
    /// Files among the backups.
    backups: u64,
}

/// Which lists differ between two readings.
fn changed_topics(before: Option<Seen>, now: Seen) -> Vec<ChangedTopic> {
    let Some(before) = before else {
        return vec![ChangedTopic::Users, ChangedTopic::Rooms, ChangedTopic::Events, ChangedTopic::Jobs];
    };
    let mut topics = Vec::new();
    if before.jobs != now.jobs || before.backups != now.backups {
        topics.push(ChangedTopic::Jobs);
    }
    let (before, now) = (before.counts, now.counts);
    if before.users != now.users {
        topics.push(ChangedTopic::Users);
    }
    if before.rooms != now.rooms {
        topics.push(ChangedTopic::Rooms);
    }
    if before.events != now.events || before.messages != now.messages {
        topics.push(ChangedTopic::Events);
    }
    topics
}

struct Listener {
    admin: Arc<Admin>,
    wants_overview: bool,
    wants_changes: bool,
    logs: Option<LogFilter>,
    after: u64,
    seen: Option<Seen>,
    ticks: u32,
    interval: Interval,
    shutdown: std::pin::Pin<Box<WaitForCancellationFutureOwned>>,
    ready: Vec<Event>,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// The next event, or `None` when the server shuts down.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.ready.pop() {
                return Some((Ok(event), self));
            }
            tokio::select! {
                () = &mut self.shutdown => return None,
                _ = self.interval.tick() => self.look().await,
            }
        }
    }

    /// Collects what is new, in reverse: [`Self::next`] takes from the end.
    async fn look(&mut self) {
        if let Some(filter) = &self.logs {
            let page = self.admin.parts.logs.after(self.after, filter, LINES_PER_EVENT);
            self.after = page.next;
            if !page.lines.is_empty() || page.missed > 0 {
                self.ready.push(LiveEvent::Logs { lines: page.lines, missed: page.missed }.into_sse());
            }
        }
        let due = self.ticks.is_multiple_of(OVERVIEW_TICKS);
        self.ticks = self.ticks.wrapping_add(1);
        if !due || !(self.wants_overview || self.wants_changes) {
            return;
        }
        let overview = match self.admin.figures.read().await {
            Ok(overview) => overview,
            // The next tick tries again.
            Err(error) => {
                self.ready.push(LiveEvent::Failing { message: error.message }.into_sse());
                return;
            }
        };
        let counts = overview.counts;
        let seen = Seen { counts, jobs: overview.jobs.changes, backups: overview.backups.files };
        if self.wants_overview {
            self.ready.push(LiveEvent::Overview { overview: Box::new(overview) }.into_sse());
        }
        let topics = changed_topics(self.seen.replace(seen), seen);
        if self.wants_changes && !topics.is_empty() {
            self.ready.push(LiveEvent::Changed { counts, topics }.into_sse());
        }
    }
}

/// Live updates as server-sent events, until the server stops.
#[utoipa::path(get, path = "/events", tag = "server", params(LiveQuery), responses(
    (status = OK, body = LiveEvent, content_type = "text/event-stream"),
    (status = "default", body = AdminError),
))]
pub(super) async fn events(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<LiveQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, AdminError> {
    let (mut wants_overview, mut wants_changes, mut wants_logs) = (false, false, false);
    for topic in query.topics.as_deref().unwrap_or("overview,changes").split(',') {
        match topic.trim() {
            "overview" => wants_overview = true,
            "changes" => wants_changes = true,
            "logs" => wants_logs = true,
            _ => return Err(AdminError::invalid("topics", "A topic is overview, changes or logs.")),
        }
    }
    let permit = admin.listeners.clone().try_acquire_owned().map_err(|_| {
        AdminError::new(ErrorCode::Busy, "Too many dashboards are open at the same time. Close one and try again.")
    })?;
    let mut interval = interval(LOG_TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let shutdown: CancellationToken = admin.parts.shutdown.clone();
    let listener = Listener {
        wants_overview,
        wants_changes,
        logs: wants_logs.then_some(LogFilter { level: query.level, text: query.text }),
        after: query.after.unwrap_or_else(|| admin.parts.logs.last_seq()),
        seen: None,
        ticks: 0,
        interval,
        shutdown: Box::pin(shutdown.cancelled_owned()),
        ready: Vec::new(),
        _permit: permit,
        admin,
    };
    Ok(Sse::new(stream::unfold(listener, Listener::next)).keep_alive(KeepAlive::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_by_list() {
        let seen = |users, rooms, messages, events| Seen {
            counts: Counts { users, rooms, messages, events },
            jobs: 7,
            backups: 1,
        };
        let before = seen(1, 1, 1, 5);
        assert_eq!(changed_topics(None, before).len(), 4, "a new listener reads everything");
        assert_eq!(changed_topics(Some(before), before), []);
        assert_eq!(changed_topics(Some(before), seen(2, 1, 1, 5)), [ChangedTopic::Users]);
        assert_eq!(changed_topics(Some(before), seen(1, 2, 1, 9)), [ChangedTopic::Rooms, ChangedTopic::Events]);
        assert_eq!(changed_topics(Some(before), seen(1, 1, 2, 5)), [ChangedTopic::Events]);
        assert_eq!(changed_topics(Some(before), Seen { jobs: 8, ..before }), [ChangedTopic::Jobs]);
        assert_eq!(changed_topics(Some(before), Seen { backups: 2, ..before }), [ChangedTopic::Jobs]);
    }
}
