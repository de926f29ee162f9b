//! The kinds on databases in memory, with a clock that the tests move.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hearth_accounts::{Accounts, AccountsConfig, NewDevice, NewUser, PasswordCost};
use hearth_jobs::{
    Enqueue, JobId, JobInfo, JobState, Jobs, ManualClock,
    kinds::{DeactivateUser, PurgeRoom, PurgeRoomArguments},
};
use hearth_protocol::SigningKey;
use hearth_rooms::{
    Membership, PushRules, Rooms, RoomsConfig,
    membership::{Change, MemberProfile},
};
use hearth_store::Store;
use hearth_transitory::Transitory;
use ruma::{
    OwnedRoomId, OwnedUserId, RoomVersionId, UserId, api::client::room::create_room, owned_server_name, push::Ruleset,
};

use super::*;

struct NoRules;

impl PushRules for NoRules {
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>> {
        Box::pin(async { vec![None; users.len()] })
    }
}

struct World {
    accounts: Accounts,
    rooms: Rooms,
    transitory: Transitory,
    jobs: Jobs,
    clock: ManualClock,
}

impl World {
    fn new() -> Self {
        let store = Store::memory();
        let server_name = owned_server_name!("example.org");
        let mut config = AccountsConfig::new(server_name.clone());
        config.passwords = PasswordCost { memory_kib: 8, iterations: 1 };
        let key = SigningKey::generate(server_name.clone()).0;
        let rooms_config = RoomsConfig { server_name, key, default_version: RoomVersionId::V12 };
        let clock = ManualClock::new(1_700_000_000_000);
        Self {
            accounts: Accounts::new(store.clone(), config),
            rooms: Rooms::new(store.clone(), rooms_config, Arc::new(NoRules)),
            transitory: Transitory::new(store.clone()),
            jobs: Jobs::with_clock(store, Arc::new(clock.clone())),
            clock,
        }
    }

    /// Runs what is due, as a process does that starts and stops.
    async fn run_due(&self) {
        let options = RunnerOptions { sole: true, ..RunnerOptions::default() };
        Runner::new(self.jobs.clone(), options)
            .handle(Deactivations { accounts: self.accounts.clone(), rooms: self.rooms.clone() })
            .handle(Purges { rooms: self.rooms.clone(), transitory: self.transitory.clone() })
            .handle(Trim { rooms: self.rooms.clone() })
            .handle(ExpireLogins { accounts: self.accounts.clone() })
            .run_due(CancellationToken::new())
            .await;
    }

    async fn user(&self, name: &str) -> OwnedUserId {
        let new = NewUser { localpart: Some(name), password: Some("correct horse"), ..NewUser::default() };
        self.accounts.create_user(new).await.unwrap()
    }

    /// A public room of the first user with the others in it.
    async fn room(&self, members: &[&UserId]) -> OwnedRoomId {
        let mut request = create_room::v3::Request::new();
        request.preset = Some(create_room::v3::RoomPreset::PublicChat);
        let room = self.rooms.create(members[0], &MemberProfile::default(), request).await.unwrap();
        for member in &members[1..] {
            self.join(&room, member).await.unwrap();
        }
        room
    }

    async fn join(&self, room: &OwnedRoomId, member: &UserId) -> Result<(), RoomError> {
        let profile = MemberProfile::default();
        self.rooms.change_membership(room, member, member, Change::Join, &profile, None).await
    }

    async fn get(&self, id: JobId) -> JobInfo {
        self.jobs.get(id).await.unwrap()
    }
}

#[tokio::test]
async fn a_deactivated_user_leaves_everything() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let session = world.accounts.open_session(&bob, NewDevice::default()).await.unwrap();
    let mut rooms = Vec::new();
    for _ in 0..40 {
        rooms.push(world.room(&[&alice, &bob]).await);
    }
    world.accounts.deactivate(&bob, true).await.unwrap();
    // The process ended here: at the next start it is found.
    enqueue_unfinished(&world.jobs, &world.accounts).await.unwrap();
    let id = DeactivateUser::enqueue(&world.jobs, bob.as_str()).await.unwrap();
    world.run_due().await;
    let job = world.get(id).await;
    assert_eq!((job.state, job.progress.unwrap().message.as_str()), (JobState::Done, "left 40 rooms"));
    for room in &rooms {
        assert_eq!(world.rooms.membership_of(room, &bob).await.unwrap(), Some(Membership::Leave));
        assert_eq!(world.rooms.membership_of(room, &alice).await.unwrap(), Some(Membership::Join));
    }
    assert!(world.accounts.unfinished_deactivations().await.unwrap().is_empty());
    assert!(world.accounts.user(&bob).await.unwrap().unwrap().erased, "the wish is kept");
    assert!(world.accounts.authenticate(&session.access_token).await.is_err());
    // One that names nobody gives up.
    let id = DeactivateUser::enqueue(&world.jobs, "@nobody:example.org").await.unwrap();
    world.run_due().await;
    assert_eq!(world.get(id).await.state, JobState::Failed);
}

#[tokio::test]
async fn a_purged_room_is_gone_after_its_members_could_see_them_leave() {
    for block in [false, true] {
        let world = World::new();
        let (alice, bob) = (world.user("alice").await, world.user("bob").await);
        let (room, other) = (world.room(&[&alice, &bob]).await, world.room(&[&alice, &bob]).await);
        let arguments = PurgeRoomArguments { room: room.to_string(), block };
        let id = world.jobs.enqueue::<PurgeRoom>(room.as_str(), &arguments, Enqueue::default()).await.unwrap();
        world.run_due().await;
        assert_eq!(world.get(id).await.state, JobState::Waiting, "clients have a moment");
        assert_eq!(world.rooms.membership_of(&room, &bob).await.unwrap(), Some(Membership::Leave));
        assert!(world.join(&room, &bob).await.is_err(), "nobody comes back");
        world.clock.advance(Duration::from_mins(1));
        world.run_due().await;
        let job = world.get(id).await;
        assert_eq!(job.state, JobState::Done, "{job:?}");
        assert!(world.rooms.doomed(&room).await.unwrap().is_none());
        assert_eq!(world.rooms.blocked_since(&room).await.unwrap().is_some(), block);
        assert_eq!(world.rooms.membership_of(&other, &bob).await.unwrap(), Some(Membership::Join));
        // Again, and there is nothing to do.
        let id = world.jobs.enqueue::<PurgeRoom>(room.as_str(), &arguments, Enqueue::default()).await.unwrap();
        world.run_due().await;
        assert_eq!(world.get(id).await.state, JobState::Done);
    }
}

#[tokio::test]
async fn maintenance_comes_to_its_end() {
    let world = World::new();
    let alice = world.user("alice").await;
    world.room(&[&alice]).await;
    let trim = world.jobs.enqueue::<TrimKind>("test", &(), Enqueue::default()).await.unwrap();
    let expire = world.jobs.enqueue::<ExpireLoginsKind>("test", &(), Enqueue::default()).await.unwrap();
    world.run_due().await;
    for id in [trim, expire] {
        let job = world.get(id).await;
        assert_eq!(job.state, JobState::Done, "{job:?}");
    }
}
