//! The streams of the three databases, as the hub follows them.

use std::collections::HashSet;

use hearth_accounts::Accounts;
use hearth_rooms::{Membership, RoomNid, Rooms};
use hearth_store::{Transaction, Version, last_stamp, version_of};
use hearth_transitory::{Change, Transitory};
use ruma::UserId;

use crate::{
    SyncError,
    hub::{Look, News, Source},
};

/// Rows of a stream that are read at once; after more everybody is woken.
const ROWS: usize = 1000;

/// Publications in all rooms.
pub(crate) struct RoomsSource(pub(crate) Rooms);

impl Source for RoomsSource {
    const NAME: &'static str = "rooms";

    async fn look(&self, since: Option<Version>) -> Result<Look, SyncError> {
        let tx = self.0.store().begin();
        let head = self.0.stream_head(&tx).await?;
        let watch = self.0.watch_stream(&tx).await?;
        let news = match since {
            Some(since) => self.news(&tx, since).await?,
            None => News::Everyone,
        };
        tx.commit().await?;
        // Nothing that this transaction sees lies beyond the head, so the next look goes on from there.
        Ok(Look { head: head.map_or(0, |head| version_of(&head)), news, watch })
    }
}

impl RoomsSource {
    async fn news(&self, tx: &Transaction, since: Version) -> Result<News, SyncError> {
        let events = self.0.stream_since(tx, &last_stamp(since), ROWS).await?;
        if events.len() == ROWS {
            return Ok(News::Everyone);
        }
        let (mut rooms, mut users) = (HashSet::new(), HashSet::new());
        for event in events {
            rooms.insert(event.room);
            if let Some(member) = event.member {
                let name = self.0.state_key_name(tx, member).await?;
                // A server that comes or goes is no user.
                users.extend(UserId::parse(&*name).ok());
            }
        }
        Ok(News::About { rooms, users })
    }
}

/// Account data of all users.
pub(crate) struct AccountsSource(pub(crate) Accounts);

impl Source for AccountsSource {
    const NAME: &'static str = "accounts";

    async fn look(&self, since: Option<Version>) -> Result<Look, SyncError> {
        // Armed before the reading begins: what is committed in between is read and also fires.
        let watch = self.0.watch_all().await?;
        let Some(since) = since else {
            let head = self.0.store().current_version().await?;
            return Ok(Look { head, news: News::Everyone, watch });
        };
        let (users, head) = self.0.changed_users(since, ROWS).await?;
        let news = match users {
            Some(users) => News::About { rooms: HashSet::new(), users: users.into_iter().collect() },
            None => News::Everyone,
        };
        Ok(Look { head, news, watch })
    }
}

/// Typing, receipts and presence.
pub(crate) struct TransitorySource {
    pub(crate) transitory: Transitory,
    /// Knows in which rooms a user's presence is seen, and rooms' numeric ids.
    pub(crate) rooms: Rooms,
}

impl Source for TransitorySource {
    const NAME: &'static str = "transitory";

    async fn look(&self, since: Option<Version>) -> Result<Look, SyncError> {
        let tx = self.transitory.store().begin();
        let head = self.transitory.head(&tx).await?;
        let watch = self.transitory.watch(&tx).await?;
        let changes = match since {
            Some(since) => self.transitory.changes(&tx, since, ROWS).await?,
            None => None,
        };
        tx.commit().await?;
        let news = match changes {
            Some(changes) => self.news(changes).await?,
            None => News::Everyone,
        };
        Ok(Look { head, news, watch })
    }
}

impl TransitorySource {
    async fn news(&self, changes: Vec<Change>) -> Result<News, SyncError> {
        let tx = self.rooms.store().begin();
        let (mut rooms, mut users) = (HashSet::new(), HashSet::new());
        for change in changes {
            match change {
                Change::Typing(room) | Change::Receipts(room) => rooms.extend(self.rooms.find_room(&tx, &room).await?),
                Change::Presence(user) => {
                    rooms.extend(joined_rooms(&self.rooms, &tx, &user).await?);
                    users.insert(user);
                }
            }
        }
        Ok(News::About { rooms, users })
    }
}

async fn joined_rooms(rooms: &Rooms, tx: &Transaction, user: &UserId) -> Result<Vec<RoomNid>, SyncError> {
    let Some(user) = rooms.find_state_key(tx, user.as_str()).await? else { return Ok(Vec::new()) };
    let rooms = rooms.audience_rooms(tx, user).await?;
    Ok(rooms.into_iter().filter(|room| room.membership == Membership::Join).map(|room| room.room).collect())
}
