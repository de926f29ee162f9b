//! [`GET /sync`](https://spec.matrix.org/v1.19/client-server-api/#syncing): the batches of a user in the form of
//! version 2 of the sync API.

mod asker;
mod ephemeral;
mod events;
mod joined;
mod left;
mod presence;
mod state;
mod stored_filter;
mod timeline;

use std::{collections::HashMap, time::Duration};

use hearth_accounts::changes::AccountDatum;
use hearth_rooms::RoomNid;
use hearth_transitory::timers;
use ruma::{DeviceId, UserId, api::client::sync::sync_events::v3, serde::Raw};
use tokio::time::Instant;

use self::asker::{Asker, Span};
use crate::{Audience, Batch, Limits, Reading, RoomBatch, Standing, SyncEngine, SyncError, SyncPosition, hub::Sample};

/// Longest time that a request waits. Shorter than what makes a device count as away.
const LONGEST_POLL: Duration = Duration::from_secs(90);

/// A response, and where the next one begins.
type Answer = (v3::Response, SyncPosition);

impl SyncEngine {
    /// Answers `GET /sync` for a device.
    #[tracing::instrument(skip_all)]
    pub async fn sync(
        &self,
        user: &UserId,
        device: &DeviceId,
        request: &v3::Request,
    ) -> Result<v3::Response, SyncError> {
        let since: Option<SyncPosition> = request.since.as_deref().map(str::parse).transpose()?;
        let set_presence = crate::presence::state(&request.set_presence)?;
        let mut asker = Asker {
            user,
            device,
            filter: self.filter(user, request.filter.as_ref()).await?,
            full_state: request.full_state,
            state_after: request.use_state_after,
            ignored: Vec::new(),
        };
        if asker.filter.is_lazy() {
            self.0.members_sent.device(user, device).continues_from(since.map(|since| since.rooms));
        }
        self.0.transitory.seen(user, device, set_presence, timers::now()).await?;

        let timeout = request.timeout.unwrap_or_default().min(LONGEST_POLL);
        let answer = if since.is_none() || request.full_state || timeout.is_zero() {
            match self.sample(&mut asker, since).await? {
                Sample::Something(answer) | Sample::Nothing { answer, .. } => answer,
            }
        } else {
            let asker = &tokio::sync::Mutex::new(asker);
            let sample = |previous: Option<Answer>| async move {
                // An empty response ends where the next one may begin.
                let since = previous.map(|(_, position)| position).or(since);
                self.sample(&mut *asker.lock().await, since).await
            };
            self.0.hub.poll(user, Instant::now() + timeout, sample).await?
        };
        Ok(answer.0)
    }

    /// Reads what there is after `since`.
    async fn sample(&self, asker: &mut Asker<'_>, since: Option<SyncPosition>) -> Result<Sample<Answer>, SyncError> {
        let limits = Limits {
            left_rooms: asker.filter.include_leave && (since.is_none() || asker.full_state),
            every_joined_room: asker.full_state,
        };
        let audience = Audience::User(asker.user.to_owned());
        let (mut batch, reading) = self.next_batch(&audience, since, limits).await?;
        let position = batch.position;
        let mut response = v3::Response::new(position.to_string());
        // Fallback keys come with encryption; that the field is there keeps clients from probing for it.
        response.device_unused_fallback_key_types = Some(Vec::new());
        if !batch.is_empty() {
            asker.ignored = self.ignored_users(asker.user).await?;
            self.fill(asker, since, &mut batch, reading, &mut response).await?;
        }
        let answer = (response, position);
        Ok(if is_empty(&answer.0) {
            Sample::Nothing { answer, rooms: batch.joined }
        } else {
            Sample::Something(answer)
        })
    }

