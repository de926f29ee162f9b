//! Whether the rows of this database agree with each other. Changes nothing; others may write meanwhile.

use hearth_store::{
    Store, StoreError, Transaction,
    check::{Report, Wrong, expect},
    version_of,
};

use crate::{
    expiry::Expiring,
    keys::{
        COUNTER, DATA, DATA_AT, DATA_LOG, DEVICE, DEVICE_TOKEN, EXPIRY, FILTER, HEAD, LOGIN_TOKEN, NONCE, PROFILE,
        PUSHER, PUSHKEY, SEEN, STREAM, TOKEN, UIA, UNFINISHED, USER, USER_HEAD,
    },
    records::DataChange,
    users::ACTIVE_USERS,
};

const REMOVE: &str = "remove the row";
const REWRITE_LOG: &str = "write the row of the log anew";

type Found = Result<Vec<Wrong>, StoreError>;

/// Checks the whole database and reports what does not agree.
pub async fn check(store: &Store, report: &Report) -> Result<(), StoreError> {
    users(store, report).await?;
    sessions(store, report).await?;
    what_expires(store, report).await?;
    account_data(store, report).await?;
    pushers(store, report).await
}

/// Nothing wrong, or this.
#[expect(clippy::unnecessary_wraps, reason = "what a look at a row returns")]
fn one(wrong: Option<Wrong>) -> Found {
    Ok(wrong.into_iter().collect())
}

async fn is_active(tx: &Transaction, user: &str) -> Result<bool, StoreError> {
    Ok(USER.get_snapshot(tx, (user,)).await?.is_some_and(|record| !record.deactivated))
}

async fn users(store: &Store, report: &Report) -> Result<(), StoreError> {
    count_users(store, report).await?;
    report
        .each(store, &UNFINISHED, |tx, (user,), ()| async move {
            let record = USER.get_snapshot(&tx, (&user,)).await?;
            let what = || format!("{user} is to leave all rooms and is not deactivated");
            one(expect(record.is_some_and(|record| record.deactivated), what, REMOVE))
        })
        .await?;
    report
        .each(store, &PROFILE, |tx, (user,), _| async move {
            let there = USER.get_snapshot(&tx, (&user,)).await?.is_some();
            one(expect(there, || format!("a profile of {user}, who does not exist"), REMOVE))
        })
        .await?;
    report
        .each(store, &FILTER, |tx, (user, filter), _| async move {
            let there = USER.get_snapshot(&tx, (&user,)).await?.is_some();
            one(expect(there, || format!("filter {filter} of {user}, who does not exist"), REMOVE))
        })
        .await
}

