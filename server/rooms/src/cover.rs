//! Reading the chain cover of the auth graph ([`crate::graph`]): what state resolution needs of it.

use std::collections::{BTreeSet, HashMap};

use hearth_store::Transaction;

use crate::{
    EventNid, RoomError, RoomNid, Rooms,
    keys::{CHAIN, CHAIN_LINK},
};

/// Up to which place something goes in each chain.
type Reach = HashMap<u64, u64>;

/// A link of a chain: from a place to one in another chain.
type Link = (u64, u64, u64);

/// A reader of one room's chain cover. Reads each chain's links once.
pub(crate) struct Cover<'a> {
    rooms: &'a Rooms,
    tx: &'a Transaction,
    room: RoomNid,
    links: HashMap<u64, Vec<Link>>,
}

impl<'a> Cover<'a> {
    pub(crate) fn new(rooms: &'a Rooms, tx: &'a Transaction, room: RoomNid) -> Self {
        Self { rooms, tx, room, links: HashMap::new() }
    }

    /// The auth difference of states: what is in the auth chain of some of them but not of all. `states` are what each has that
    /// not all have, `agreed` gives what they have in common and is asked only where that can matter.
    pub(crate) async fn difference(
        &mut self,
        states: &[Vec<EventNid>],
        agreed: impl AsyncFnOnce() -> Result<Vec<EventNid>, RoomError>,
    ) -> Result<Vec<EventNid>, RoomError> {
        let mut reaches = Vec::with_capacity(states.len());
        for events in states {
            reaches.push(self.auth_chain(events).await?);
        }
        if ranges(&reaches, &Reach::new()).is_empty() {
            return Ok(Vec::new());
        }
        let common = self.auth_chain(&agreed().await?).await?;
        self.events(ranges(&reaches, &common)).await
    }

    /// The conflicted subgraph: `conflicted` and every event on a path of the auth graph from one of these to another.
    pub(crate) async fn between(&mut self, conflicted: &BTreeSet<EventNid>) -> Result<Vec<EventNid>, RoomError> {
        let events: Vec<EventNid> = conflicted.iter().copied().collect();
        let mut below = self.auth_chain(&events).await?;
        // From which place on a chain reaches one of them.
        let mut above: Reach = HashMap::new();
        for event in events {
            let place = self.rooms.known_graph(self.tx, self.room, event).await?;
            let lowest = above.entry(place.chain).or_insert(place.sequence);
            *lowest = (*lowest).min(place.sequence);
            let highest = below.entry(place.chain).or_default();
            *highest = (*highest).max(place.sequence);
        }
        let chains: Vec<u64> = below.keys().copied().collect();
        loop {
            let mut changed = false;
            for chain in &chains {
                for (from, to, target) in self.links(*chain).await? {
                    if above.get(to).is_some_and(|lowest| lowest <= target)
                        && above.get(chain).is_none_or(|lowest| from < lowest)
                    {
                        above.insert(*chain, *from);
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        let between = above.into_iter().filter_map(|(chain, lowest)| Some((chain, lowest - 1, *below.get(&chain)?)));
        self.events(between.collect()).await
    }

    /// The union of the auth chains of some events.
    pub(crate) async fn auth_chain(&mut self, events: &[EventNid]) -> Result<Reach, RoomError> {
        let mut reach = Reach::new();
        let mut open = Vec::new();
        for event in events {
            for auth in &self.rooms.known_graph(self.tx, self.room, *event).await?.auth {
                let place = self.rooms.known_graph(self.tx, self.room, *auth).await?;
                extend(&mut reach, &mut open, place.chain, place.sequence);
            }
        }
        while let Some((chain, from, until)) = open.pop() {
            for &(at, to, target) in self.links(chain).await? {
                if from < at && at <= until {
                    extend(&mut reach, &mut open, to, target);
                }
            }
        }
        Ok(reach)
    }

    async fn links(&mut self, chain: u64) -> Result<&Vec<Link>, RoomError> {
        if !self.links.contains_key(&chain) {
            let links = CHAIN_LINK.scan((self.room, chain)).snapshot().all(self.tx).await?;
            let links = links.into_iter().map(|((_, _, at, to), target)| (at, to, target)).collect();
            self.links.insert(chain, links);
        }
        Ok(&self.links[&chain])
    }

    /// The events at places behind the first number up to the second one.
    async fn events(&self, ranges: Vec<(u64, u64, u64)>) -> Result<Vec<EventNid>, RoomError> {
        let mut events = Vec::new();
        for (chain, from, until) in ranges {
            let scan = CHAIN.scan((self.room, chain)).after((self.room, chain, from)).until((self.room, chain, until));
            events.extend(scan.snapshot().all(self.tx).await?.into_iter().map(|(_, event)| event));
        }
        Ok(events)
    }
}

fn extend(reach: &mut Reach, open: &mut Vec<(u64, u64, u64)>, chain: u64, until: u64) {
    let known = reach.entry(chain).or_default();
    if *known < until {
        open.push((chain, *known, until));
        *known = until;
    }
}

/// What some of `reaches` have and others have not, each with `common`: by chain.
fn ranges(reaches: &[Reach], common: &Reach) -> Vec<(u64, u64, u64)> {
    let chains: BTreeSet<u64> = reaches.iter().flat_map(Reach::keys).copied().collect();
    let place = |reach: &Reach, chain: u64| reach.get(&chain).copied().unwrap_or(0);
    let range = |chain: u64| {
        let ends = reaches.iter().map(|reach| place(reach, chain).max(place(common, chain)));
        let (from, until) = ends.fold((u64::MAX, 0), |(from, until), end| (from.min(end), until.max(end)));
        (from < until).then_some((chain, from, until))
    };
    chains.into_iter().filter_map(range).collect()
}
