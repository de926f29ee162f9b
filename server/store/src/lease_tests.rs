use proptest::prelude::*;

use super::*;
use crate::{Table, Versionstamp};

/// What the holders wrote, in the order of the commits: their tokens.
const LOG: Table<(Versionstamp,), u64> = Table::new("test", "log");

fn options(holder: &str) -> LeaseOptions {
    LeaseOptions { name: "test/lease".into(), holder: holder.into(), lifetime: Duration::from_secs(10) }
}

async fn try_at(store: &Store, holder: &str, now: u64) -> Option<Lease> {
    Lease::acquire_at(store, &options(holder), now, None).await.unwrap().ok()
}

async fn is_held(lease: &Lease) -> bool {
    match lease.guard(&lease.store.begin()).await {
        Ok(()) => true,
        Err(LeaseError::Lost(name)) => {
            assert_eq!(name, "test/lease");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn one_at_a_time_and_the_token_grows() {
    let store = Store::memory();
    let one = try_at(&store, "one", 0).await.unwrap();
    assert_eq!(one.token(), 1);
    assert!(try_at(&store, "two", 0).await.is_none());
    assert!(try_at(&store, "one", 0).await.is_none(), "nor the same holder twice");
    one.renew_at(5_000).await.unwrap();
    assert!(try_at(&store, "two", 17_499).await.is_none(), "it lives until 15 s, and there is a margin");
    let two = try_at(&store, "two", 17_500).await.unwrap();
    assert_eq!(two.token(), 2);
    assert!(!is_held(&one).await && is_held(&two).await);
    assert!(matches!(one.renew().await, Err(LeaseError::Lost(_))));
    one.release().await.unwrap();
    assert!(is_held(&two).await, "what is lost cannot be given back");
    let info = leases(&store).await.unwrap();
    assert_eq!((info[0].holder.as_deref(), info[0].token, info[0].until), (Some("two"), 2, 27_500));
    two.clone().release().await.unwrap();
    assert!(!is_held(&two).await);
    let again = try_at(&store, "two", 17_500).await.unwrap();
    assert_eq!(again.token(), 3, "although nobody had it in between");
    assert!(!is_held(&two).await);
}

#[tokio::test]
async fn a_guarded_transaction_of_an_older_holder_fails() {
    let store = Store::memory();
    let one = try_at(&store, "one", 0).await.unwrap();
    let tx = store.begin();
    one.guard(&tx).await.unwrap();
    tx.set(b"by one", b"");
    // A renewal is no conflict.
    one.renew_at(1).await.unwrap();
    let other = store.begin();
    one.guard(&other).await.unwrap();
    other.set(b"by one too", b"");
    other.commit().await.unwrap();
    try_at(&store, "two", 60_000).await.unwrap();
    assert!(matches!(tx.commit().await, Err(StoreError::Conflict)));
}

#[tokio::test]
async fn leases_are_handed_over() {
    let store = Store::memory();
    let stop = CancellationToken::new();
    let one = Lease::try_acquire(&store, &options("one")).await.unwrap().unwrap();
    let second = options("two");
    let waiting = acquire(&store, &second, &stop);
    let give_back = async {
        tokio::task::yield_now().await;
        one.release().await.unwrap();
    };
    let (two, ()) = tokio::join!(waiting, give_back);
    assert_eq!(two.unwrap().token(), 2, "as soon as it is free, long before it lapses");
}

#[tokio::test]
async fn a_clock_that_was_wrong_blocks_nobody_for_long() {
    let store = Store::memory();
    let short = |holder: &str| LeaseOptions { lifetime: Duration::from_millis(40), ..options(holder) };
    let future = now() + 1_000_000_000;
    Lease::acquire_at(&store, &short("one"), future, None).await.unwrap().unwrap();
    let stop = CancellationToken::new();
    let begin = Instant::now();
    let two = acquire(&store, &short("two"), &stop).await.unwrap();
    assert_eq!(two.token(), 2);
    assert!(begin.elapsed() >= Duration::from_millis(50), "only after the lease's own lifetime");
    stop.cancel();
    assert!(acquire(&store, &short("three"), &stop).await.is_none());
}

#[tokio::test]
async fn work_stops_when_the_lease_is_lost_and_begins_again() {
    let store = Store::memory();
    let stop = CancellationToken::new();
    let (begun, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let work = |lease: Lease, until: CancellationToken| {
        let begun = begun.clone();
        async move {
            begun.send(lease.token()).unwrap();
            until.cancelled().await;
        }
    };
    let other = async {
        let before = runs.recv().await.unwrap();
        // Somebody whose clock is far ahead takes it, and gives it back.
        let thief = try_at(&store, "two", now() + 1_000_000).await.unwrap();
        assert!(thief.token() > before);
        let taken = thief.token();
        thief.release().await.unwrap();
        while runs.recv().await.unwrap() <= taken {}
        stop.cancel();
    };
    let one = LeaseOptions { lifetime: Duration::from_millis(300), ..options("one") };
    tokio::join!(hold(&store, &one, &stop, work), other);
    assert_eq!(leases(&store).await.unwrap()[0].holder, None, "given back at the stop");
}

/// What happens to one of the holders.
#[derive(Debug, Clone, Copy)]
enum Step {
    Acquire,
    /// Begins a transaction and reads the guard in it.
    Begin,
    /// Commits that transaction.
    Commit,
    Renew,
    Release,
    /// Its clock goes on by so many seconds, or back.
    Clock(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Acquire),
        4 => Just(Step::Begin),
        4 => Just(Step::Commit),
        2 => Just(Step::Renew),
        1 => Just(Step::Release),
        3 => (-20_i64..40).prop_map(Step::Clock),
    ]
}

#[derive(Default)]
struct Holder {
    clock: u64,
    lease: Option<Lease>,
    open: Option<(Transaction, u64)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever their clocks say: no transaction under an older token commits after one under a newer token, tokens
    /// are given away once, and two never believe to hold the same one.
    #[test]
    fn tokens_never_go_back(steps in prop::collection::vec((0..3_usize, step()), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let store = Store::memory();
            let mut holders: [Holder; 3] = std::array::from_fn(|_| Holder { clock: 1_000_000, ..Holder::default() });
            let mut given = 0;
            for (index, step) in steps {
                let holder = &mut holders[index];
                match step {
                    Step::Clock(seconds) => holder.clock = holder.clock.saturating_add_signed(seconds * 1000),
                    Step::Acquire => {
                        if let Some(lease) = try_at(&store, &format!("holder {index}"), holder.clock).await {
                            prop_assert!(lease.token() > given, "a token is given away once");
                            given = lease.token();
                            holder.lease = Some(lease);
                        }
                    }
                    Step::Begin => {
                        let Some(lease) = &holder.lease else { continue };
                        let tx = store.begin();
                        match lease.guard(&tx).await {
                            Ok(()) => {
                                prop_assert_eq!(lease.token(), given, "only the newest holder passes the guard");
                                let at = Versionstamp::incomplete(0);
                                LOG.set_versionstamped_key(&tx, (&at,), &lease.token());
                                holder.open = Some((tx, lease.token()));
                            }
                            Err(LeaseError::Lost(_)) => holder.lease = None,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    Step::Commit => {
                        let Some((tx, token)) = holder.open.take() else { continue };
                        match tx.commit().await {
                            Ok(_) => prop_assert_eq!(token, given),
                            Err(StoreError::Conflict) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    Step::Renew => {
                        if let Some(lease) = &holder.lease
                            && lease.renew_at(holder.clock).await.is_err()
                        {
                            holder.lease = None;
                        }
                    }
                    Step::Release => {
                        if let Some(lease) = holder.lease.take() {
                            lease.release().await.unwrap();
                        }
                    }
                }
            }
            let log = LOG.scan(()).all(&store.begin()).await.unwrap();
            prop_assert!(log.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{log:?}");
            Ok(())
        })?;
    }
}