/// The number of active users. Looked at again where it changed meanwhile.
async fn count_users(store: &Store, report: &Report) -> Result<(), StoreError> {
    let counter = || async {
        let read = |tx: Transaction| async move { COUNTER.get(&tx, (ACTIVE_USERS,)).await };
        store.transact("check.count", read).await.map(Option::unwrap_or_default)
    };
    for _ in 0..3 {
        let before = counter().await?;
        let active = std::sync::atomic::AtomicU64::new(0);
        let found = Report::new();
        found
            .each(store, &USER, |_, _, record| {
                if !record.deactivated {
                    active.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                std::future::ready(Ok(Vec::new()))
            })
            .await?;
        let active = active.into_inner();
        if counter().await? == before {
            report.absorb(&found);
            let what = format!("{before} active users are counted, and there are {active}");
            report.add_wrong(&COUNTER.name(), expect(active == before, || what, "set the counter"));
            break;
        }
    }
    Ok(())
}

async fn sessions(store: &Store, report: &Report) -> Result<(), StoreError> {
    report
        .each(store, &DEVICE, |tx, (user, device), _| async move {
            let what = || format!("device {device} of {user}, who does not exist or is deactivated");
            one(expect(is_active(&tx, &user).await?, what, REMOVE))
        })
        .await?;
    report
        .each(store, &SEEN, |tx, (user, device), _| async move {
            let there = DEVICE.get_snapshot(&tx, (&user, &device)).await?.is_some();
            one(expect(there, || format!("device {device} of {user} was seen and does not exist"), REMOVE))
        })
        .await?;
    report
        .each(store, &TOKEN, |tx, (hash,), token| async move {
            let (user, device) = (&token.user, &token.device);
            let of = DEVICE.get_snapshot(&tx, (user, device)).await?.is_some();
            let listed = DEVICE_TOKEN.get_snapshot(&tx, (user, device, &hash)).await?.is_some();
            let missing = || format!("a token of device {device} of {user}, which does not exist");
            let unlisted = || format!("a token of device {device} of {user} that would outlive it");
            Ok(expect(of, missing, REMOVE)
                .into_iter()
                .chain(expect(listed, unlisted, "list the token with its device"))
                .collect())
        })
        .await?;
    report
        .each(store, &DEVICE_TOKEN, |tx, (user, device, hash), ()| async move {
            let token = TOKEN.get_snapshot(&tx, (&hash,)).await?;
            let fits = token.is_some_and(|token| token.user == user && token.device == device);
            one(expect(fits, || format!("a listed token of device {device} of {user} that does not exist"), REMOVE))
        })
        .await?;
    report
        .each(store, &LOGIN_TOKEN, |tx, (hash,), token| async move {
            let there = USER.get_snapshot(&tx, (&token.user,)).await?.is_some();
            let expires = EXPIRY.get_snapshot(&tx, (token.expires_ts, Expiring::LoginToken as u64, &hash)).await?;
            let user = &token.user;
            Ok(expect(there, || format!("a login token of {user}, who does not exist"), REMOVE)
                .into_iter()
                .chain(expect(expires.is_some(), || format!("a login token of {user} that is never removed"), REMOVE))
                .collect())
        })
        .await
}

async fn what_expires(store: &Store, report: &Report) -> Result<(), StoreError> {
    report
        .each(store, &UIA, |tx, (session,), record| async move {
            let expires = EXPIRY.get_snapshot(&tx, (record.expires_ts, Expiring::Uia as u64, &session)).await?;
            one(expect(expires.is_some(), || "a session of authentication that is never removed".to_owned(), REMOVE))
        })
        .await?;
    report
        .each(store, &NONCE, |tx, (nonce,), expires| async move {
            let expires = EXPIRY.get_snapshot(&tx, (expires, Expiring::Nonce as u64, &nonce)).await?;
            one(expect(expires.is_some(), || "a nonce that is never removed".to_owned(), REMOVE))
        })
        .await
}

async fn account_data(store: &Store, report: &Report) -> Result<(), StoreError> {
    report
        .each(store, &DATA, |tx, (user, room, event_type, part), _| async move {
            let name = || format!("{event_type} of {user} in {room:?}");
            let active = is_active(&tx, &user).await?;
            let dated = DATA_AT.get_snapshot(&tx, (&user, &room, &event_type)).await?.is_some();
            let whole = match part {
                0 => true,
                part => DATA.get_snapshot(&tx, (&user, &room, &event_type, part - 1)).await?.is_some(),
            };
            Ok([
                expect(active, || format!("{}, who does not exist or is deactivated", name()), REMOVE),
                expect(dated, || format!("{} is not in the log", name()), REWRITE_LOG),
                expect(
                    whole,
                    || format!("{} misses its part {}", name(), part - 1),
                    "none: the client writes it again",
                ),
            ]
            .into_iter()
            .flatten()
            .collect())
        })
        .await?;
    report
        .each(store, &DATA_AT, |tx, (user, room, event_type), at| async move {
            let change = DATA_LOG.get_snapshot(&tx, (&user, &at)).await?;
            let logged = change.is_some_and(|change| change.room == room && change.event_type == event_type);
            let there = DATA.get_snapshot(&tx, (&user, &room, &event_type, 0)).await?.is_some();
            let name = || format!("{event_type} of {user} in {room:?}");
            Ok(expect(logged, || format!("{} is not in the log", name()), REWRITE_LOG)
                .into_iter()
                .chain(expect(there, || format!("{} has no content", name()), REMOVE))
                .collect())
        })
        .await?;
    report
        .each(store, &DATA_LOG, |tx, (user, at), change| async move {
            let DataChange { room, event_type } = change;
            let known = DATA_AT.get_snapshot(&tx, (&user, &room, &event_type)).await?;
            let streamed = STREAM.get_snapshot(&tx, (&at,)).await?;
            let head = USER_HEAD.get_snapshot(&tx, (&user,)).await?;
            let name = || format!("the change of {event_type} of {user} at {}", version_of(&at));
            Ok([
                expect(known.as_ref() == Some(&at), || format!("{} is not the newest", name()), REMOVE),
                expect(streamed.as_ref() == Some(&user), || format!("{} is not in the stream", name()), REWRITE_LOG),
                expect(
                    head.is_some_and(|head| at <= head),
                    || format!("{} is past the user's head", name()),
                    "move the head",
                ),
            ]
            .into_iter()
            .flatten()
            .collect())
        })
        .await?;
    report
        .each(store, &STREAM, |tx, (at,), user| async move {
            let there = DATA_LOG.get_snapshot(&tx, (&user, &at)).await?.is_some();
            let head = HEAD.get_snapshot(&tx, (0,)).await?;
            let name = || format!("the change of {user} at {}", version_of(&at));
            Ok(expect(there, || format!("{} is not in the user's log", name()), REMOVE)
                .into_iter()
                .chain(expect(
                    head.is_some_and(|head| at <= head),
                    || format!("{} is past the head", name()),
                    "move the head",
                ))
                .collect())
        })
        .await
}

async fn pushers(store: &Store, report: &Report) -> Result<(), StoreError> {
    report
        .each(store, &PUSHER, |tx, (user, app_id, pushkey), pusher| async move {
            let listed = PUSHKEY.get_snapshot(&tx, (&app_id, &pushkey, &user)).await?.is_some();
            let device = DEVICE.get_snapshot(&tx, (&user, &pusher.device)).await?.is_some();
            let name = || format!("pusher {app_id} of {user}");
            Ok(expect(listed, || format!("{} is not listed by its key", name()), "list it")
                .into_iter()
                .chain(expect(
                    device,
                    || format!("{} is of the device {}, which does not exist", name(), pusher.device),
                    REMOVE,
                ))
                .collect())
        })
        .await?;
    report
        .each(store, &PUSHKEY, |tx, (app_id, pushkey, user), ()| async move {
            let there = PUSHER.get_snapshot(&tx, (&user, &app_id, &pushkey)).await?.is_some();
            one(expect(there, || format!("a listed pusher {app_id} of {user} that does not exist"), REMOVE))
        })
        .await
}
