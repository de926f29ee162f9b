//! Tests of the database as its readers see it, on a store in memory. Times are chosen, not waited for.

use hearth_store::{Store, Transaction, Version};
use ruma::{RoomId, UserId, device_id, event_id, room_id, user_id};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Change, PresenceState, ReceiptKind, Transitory,
    presence::{ACTIVE_FOR, AWAY_AFTER, IDLE_AFTER},
    timers,
};

fn room() -> &'static RoomId {
    room_id!("!room:example.org")
}

fn alice() -> &'static UserId {
    user_id!("@alice:example.org")
}

fn bob() -> &'static UserId {
    user_id!("@bob:example.org")
}

struct Fixture {
    transitory: Transitory,
}

impl Fixture {
    fn new() -> Self {
        Self { transitory: Transitory::new(Store::memory()) }
    }

    fn tx(&self) -> Transaction {
        self.transitory.store().begin()
    }

    async fn head(&self) -> Version {
        self.transitory.head(&self.tx()).await.unwrap()
    }

    async fn changes(&self, since: Version) -> Vec<Change> {
        self.transitory.changes(&self.tx(), since, 100).await.unwrap().unwrap()
    }

    async fn typing(&self) -> Vec<String> {
        let typing = self.transitory.typing(&self.tx(), room()).await.unwrap();
        typing.into_iter().map(|user| user.localpart().to_owned()).collect()
    }

    /// `user/kind/thread=event` of each receipt.
    async fn receipts(&self, viewer: &UserId, since: Option<Version>) -> Vec<String> {
        let receipts = self.transitory.receipts(&self.tx(), room(), viewer, since).await.unwrap();
        receipts
            .into_iter()
            .map(|receipt| {
                let kind = match receipt.kind {
                    ReceiptKind::Public => "read",
                    ReceiptKind::Private => "private",
                };
                let thread = receipt.thread.unwrap_or_default();
                format!("{}/{kind}/{thread}={}", receipt.user.localpart(), receipt.event_id)
            })
            .collect()
    }

    async fn state(&self) -> (PresenceState, bool) {
        let presence = self.transitory.presence(&self.tx(), alice()).await.unwrap().unwrap();
        (presence.state, presence.currently_active)
    }
}

#[tokio::test]
async fn typing_starts_is_renewed_and_ends() {
    let fixture = Fixture::new();
    let transitory = &fixture.transitory;
    transitory.set_typing(room(), bob(), Some(1_000)).await.unwrap();
    transitory.set_typing(room(), alice(), Some(2_000)).await.unwrap();
    assert_eq!(fixture.typing().await, ["alice", "bob"]);
    assert_eq!(fixture.changes(0).await, [Change::Typing(room().to_owned())], "one row per subject");

    let head = fixture.head().await;
    transitory.set_typing(room(), bob(), Some(3_000)).await.unwrap();
    assert_eq!(fixture.changes(head).await, [], "renewing is no change");
    transitory.set_typing(room(), bob(), None).await.unwrap();
    assert_eq!(fixture.changes(head).await, [Change::Typing(room().to_owned())]);
    assert_eq!(fixture.typing().await, ["alice"]);

    let head = fixture.head().await;
    transitory.set_typing(room(), bob(), None).await.unwrap();
    assert_eq!(fixture.head().await, head, "who does not type cannot stop");
}

#[tokio::test]
async fn typing_expires_when_due_and_not_before() {
    let fixture = Fixture::new();
    let transitory = &fixture.transitory;
    transitory.set_typing(room(), alice(), Some(1_000)).await.unwrap();
    transitory.set_typing(room(), bob(), Some(1_500)).await.unwrap();
    transitory.set_typing(room(), alice(), Some(2_000)).await.unwrap();
    let head = fixture.head().await;
    transitory.end_due(1_499).await.unwrap();
    assert_eq!(fixture.head().await, head);
    transitory.end_due(1_500).await.unwrap();
    assert_eq!(fixture.typing().await, ["alice"], "the renewed one goes on");
    transitory.end_due(u64::MAX).await.unwrap();
    assert_eq!(fixture.typing().await, [""; 0]);
    assert_eq!(fixture.changes(head).await, [Change::Typing(room().to_owned())]);
}

