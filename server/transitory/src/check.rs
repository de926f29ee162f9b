//! Whether the rows of this database agree with each other. Changes nothing; others may write meanwhile.

use hearth_store::{
    Store, StoreError, Transaction, Versionstamp,
    check::{Report, Wrong, expect},
    version_of,
};

use crate::{
    keys::{
        CHANGE, CHANGED_AT, DEVICE_PRESENCE, HEAD, PRESENCE, PRESENCE_DUE, RECEIPT, RECEIPT_AT, RECEIPT_LOG, TYPING,
        TYPING_UNTIL,
    },
    records::ReceiptSubject,
};

const REMOVE: &str = "remove the row";
const REWRITE_LOG: &str = "write the row of the log anew";

type Found = Result<Vec<Wrong>, StoreError>;

/// Checks the whole database and reports what does not agree.
pub async fn check(store: &Store, report: &Report) -> Result<(), StoreError> {
    report.each(store, &HEAD, |tx, _, head| async move { newest_change(&tx, head).await }).await?;
    report
        .each(store, &CHANGE, |tx, (at,), change| async move {
            let known = CHANGED_AT.get_snapshot(&tx, (change.kind, &change.subject)).await?;
            let what =
                || format!("the change of {} at {} is not the newest of its subject", change.subject, version_of(&at));
            Ok(expect(known.as_ref() == Some(&at), what, REMOVE).into_iter().collect())
        })
        .await?;
    report
        .each(store, &CHANGED_AT, |tx, (kind, subject), at| async move {
            let change = CHANGE.get_snapshot(&tx, (&at,)).await?;
            let fits = change.is_some_and(|change| change.kind == kind && change.subject == subject);
            Ok(expect(fits, || format!("the newest change of {subject} is not in the log"), REWRITE_LOG)
                .into_iter()
                .collect())
        })
        .await?;
    report
        .each(store, &TYPING, |tx, (room, user), until| async move {
            let there = TYPING_UNTIL.get_snapshot(&tx, (until, &room, &user)).await?.is_some();
            let what = || format!("{user} would be typing in {room} for ever");
            Ok(expect(there, what, REMOVE).into_iter().collect())
        })
        .await?;
    report
        .each(store, &TYPING_UNTIL, |tx, (until, room, user), ()| async move {
            let typing = TYPING.get_snapshot(&tx, (&room, &user)).await?;
            let what = || format!("a timer for {user} in {room}, who is not typing until then");
            Ok(expect(typing == Some(until), what, REMOVE).into_iter().collect())
        })
        .await?;
    report.each(store, &RECEIPT, |tx, key, _| async move { receipt(&tx, key).await }).await?;
    report
        .each(store, &RECEIPT_AT, |tx, (room, user, kind, thread), _| async move {
            let there = RECEIPT.get_snapshot(&tx, (&room, &user, kind, &thread)).await?.is_some();
            let what = || format!("the place of a receipt of {user} in {room} that does not exist");
            Ok(expect(there, what, REMOVE).into_iter().collect())
        })
        .await?;
    report
        .each(store, &RECEIPT_LOG, |tx, (room, at), ReceiptSubject { user, kind, thread }| async move {
            let known = RECEIPT_AT.get_snapshot(&tx, (&room, &user, kind, &thread)).await?;
            let what = || format!("a receipt of {user} in {room} at {} that is not the newest", version_of(&at));
            Ok(expect(known.as_ref() == Some(&at), what, REMOVE).into_iter().collect())
        })
        .await?;
    report
        .each(store, &PRESENCE, |tx, (user,), presence| async move {
            let there = match presence.due {
                Some(due) => PRESENCE_DUE.get_snapshot(&tx, (due, &user)).await?.is_some(),
                None => true,
            };
            let what = || format!("the presence of {user} would never change by itself");
            Ok(expect(there, what, "write the row of the timer anew").into_iter().collect())
        })
        .await?;
    report
        .each(store, &PRESENCE_DUE, |tx, (due, user), ()| async move {
            let presence = PRESENCE.get_snapshot(&tx, (&user,)).await?;
            let what = || format!("a timer for the presence of {user}, which is not due then");
            Ok(expect(presence.is_some_and(|presence| presence.due == Some(due)), what, REMOVE).into_iter().collect())
        })
        .await?;
    report
        .each(store, &DEVICE_PRESENCE, |tx, (user, device), _| async move {
            let there = PRESENCE.get_snapshot(&tx, (&user,)).await?.is_some();
            let what = || format!("presence of the device {device} of {user}, who has none");
            Ok(expect(there, what, REMOVE).into_iter().collect())
        })
        .await
}

/// Whoever waits at the head must hear of everything in the log.
async fn newest_change(tx: &Transaction, head: Versionstamp) -> Found {
    let newest = CHANGE.scan(()).snapshot().reverse().first(tx).await?;
    let fits = newest.is_none_or(|((at,), _)| at <= head);
    let what = || format!("the head at {} is behind the log", version_of(&head));
    Ok(expect(fits, what, "move the head").into_iter().collect())
}

async fn receipt(tx: &Transaction, (room, user, kind, thread): (String, String, u64, String)) -> Found {
    let what = || format!("the receipt of {user} in {room} is not in the room's log");
    let subject = ReceiptSubject { user: user.clone(), kind, thread: thread.clone() };
    let fits = match RECEIPT_AT.get_snapshot(tx, (&room, &user, kind, &thread)).await? {
        Some(at) => RECEIPT_LOG.get_snapshot(tx, (&room, &at)).await? == Some(subject),
        None => false,
    };
    Ok(expect(fits, what, REWRITE_LOG).into_iter().collect())
}
