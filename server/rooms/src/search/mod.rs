//! [Server-side search](https://spec.matrix.org/v1.19/client-server-api/#server-side-search) over message bodies, names and
//! topics of rooms.
//!
//! An event is found by whole words, all of which must stand in it, in its latest version. A reader finds what they may see,
//! in rooms that they are in or were in. Work is bounded on every side: words of an event, events that one request indexes,
//! entries that it reads, events that it looks at.

mod index;
mod page;
mod query;
mod token;
mod words;

pub use page::{SearchContext, SearchGroup, SearchPage, SearchResult};
pub use query::{ContextRequest, GroupBy, OrderBy, SearchKey, SearchRequest};

#[cfg(test)]
mod tests;
