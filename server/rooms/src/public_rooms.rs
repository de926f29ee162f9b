//! The server's [public room list](https://spec.matrix.org/v1.19/client-server-api/#listing-rooms).

use std::{cmp::Ordering, sync::Arc};

use hearth_store::Transaction;
use ruma::{
    OwnedRoomId, RoomId, UInt,
    directory::{Filter, PublicRoomsChunk, PublicRoomsChunkInit, RoomTypeFilter},
    room::{JoinRuleKind, RoomType},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{RoomError, RoomNid, Rooms, error::corrupt, keys, public_room::PublicRoom};

/// Rooms of a page when the client does not say.
const DEFAULT_LIMIT: u64 = 100;
/// Rooms of a page at most.
const MAX_LIMIT: u64 = 500;

/// A page of the public room list.
#[derive(Debug, Clone, Default)]
pub struct PublicRoomsPage {
    /// The rooms, those with most members first.
    pub chunk: Vec<PublicRoomsChunk>,
    /// Token of the next page.
    pub next_batch: Option<String>,
    /// Token of the page before.
    pub prev_batch: Option<String>,
    /// Number of rooms in the list.
    pub total: u64,
}

/// A place in the list, and which way to read from there. As a token: `n` (or `p` for the way back), the number of
/// members, `_`, the room id. It stays good when rooms before it come and go.
#[derive(Debug, PartialEq, Eq)]
struct Token {
    backward: bool,
    members: u64,
    room_id: OwnedRoomId,
}

impl Token {
    fn parse(token: &str) -> Result<Self, RoomError> {
        let (direction, rest) = token.split_at_checked(1).ok_or(RoomError::InvalidToken)?;
        let (members, room_id) = rest.split_once('_').ok_or(RoomError::InvalidToken)?;
        let backward = match direction {
            "n" => false,
            "p" => true,
            _ => return Err(RoomError::InvalidToken),
        };
        Ok(Self {
            backward,
            members: members.parse().map_err(|_| RoomError::InvalidToken)?,
            room_id: RoomId::parse(room_id).map_err(|_| RoomError::InvalidToken)?,
        })
    }

    fn write(direction: char, room: &PublicRoomsChunk) -> String {
        format!("{direction}{}_{}", room.num_joined_members, room.room_id)
    }
}

/// The order of the list: most members first, then by room id.
fn order(a: (u64, &RoomId), b: (u64, &RoomId)) -> Ordering {
    b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1))
}

fn place(room: &PublicRoomsChunk) -> (u64, &RoomId) {
    (room.num_joined_members.into(), &room.room_id)
}

impl Rooms {
    /// A page of the rooms in the public directory.
    pub async fn public_rooms(
        &self,
        limit: Option<u64>,
        since: Option<&str>,
        filter: &Filter,
    ) -> Result<PublicRoomsPage, RoomError> {
        let since = since.map(Token::parse).transpose()?;
        let limit = limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT) as usize;
        let term = filter.generic_search_term.as_ref().map(|term| term.trim().to_lowercase());
        let term = term.filter(|term| !term.is_empty());
        let (mut rooms, total) = self
            .store
            .transact("public rooms", |tx| {
                let term = &term;
                async move {
                    let published = keys::PUBLISHED.scan(()).snapshot().all(&tx).await?;
                    let mut rooms = Vec::with_capacity(published.len());
                    for ((nid,), ()) in &published {
                        let room = self.public_room_entry(&tx, *nid).await?;
                        let matches = |term: &String| room.searched.iter().any(|text| text.contains(term));
                        if term.as_ref().is_none_or(matches) && accepts_type(filter, room.chunk.room_type.as_ref()) {
                            let mut chunk = room.chunk.clone();
                            let joined = self.joined_count(&tx, *nid).await?;
                            chunk.num_joined_members = UInt::new_saturating(joined);
                            rooms.push(chunk);
                        }
                    }
                    Ok::<_, RoomError>((rooms, published.len() as u64))
                }
            })
            .await?;
        rooms.sort_unstable_by(|a, b| order(place(a), place(b)));

