//! A healthy history has no finding, and each kind of damage is found.

use hearth_store::{Store, Transaction, Versionstamp, check::Report, first_stamp};
use ruma::{DeviceId, EventId, RoomId, UserId};

use crate::{
    PresenceState, ReceiptKind, Transitory,
    check::check,
    keys::{
        CHANGE, CHANGED_AT, DEVICE_PRESENCE, HEAD, PRESENCE, PRESENCE_DUE, RECEIPT, RECEIPT_AT, RECEIPT_LOG, TYPING,
        TYPING_UNTIL,
    },
    records::ReceiptSubject,
};

/// Some hundred things happen; the same for each seed.
async fn history(seed: u64) -> Store {
    let transitory = Transitory::new(Store::memory());
    let mut state = seed;
    let mut choose = |of: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % of
    };
    let mut now = 1_000_000;
    for _ in 0..300 {
        let user = UserId::parse(format!("@user{}:example.org", choose(4))).unwrap();
        let room = RoomId::parse(format!("!room{}:example.org", choose(3))).unwrap();
        let device = <&DeviceId>::from(if choose(2) == 0 { "PHONE" } else { "LAPTOP" });
        let event = EventId::parse(format!("$event{}", choose(20))).unwrap();
        let state = [PresenceState::Online, PresenceState::Unavailable, PresenceState::Offline][choose(3) as usize];
        now += choose(60_000);
        match choose(7) {
            0 => transitory.set_typing(&room, &user, Some(now + choose(40_000))).await.unwrap(),
            1 => transitory.set_typing(&room, &user, None).await.unwrap(),
            2 => transitory.seen(&user, device, state, now).await.unwrap(),
            3 => transitory.set_presence(&user, device, state, Some("hm"), now).await.unwrap(),
            4 => transitory.active(&user, device, now).await.unwrap(),
            5 => transitory.end_due(now).await.unwrap(),
            _ => {
                let kind = if choose(2) == 0 { ReceiptKind::Public } else { ReceiptKind::Private };
                let thread = [None, Some("main"), Some("$root")][choose(3) as usize];
                transitory.set_receipt(&room, &user, kind, thread, &event, now).await.unwrap();
            }
        }
    }
    // So that there is something of everything.
    let (room, user) = (RoomId::parse("!r:x").unwrap(), UserId::parse("@u:x").unwrap());
    transitory.set_typing(&room, &user, Some(now + 5)).await.unwrap();
    transitory.seen(&user, <&DeviceId>::from("D"), PresenceState::Online, now).await.unwrap();
    let event = EventId::parse("$e").unwrap();
    transitory.set_receipt(&room, &user, ReceiptKind::Public, None, &event, now).await.unwrap();
    transitory.store().clone()
}

async fn checked(store: &Store) -> Report {
    let report = Report::new();
    check(store, &report).await.unwrap();
    report
}

#[tokio::test]
async fn a_healthy_history_has_no_finding() {
    for seed in 0..20 {
        let report = checked(&history(seed).await).await;
        assert_eq!(report.kept(), [], "seed {seed}");
        assert!(report.rows() > 20);
    }
}

/// Damages a fresh store; the check must find something in `table` that says `words`.
async fn found(table: &str, words: &str, damage: impl AsyncFn(&Transaction)) {
    let store = history(1).await;
    let tx = store.begin();
    damage(&tx).await;
    tx.commit().await.unwrap();
    let report = checked(&store).await;
    let kept = report.kept();
    assert!(
        kept.iter().any(|finding| finding.table == table && finding.what.contains(words)),
        "{table}: {words}: {kept:#?}"
    );
}

fn never() -> Versionstamp {
    first_stamp(3)
}

#[tokio::test]
async fn every_damage_is_found() {
    let (room, user) = ("!r:x", "@u:x");
    found("transitory/head", "is behind the log", async |tx| HEAD.set(tx, (0,), &never())).await;
    found("transitory/change", "is not the newest", async |tx| CHANGED_AT.set(tx, (1, room), &never())).await;
    found("transitory/changed_at", "is not in the log", async |tx| {
        let at = CHANGED_AT.get(tx, (1, room)).await.unwrap().unwrap();
        CHANGE.clear(tx, (&at,));
    })
    .await;
    found("transitory/typing", "for ever", async |tx| TYPING_UNTIL.clear_prefix(tx, ())).await;
    found("transitory/typing_until", "who is not typing", async |tx| TYPING.clear(tx, (room, user))).await;
    found("transitory/receipt", "is not in the room's log", async |tx| RECEIPT_LOG.clear_prefix(tx, (room,))).await;
    found("transitory/receipt", "is not in the room's log", async |tx| RECEIPT_AT.clear_prefix(tx, (room,))).await;
    found("transitory/receipt_at", "does not exist", async |tx| RECEIPT.clear_prefix(tx, (room,))).await;
    found("transitory/receipt_log", "not the newest", async |tx| {
        let subject = ReceiptSubject { user: user.to_owned(), kind: 1, thread: String::new() };
        RECEIPT_LOG.set(tx, (room, &never()), &subject);
    })
    .await;
    found("transitory/presence", "never change by itself", async |tx| PRESENCE_DUE.clear_prefix(tx, ())).await;
    found("transitory/presence_due", "not due then", async |tx| PRESENCE_DUE.set(tx, (7, user), &())).await;
    found("transitory/device_presence", "who has none", async |tx| PRESENCE.clear(tx, (user,))).await;
    found("transitory/device_presence", "does not decode", async |tx| {
        tx.set(&DEVICE_PRESENCE.pack(&(user, "X")), b"?");
    })
    .await;
}