    /// Writes what is in the batch into the response.
    async fn fill(
        &self,
        asker: &Asker<'_>,
        since: Option<SyncPosition>,
        batch: &mut Batch,
        mut reading: Reading,
        response: &mut v3::Response,
    ) -> Result<(), SyncError> {
        let rooms = &self.0.rooms;
        let mut room_data: HashMap<RoomNid, Vec<AccountDatum>> = HashMap::new();
        for datum in std::mem::take(&mut batch.account_data) {
            let Some(room) = &datum.room else {
                if asker.filter.account_data.accepts_type(&datum.event_type) {
                    response.account_data.events.extend(account_event(&datum));
                }
                continue;
            };
            if let Some(room) = rooms.find_room(&reading.rooms(), room).await? {
                room_data.entry(room).or_default().push(datum);
            }
        }
        // A user whom no room ever saw has account data at most.
        let Some(nid) = batch.audience else { return Ok(()) };
        for room in room_data.keys().filter(|room| batch.joined.contains(room)) {
            if !batch.rooms.iter().any(|entry| entry.room == *room) {
                batch.rooms.push(RoomBatch::without_events(*room, since.map(|since| since.rooms)));
            }
        }
        let mut span = Span { asker, since, nid, reading, met: Vec::new() };
        let mut all_room_data = None;
        for room in &batch.rooms {
            let info = rooms.room_info(&span.rooms(), room.room).await?;
            if !asker.filter.rooms.accepts_room(info.room_id.as_str()) {
                continue;
            }
            let is_new = room.since.is_none() && since.is_some();
            let mut data = room_data.remove(&room.room).unwrap_or_default();
            if is_new && matches!(room.standing, Standing::Joined) {
                // Data that was set before the room was the user's.
                let all = match &mut all_room_data {
                    Some(all) => all,
                    None => all_room_data.insert(self.0.accounts.changes_since(asker.user, 0).await?.account_data),
                };
                data = all.iter().filter(|datum| datum.room.as_ref() == Some(&info.room_id)).cloned().collect();
            }
            data.retain(|datum| {
                let filter = &asker.filter.room_account_data;
                filter.accepts_type(&datum.event_type) && filter.accepts_room(info.room_id.as_str())
            });
            let data = data.iter().filter_map(account_event).collect();
            let room_id = info.room_id.clone();
            match &room.standing {
                Standing::Joined => {
                    let mut joined = self.joined(&mut span, &info, room).await?;
                    joined.account_data.events = data;
                    if room.since.is_none() || asker.state_after && room.events || !joined.is_empty() {
                        response.rooms.join.insert(room_id, joined);
                    }
                }
                Standing::Left(step) => {
                    if let Some(mut left) = self.left(&mut span, room, step.as_ref()).await? {
                        left.account_data.events = data;
                        response.rooms.leave.insert(room_id, left);
                    }
                }
                Standing::Invited(inviter) => {
                    let tx = span.rooms();
                    if !asker.ignores(&rooms.state_key_name(&tx, *inviter).await?) {
                        let mut invited = v3::InvitedRoom::new();
                        invited.invite_state.events = rooms.stripped_state(&tx, room.room, nid).await?;
                        response.rooms.invite.insert(room_id, invited);
                    }
                }
                Standing::Knocked => {
                    let mut knocked = v3::KnockedRoom::new();
                    knocked.knock_state.events = rooms.stripped_state(&span.rooms(), room.room, nid).await?;
                    response.rooms.knock.insert(room_id, knocked);
                }
            }
        }
        if asker.filter.wants_presence() {
            response.presence.events = self.presence(&mut span, batch).await?;
        }
        Ok(())
    }

    /// Whom the user ignores ([§](https://spec.matrix.org/v1.19/client-server-api/#ignoring-users)).
    async fn ignored_users(&self, user: &UserId) -> Result<Vec<String>, SyncError> {
        #[derive(serde::Deserialize)]
        struct Ignored {
            ignored_users: serde_json::Map<String, serde_json::Value>,
        }
        let content = self.0.accounts.account_data(user, None, "m.ignored_user_list").await?;
        let ignored = content.and_then(|content| serde_json::from_str::<Ignored>(content.get()).ok());
        // Nobody loses their own events by accident.
        Ok(ignored.map_or_else(Vec::new, |ignored| {
            ignored
                .ignored_users
                .into_iter()
                .map(|(ignored, _)| ignored)
                .filter(|ignored| ignored != user.as_str())
                .collect()
        }))
    }
}

/// Whether there is nothing that a client would have to be told of.
fn is_empty(response: &v3::Response) -> bool {
    // Not `Rooms::is_empty`, which does not look at knocks.
    response.rooms.is_empty()
        && response.rooms.knock.is_empty()
        && response.presence.is_empty()
        && response.account_data.is_empty()
        && response.to_device.is_empty()
        && response.device_lists.is_empty()
}

/// Account data as an event.
fn account_event<T>(datum: &AccountDatum) -> Option<Raw<T>> {
    #[derive(serde::Serialize)]
    struct Event<'a> {
        r#type: &'a str,
        content: &'a serde_json::value::RawValue,
    }
    let event = Event { r#type: &datum.event_type, content: &datum.content };
    serde_json::value::to_raw_value(&event).ok().map(Raw::from_json)
}