#[tokio::test]
async fn the_task_ends_typing_and_wakes_watchers() {
    let fixture = Fixture::new();
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let transitory = fixture.transitory.clone();
    tasks.spawn({
        let stop = stop.clone();
        async move { transitory.run_timers(stop).await }
    });
    // Due long ago: ends as soon as the task looks.
    fixture.transitory.set_typing(room(), alice(), Some(1)).await.unwrap();
    loop {
        let tx = fixture.tx();
        let typing = fixture.transitory.typing(&tx, room()).await.unwrap();
        let watch = fixture.transitory.watch(&tx).await.unwrap();
        tx.commit().await.unwrap();
        if typing.is_empty() {
            break;
        }
        watch.changed().await.unwrap();
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn one_receipt_per_user_kind_and_thread() {
    let fixture = Fixture::new();
    let transitory = &fixture.transitory;
    let (one, two) = (event_id!("$one"), event_id!("$two"));
    let set =
        async |user, kind, thread, event| transitory.set_receipt(room(), user, kind, thread, event, 7).await.unwrap();
    assert!(set(alice(), ReceiptKind::Public, None, one).await);
    assert!(set(alice(), ReceiptKind::Public, Some("main"), one).await);
    assert!(set(bob(), ReceiptKind::Private, None, one).await);
    assert_eq!(
        fixture.receipts(alice(), None).await,
        ["alice/read/=$one", "alice/read/main=$one"],
        "another's private receipt stays private"
    );
    assert_eq!(fixture.receipts(bob(), None).await.len(), 3);

    let since = fixture.head().await;
    assert!(!set(alice(), ReceiptKind::Public, None, one).await, "the same again is no change");
    assert_eq!(fixture.head().await, since);
    assert!(set(alice(), ReceiptKind::Public, None, two).await);
    assert!(set(bob(), ReceiptKind::Public, None, two).await);
    assert_eq!(fixture.receipts(alice(), Some(since)).await, ["alice/read/=$two", "bob/read/=$two"]);
    assert_eq!(fixture.receipts(alice(), None).await, ["alice/read/=$two", "alice/read/main=$one", "bob/read/=$two"]);
    assert_eq!(fixture.receipts(alice(), Some(0)).await.len(), 3, "the log holds each receipt once");
    assert_eq!(fixture.changes(0).await, [Change::Receipts(room().to_owned())]);
}

#[tokio::test]
async fn receipts_of_ever_more_threads_do_not_pile_up() {
    let fixture = Fixture::new();
    for thread in 0..520 {
        let thread = format!("$thread{thread}");
        fixture
            .transitory
            .set_receipt(room(), alice(), ReceiptKind::Public, Some(&thread), event_id!("$one"), 7)
            .await
            .unwrap();
    }
    let receipts = fixture.receipts(alice(), None).await;
    assert_eq!(receipts.len(), 500);
    assert_eq!(fixture.receipts(alice(), Some(0)).await.len(), 500, "the log is trimmed with them");
    assert!(receipts.contains(&"alice/read/$thread519=$one".to_owned()));
    assert!(!receipts.contains(&"alice/read/$thread19=$one".to_owned()), "the oldest went first");
}

#[tokio::test]
async fn presence_is_put_together_from_devices() {
    let fixture = Fixture::new();
    let transitory = &fixture.transitory;
    let (phone, laptop) = (device_id!("PHONE"), device_id!("LAPTOP"));
    let start = 1_000_000;
    transitory.seen(alice(), phone, PresenceState::Offline, start).await.unwrap();
    assert!(transitory.presence(&fixture.tx(), alice()).await.unwrap().is_none(), "set_presence=offline says nothing");

    transitory.seen(alice(), phone, PresenceState::Online, start).await.unwrap();
    assert_eq!(fixture.state().await, (PresenceState::Online, true));
    transitory.seen(alice(), laptop, PresenceState::Unavailable, start + 1).await.unwrap();
    assert_eq!(fixture.state().await, (PresenceState::Online, true), "the best of the devices");
    let head = fixture.head().await;
    transitory.set_presence(alice(), phone, PresenceState::Offline, Some("away"), start + 2).await.unwrap();
    assert_eq!(fixture.state().await, (PresenceState::Unavailable, false));
    assert_eq!(fixture.changes(head).await, [Change::Presence(alice().to_owned())]);
    let presence = transitory.presence(&fixture.tx(), alice()).await.unwrap().unwrap();
    assert_eq!(presence.status_msg.as_deref(), Some("away"));
    assert_eq!(presence.last_active, Some(start + 2));

    transitory.end_due(start + AWAY_AFTER + 2).await.unwrap();
    assert_eq!(fixture.state().await, (PresenceState::Offline, false));
    let presence = transitory.presence(&fixture.tx(), alice()).await.unwrap().unwrap();
    assert_eq!(presence.status_msg.as_deref(), Some("away"), "the user's words stay");
}

#[tokio::test]
async fn who_does_nothing_goes_idle_and_comes_back() {
    let fixture = Fixture::new();
    let transitory = &fixture.transitory;
    let phone = device_id!("PHONE");
    let start = 1_000_000;
    let mut now = start;
    transitory.seen(alice(), phone, PresenceState::Online, now).await.unwrap();
    let mut states = Vec::new();
    // The device polls on, its user does nothing.
    while now < start + IDLE_AFTER + 60_000 {
        now += 30_000;
        transitory.seen(alice(), phone, PresenceState::Online, now).await.unwrap();
        transitory.end_due(now).await.unwrap();
        let state = fixture.state().await;
        if states.last().map(|(_, last)| *last) != Some(state) {
            states.push((now - start, state));
        }
    }
    assert_eq!(
        states,
        [
            (30_000, (PresenceState::Online, true)),
            (ACTIVE_FOR, (PresenceState::Online, false)),
            (IDLE_AFTER, (PresenceState::Unavailable, false)),
        ]
    );
    transitory.active(alice(), phone, now).await.unwrap();
    assert_eq!(fixture.state().await, (PresenceState::Online, true));
    transitory.set_presence(alice(), phone, PresenceState::Offline, None, now).await.unwrap();
    transitory.active(alice(), phone, now + 60_000).await.unwrap();
    transitory.active(alice(), device_id!("OTHER"), now + 60_000).await.unwrap();
    assert_eq!(fixture.state().await, (PresenceState::Offline, false), "who hides stays hidden");
}

#[tokio::test]
async fn signs_of_life_are_written_sparingly() {
    let fixture = Fixture::new();
    let transitory = &fixture.transitory;
    let phone = device_id!("PHONE");
    transitory.seen(alice(), phone, PresenceState::Online, 1_000_000).await.unwrap();
    let commits = transitory.store().stats().commits;
    for poll in 0..100 {
        transitory.seen(alice(), phone, PresenceState::Online, 1_000_000 + poll).await.unwrap();
        transitory.active(alice(), phone, 1_000_000 + poll).await.unwrap();
    }
    assert_eq!(transitory.store().stats().commits, commits);
}

#[tokio::test]
async fn too_many_changes_are_said_to_be_too_many() {
    let fixture = Fixture::new();
    for (index, room) in [room_id!("!a:x"), room_id!("!b:x"), room_id!("!c:x")].into_iter().enumerate() {
        fixture.transitory.set_typing(room, alice(), Some(index as u64 + 1)).await.unwrap();
    }
    let tx = fixture.tx();
    assert_eq!(fixture.transitory.changes(&tx, 0, 2).await.unwrap(), None);
    assert_eq!(fixture.transitory.changes(&tx, 0, 3).await.unwrap().unwrap().len(), 3);
    let change = Change::Typing(room_id!("!b:x").to_owned());
    assert!(fixture.transitory.changed_since(&tx, &change, 0).await.unwrap());
    assert!(!fixture.transitory.changed_since(&tx, &change, fixture.head().await).await.unwrap());
    // All three expire in one transaction and must still be told apart.
    let since = fixture.head().await;
    fixture.transitory.end_due(10).await.unwrap();
    assert_eq!(fixture.changes(since).await.len(), 3);
}

#[tokio::test]
async fn a_device_that_hides_through_one_process_shows_itself_through_the_other() {
    let fixture = Fixture::new();
    let (here, there) = (&fixture.transitory, Transitory::new(fixture.transitory.store().clone()));
    let phone = device_id!("PHONE");
    let start = 1_000_000;
    here.seen(alice(), phone, PresenceState::Online, start).await.unwrap();
    there.set_presence(alice(), phone, PresenceState::Offline, None, start + 1).await.unwrap();
    assert_eq!(fixture.state().await.0, PresenceState::Offline);
    // What follows the log of changes in each process.
    fixture.changes(0).await;
    here.seen(alice(), phone, PresenceState::Online, start + 2).await.unwrap();
    assert_eq!(
        fixture.state().await.0,
        PresenceState::Online,
        "although the process had told the same two milliseconds ago"
    );

    // Its own changes are no reason to write again.
    fixture.changes(0).await;
    let commits = here.store().stats().commits;
    here.seen(alice(), phone, PresenceState::Online, start + 3).await.unwrap();
    assert_eq!(here.store().stats().commits, commits);
}

#[tokio::test]
async fn what_a_process_began_another_one_ends() {
    let fixture = Fixture::new();
    let gone = Transitory::new(fixture.transitory.store().clone());
    let stop = CancellationToken::new();
    let timers = async {
        // Two processes that both want to.
        tokio::join!(fixture.transitory.run_timers(stop.clone()), async {
            let second = Transitory::new(fixture.transitory.store().clone());
            second.run_timers(stop.clone()).await;
        })
    };
    let typing = async {
        gone.set_typing(room(), alice(), Some(timers::now() + 30)).await.unwrap();
        drop(gone);
        loop {
            let tx = fixture.tx();
            let watch = fixture.transitory.watch(&tx).await.unwrap();
            let typing = fixture.transitory.typing(&tx, room()).await.unwrap();
            tx.commit().await.unwrap();
            if typing.is_empty() {
                break;
            }
            watch.changed().await.unwrap();
        }
        stop.cancel();
    };
    tokio::join!(timers, typing);
}
