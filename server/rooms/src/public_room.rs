//! An entry of the public room list.

use ruma::directory::PublicRoomsChunk;

/// What the list says of a room, apart from the number of members.
#[derive(Debug)]
pub(crate) struct PublicRoom {
    /// The room's revision of which this is true.
    pub(crate) revision: u64,
    pub(crate) chunk: PublicRoomsChunk,
    /// Name, topic and alias in lower case.
    pub(crate) searched: [String; 3],
}