        let (begin, end) = match &since {
            None => (0, limit),
            Some(token) => {
                let at = (token.members, &*token.room_id);
                if token.backward {
                    let end = rooms.partition_point(|room| order(place(room), at) == Ordering::Less);
                    (end.saturating_sub(limit), end)
                } else {
                    let begin = rooms.partition_point(|room| order(place(room), at) != Ordering::Greater);
                    (begin, begin.saturating_add(limit))
                }
            }
        };
        let end = end.min(rooms.len());
        let page = &rooms[begin..end];
        Ok(PublicRoomsPage {
            next_batch: page.last().filter(|_| end < rooms.len()).map(|last| Token::write('n', last)),
            prev_batch: page.first().filter(|_| begin > 0).map(|first| Token::write('p', first)),
            chunk: page.to_vec(),
            total,
        })
    }

    /// What the list says of one room, from the cache while its state has not changed.
    async fn public_room_entry(&self, tx: &Transaction, room: RoomNid) -> Result<Arc<PublicRoom>, RoomError> {
        let record = keys::ROOM.get_snapshot(tx, (room,)).await?.ok_or(RoomError::RoomNotFound)?;
        if let Some(known) = self.caches.public_rooms.get(&room).filter(|known| known.revision == record.revision) {
            return Ok(known);
        }
        let room_id = RoomId::parse(&record.room_id).map_err(corrupt)?;
        let entry = self.describe_public_room(tx, room, room_id, record.revision).await?;
        let entry = Arc::new(entry);
        self.caches.public_rooms.insert(room, entry.clone(), 1);
        Ok(entry)
    }

    async fn describe_public_room(
        &self,
        tx: &Transaction,
        room: RoomNid,
        room_id: OwnedRoomId,
        revision: u64,
    ) -> Result<PublicRoom, RoomError> {
        let text = async |event_type: &str, field: &str| -> Result<Option<String>, RoomError> {
            let Some(event) = self.current_state_entry(tx, room, event_type).await? else { return Ok(None) };
            // Whatever is not an object with that text counts as not there.
            let content = serde_json::from_str::<Content>(event.pdu.content.get()).unwrap_or_default();
            let text = content.0.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
            Ok(text.map(str::to_owned))
        };
        let mut chunk = PublicRoomsChunk::from(PublicRoomsChunkInit {
            num_joined_members: UInt::MIN,
            room_id,
            world_readable: text("m.room.history_visibility", "history_visibility").await?.as_deref()
                == Some("world_readable"),
            guest_can_join: text("m.room.guest_access", "guest_access").await?.as_deref() == Some("can_join"),
        });
        chunk.name = text("m.room.name", "name").await?;
        chunk.topic = text("m.room.topic", "topic").await?;
        chunk.avatar_url = text("m.room.avatar", "url").await?.map(Into::into);
        chunk.canonical_alias =
            text("m.room.canonical_alias", "alias").await?.and_then(|alias| ruma::RoomAliasId::parse(alias).ok());
        chunk.join_rule =
            text("m.room.join_rules", "join_rule").await?.map_or(JoinRuleKind::Invite, JoinRuleKind::from);
        chunk.room_type = text("m.room.create", "type").await?.map(RoomType::from);
        let lower = |text: Option<&str>| text.unwrap_or_default().to_lowercase();
        let searched = [
            lower(chunk.name.as_deref()),
            lower(chunk.topic.as_deref()),
            lower(chunk.canonical_alias.as_ref().map(|alias| alias.as_str())),
        ];
        Ok(PublicRoom { revision, chunk, searched })
    }
}

#[derive(Default, Deserialize)]
struct Content(serde_json::Map<String, Value>);

fn accepts_type(filter: &Filter, room_type: Option<&RoomType>) -> bool {
    let room_type = RoomTypeFilter::from(room_type.map(RoomType::as_str));
    filter.room_types.is_empty() || filter.room_types.contains(&room_type)
}

#[cfg(test)]
mod tests {
    use ruma::room_id;
    use serde_json::json;

    use super::*;
    use crate::{membership::Change, testing};

