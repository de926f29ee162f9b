//! Members of rooms, from the rooms' side and from the users' and servers' side.

use hearth_store::{
    Store, StoreError, Transaction,
    check::{Report, expect},
};
use serde::Deserialize;

use super::{Found, REBUILD_MEMBERS, REMOVE, all, at, event_in, newest};
use crate::{
    Membership, RoomNid, StateKeyNid, TypeNid,
    keys::{LOCAL_MEMBER, MEMBER, MEMBERSHIP, MEMBERSHIP_LOG, ROOM, SERVER_USERS, STATE_AT, STATE_KEY},
    records::MembershipRecord,
};

/// What a member event says.
#[derive(Deserialize)]
struct MemberEvent {
    content: MemberContent,
}

#[derive(Deserialize)]
struct MemberContent {
    membership: String,
}

pub(super) async fn check(store: &Store, report: &Report) -> Result<(), StoreError> {
    report
        .each(store, &MEMBER, |tx, (room, user), record| async move { member(&tx, room, user, &record).await })
        .await?;
    report
        .each(store, &MEMBERSHIP, |tx, (audience, room), record| async move {
            membership(&tx, audience, room, &record).await
        })
        .await?;
    report
        .each(store, &MEMBERSHIP_LOG, |tx, (audience, stamp), change| async move {
            let there = event_in(&tx, change.room, change.event).await?.is_some();
            let what = || {
                let (audience, stamp, room) = (audience.0, at(&stamp), change.room.0);
                format!(
                    "the change of {audience} at {stamp} in room {room} is event {}, which is missing",
                    change.event.0
                )
            };
            all([expect(there, what, REMOVE)])
        })
        .await?;
    report
        .each(store, &LOCAL_MEMBER, |tx, (room, user), member| async move {
            let joined = MEMBER.get_snapshot(&tx, (room, user)).await?;
            let joined = joined.is_some_and(|record| record.membership == Membership::Join);
            let named = STATE_KEY.get_snapshot(&tx, (user,)).await?.as_ref() == Some(&member.user_id);
            let name = || format!("{} in room {}", member.user_id, room.0);
            all([
                expect(joined, || format!("{} would be notified and is not joined", name()), REMOVE),
                expect(named, || format!("{} is number {}, which is another", name(), user.0), REBUILD_MEMBERS),
            ])
        })
        .await?;
    report
        .each(store, &SERVER_USERS, |tx, (room, server), users| async move {
            let record = MEMBERSHIP.get_snapshot(&tx, (server, room)).await?;
            let joined = record.is_some_and(|record| record.membership == Membership::Join);
            let what = || format!("server {} has {users} users in room {} and is not in it", server.0, room.0);
            all([expect(joined && users > 0, what, REBUILD_MEMBERS)])
        })
        .await
}

async fn member(tx: &Transaction, room: RoomNid, user: StateKeyNid, record: &MembershipRecord) -> Found {
    let name = || format!("member {} of room {}", user.0, room.0);
    let reverse = MEMBERSHIP.get_snapshot(tx, (user, room)).await?;
    let same = reverse.is_some_and(|other| other.membership == record.membership && other.event == record.event);
    let event = event_in(tx, room, record.event).await?;
    let said = event.as_ref().and_then(|event| serde_json::from_str::<MemberEvent>(&event.json).ok());
    let fits = said.is_some_and(|said| said.content.membership == record.membership.as_str());
    let history = newest(&STATE_AT, (room, TypeNid::MEMBER, user), tx).await?;
    all([
        expect(
            same,
            || format!("{} has another membership on the user's side", name()),
            "write the user's side from the room's",
        ),
        expect(
            event.is_some(),
            || format!("{} has event {}, which is missing", name(), record.event.0),
            REBUILD_MEMBERS,
        ),
        expect(
            event.is_none() || fits,
            || format!("{} is {}, and its event says otherwise", name(), record.membership.as_str()),
            REBUILD_MEMBERS,
        ),
        expect(
            history.is_some_and(|(_, newest)| newest == record.event),
            || format!("{} has an event that is not the newest in the state's history", name()),
            REBUILD_MEMBERS,
        ),
    ])
}

/// The side of a user or a server.
async fn membership(tx: &Transaction, audience: StateKeyNid, room: RoomNid, record: &MembershipRecord) -> Found {
    let there = ROOM.get_snapshot(tx, (room,)).await?.is_some();
    let audience_name = STATE_KEY.get_snapshot(tx, (audience,)).await?;
    let name = || format!("the membership of {} ({:?}) in room {}", audience.0, audience_name, room.0);
    let matches = match &audience_name {
        None => false,
        Some(user) if user.starts_with('@') => {
            let member = MEMBER.get_snapshot(tx, (room, audience)).await?;
            member.is_some_and(|other| other.membership == record.membership && other.event == record.event)
        }
        Some(_) => {
            let users = SERVER_USERS.get_snapshot(tx, (room, audience)).await?.unwrap_or(0);
            (users > 0) == (record.membership == Membership::Join)
        }
    };
    all([
        expect(there, || format!("{}, which is missing", name()), REMOVE),
        expect(matches || !there, || format!("{} is not that in the room", name()), "write it from the room's side"),
    ])
}
