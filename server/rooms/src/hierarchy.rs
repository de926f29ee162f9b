//! [Discovering rooms within spaces](https://spec.matrix.org/v1.19/client-server-api/#discovering-rooms-within-spaces):
//! the tree of a space, depth first.
//!
//! A token names the room that was shown last and how many were; a page walks the tree again up to there. So nothing has
//! to be kept between pages, and what changes in between moves a page by no more than what changed.

use std::collections::HashSet;

use ruma::{OwnedRoomId, RoomId};

use crate::{
    RoomError, Rooms,
    summary::{Onlooker, RoomOutline},
};

/// Rooms of a page when the client does not say, and at most.
const LIMIT: (u64, u64) = (50, 100);
/// Depth when the client does not say, and at most.
const DEPTH: (u64, u64) = (10, 50);
/// Rooms that one request looks at; beyond, the tree ends.
const LOOKED_AT: usize = 2000;

/// Which part of a tree is wanted.
#[derive(Debug, Clone, Default)]
pub struct HierarchyRequest {
    /// Token of the page before.
    pub from: Option<String>,
    /// At most so many rooms.
    pub limit: Option<u64>,
    /// Children at most so far from the root, which is at 0.
    pub max_depth: Option<u64>,
    /// Only children that their space suggests.
    pub suggested_only: bool,
}

/// A page of a tree.
#[derive(Debug, Clone, Default)]
pub struct HierarchyPage {
    /// The rooms, depth first, each once.
    pub rooms: Vec<RoomOutline>,
    /// Token of the next page.
    pub next_batch: Option<String>,
}

/// Where a page ended: whether only suggested rooms were shown, the depth, how many rooms there were, and the last one.
#[derive(Debug, PartialEq, Eq)]
struct Token {
    suggested_only: bool,
    max_depth: u64,
    shown: usize,
    last: OwnedRoomId,
}

impl Token {
    fn parse(token: &str) -> Result<Self, RoomError> {
        let mut parts = token.splitn(4, '_');
        let mut part = || parts.next().ok_or(RoomError::InvalidToken);
        let suggested_only = match part()? {
            "h" => false,
            "hs" => true,
            _ => return Err(RoomError::InvalidToken),
        };
        Ok(Self {
            suggested_only,
            max_depth: part()?.parse().map_err(|_| RoomError::InvalidToken)?,
            shown: part()?.parse().map_err(|_| RoomError::InvalidToken)?,
            last: RoomId::parse(part()?).map_err(|_| RoomError::InvalidToken)?,
        })
    }

    fn write(&self) -> String {
        let kind = if self.suggested_only { "hs" } else { "h" };
        format!("{kind}_{}_{}_{}", self.max_depth, self.shown, self.last)
    }
}

impl Rooms {
    /// A page of the tree below `root`, with the rooms that `onlooker` may know of.
    pub async fn hierarchy(
        &self,
        root: &RoomId,
        onlooker: Onlooker<'_>,
        request: &HierarchyRequest,
    ) -> Result<HierarchyPage, RoomError> {
        let limit = match request.limit {
            Some(0) => return Err(RoomError::InvalidParam("limit is greater than zero".to_owned())),
            limit => limit.unwrap_or(LIMIT.0).min(LIMIT.1) as usize,
        };
        let max_depth = request.max_depth.unwrap_or(DEPTH.0).min(DEPTH.1);
        let from = request.from.as_deref().map(Token::parse).transpose()?;
        if let Some(from) = &from
            && (from.suggested_only != request.suggested_only || from.max_depth != max_depth)
        {
            let text = "suggested_only and max_depth cannot change on paginated requests";
            return Err(RoomError::InvalidParam(text.to_owned()));
        }
        let walk = self.walk(root, onlooker, request.suggested_only, max_depth, from.as_ref(), limit).await?;
        let next = |last: &RoomOutline| Token {
            suggested_only: request.suggested_only,
            max_depth,
            shown: walk.skipped + walk.rooms.len(),
            last: last.summary.room_id.clone(),
        };
        let next_batch = walk.rooms.last().filter(|_| walk.more).map(|last| next(last).write());
        Ok(HierarchyPage { rooms: walk.rooms, next_batch })
    }

    async fn walk(
        &self,
        root: &RoomId,
        onlooker: Onlooker<'_>,
        suggested_only: bool,
        max_depth: u64,
        from: Option<&Token>,
        limit: usize,
    ) -> Result<Walk, RoomError> {
        let mut walk = Walk::default();
        // Where the last room of the page before is gone, the count says where to go on.
        let mut unseen: Vec<RoomOutline> = Vec::new();
        let mut behind = from.is_none();
        let mut seen = HashSet::new();
        let mut open = vec![(root.to_owned(), 0)];
        let mut looked_at = 0;
        while let Some((room_id, depth)) = open.pop() {
            // A room is shown once, where it is met first; so loops end, too.
            if !seen.insert(room_id.clone()) {
                continue;
            }
            looked_at += 1;
            if looked_at > LOOKED_AT {
                break;
            }
            let mut outline = match self.outline(&room_id, onlooker).await {
                Ok(outline) => outline,
                Err(RoomError::RoomNotFound) if depth == 0 => {
                    return Err(RoomError::Forbidden("You are not allowed to view this room.".to_owned()));
                }
                Err(RoomError::RoomNotFound) => continue,
                Err(error) => return Err(error),
            };
            outline.children.retain(|child| !suggested_only || child.suggested);
            if depth < max_depth {
                // The first child is to be popped first.
                let children = outline.children.iter().rev().filter(|child| !seen.contains(&child.room_id));
                open.extend(children.map(|child| (child.room_id.clone(), depth + 1)));
            }
            if behind {
                if walk.rooms.len() == limit {
                    walk.more = true;
                    return Ok(walk);
                }
                walk.rooms.push(outline);
            } else {
                walk.skipped += 1;
                behind = from.is_some_and(|from| from.last == room_id);
                if walk.skipped > from.map_or(0, |from| from.shown) && unseen.len() <= limit {
                    unseen.push(outline);
                }
            }
        }
        if !behind {
            walk.skipped = from.map_or(0, |from| from.shown);
            walk.more = unseen.len() > limit;
            unseen.truncate(limit);
            walk.rooms = unseen;
        }
        Ok(walk)
    }
}

#[derive(Default)]
struct Walk {
    rooms: Vec<RoomOutline>,
    skipped: usize,
    more: bool,
}
