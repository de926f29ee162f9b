//! A backup's file, byte by byte (see the crate's page): the header, sealing, writing, reading.

mod cipher;
mod end;
mod header;
mod layout;
mod reader;
mod temporary;
mod writer;

pub(crate) use cipher::{Cost, FileKey, SpillKey};
pub(crate) use header::read_header;
pub(crate) use layout::{entries, entry_into};
pub(crate) use reader::{Checked, FileReader, Frame};
pub(crate) use temporary::{Temporary, remove_leftovers, sync_folder};
pub(crate) use writer::{FileWriter, Origin, new_key};
