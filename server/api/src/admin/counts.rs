//! How much there is on the server.

use super::{Admin, endpoints::overview::Counts, error::AdminError};

/// Remembers the number of rooms: it is counted by reading them, and can only have changed
/// when there are new events.
#[derive(Debug, Default)]
pub(super) struct Counter {
    rooms_at_events: tokio::sync::Mutex<Option<(u64, u64)>>,
}

impl Admin {
    /// The numbers now.
    pub(super) async fn counts(&self) -> Result<Counts, AdminError> {
        let totals = self.parts.rooms.totals().await?;
        let mut known = self.counter.rooms_at_events.lock().await;
        let rooms = match *known {
            Some((events, rooms)) if events == totals.events => rooms,
            _ => self.parts.rooms.count_rooms().await? as u64,
        };
        *known = Some((totals.events, rooms));
        Ok(Counts {
            users: self.parts.accounts.user_count().await?,
            rooms,
            messages: totals.messages,
            events: totals.events,
        })
    }
}