    #[test]
    fn tokens_are_read_back() {
        let token = Token::parse("p12_!a_b:h").unwrap();
        assert_eq!(token, Token { backward: true, members: 12, room_id: room_id!("!a_b:h").to_owned() });
        for token in ["", "n", "n1", "x1_!a:h", "n-1_!a:h", "n1_a:h", "é1_!a:h"] {
            assert!(matches!(Token::parse(token), Err(RoomError::InvalidToken)), "{token}");
        }
    }

    fn names(page: &PublicRoomsPage) -> Vec<&str> {
        page.chunk.iter().map(|room| room.name.as_deref().unwrap_or_default()).collect()
    }

    fn search(term: &str) -> Filter {
        let mut filter = Filter::new();
        filter.generic_search_term = Some(term.to_owned());
        filter
    }

    #[tokio::test]
    async fn lists_filters_and_pages() {
        let rooms = testing::rooms();
        for (name, members) in [("Small", 1), ("Middle", 2), ("Large", 3), ("Space", 1)] {
            let creation = if name == "Space" { json!({"type": "m.space"}) } else { json!({}) };
            let room = rooms
                .create_for_test(
                    "alice",
                    json!({
                        "name": name, "topic": format!("about {name}"), "preset": "public_chat",
                        "visibility": "public", "room_alias_name": name.to_lowercase(), "creation_content": creation,
                    }),
                )
                .await
                .unwrap();
            for member in ["bob", "carol"].iter().take(members - 1) {
                rooms.change_for_test(&room, member, member, Change::Join).await.unwrap();
            }
        }
        rooms.create_for_test("alice", json!({"name": "Private"})).await.unwrap();

        let all = rooms.public_rooms(None, None, &Filter::new()).await.unwrap();
        assert_eq!(names(&all)[..2], ["Large", "Middle"]);
        assert_eq!((all.chunk.len(), all.total), (4, 4));
        assert_eq!((all.next_batch, all.prev_batch), (None, None));
        let large = &all.chunk[0];
        assert_eq!(large.num_joined_members, UInt::from(3_u32));
        assert_eq!(large.topic.as_deref(), Some("about Large"));
        assert_eq!(large.canonical_alias.as_ref().unwrap(), "#large:example.org");
        assert_eq!(large.join_rule, JoinRuleKind::Public);
        assert!(!large.world_readable && !large.guest_can_join);

        // Page by page, forth and back.
        let first = rooms.public_rooms(Some(2), None, &Filter::new()).await.unwrap();
        assert_eq!(names(&first), ["Large", "Middle"]);
        assert_eq!(first.prev_batch, None);
        let second = rooms.public_rooms(Some(2), first.next_batch.as_deref(), &Filter::new()).await.unwrap();
        assert_eq!((second.chunk.len(), second.next_batch.as_ref()), (2, None));
        let back = rooms.public_rooms(Some(2), second.prev_batch.as_deref(), &Filter::new()).await.unwrap();
        assert_eq!(names(&back), ["Large", "Middle"]);

        for (term, expected) in
            [("LARGE", vec!["Large"]), ("about mid", vec!["Middle"]), ("#small:", vec!["Small"]), ("zzz", vec![])]
        {
            assert_eq!(names(&rooms.public_rooms(None, None, &search(term)).await.unwrap()), expected, "{term}");
        }
        let mut spaces = Filter::new();
        spaces.room_types = vec![RoomTypeFilter::Space];
        assert_eq!(names(&rooms.public_rooms(None, None, &spaces).await.unwrap()), ["Space"]);
        spaces.room_types = vec![RoomTypeFilter::Default];
        assert_eq!(rooms.public_rooms(None, None, &spaces).await.unwrap().chunk.len(), 3);

        // A changed name is seen although the list is cached.
        let small = rooms.public_rooms(None, None, &search("small")).await.unwrap().chunk[0].room_id.clone();
        rooms.state_for_test(&small, "alice", "m.room.name", "", json!({"name": "Tiny"})).await.unwrap();
        assert_eq!(names(&rooms.public_rooms(None, None, &search("tiny")).await.unwrap()), ["Tiny"]);
        assert!(matches!(rooms.public_rooms(None, Some("junk"), &Filter::new()).await, Err(RoomError::InvalidToken)));
    }
}
