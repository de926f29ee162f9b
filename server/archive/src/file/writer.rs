//! Writing a backup's file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hearth_store::Version;
use sha2::{Digest, Sha256};

use super::cipher::{FileKey, Sealer, key_error};
use super::end::End;
use super::header::{COMPRESSION, RawHeader, milliseconds};
use super::layout::{CONTENT_HEAD, FULL_FRAME, Kind, MOST_ATTACHED, MOST_CONTENT, entry_bytes, entry_into, frame_head};
use super::reader::FileReader;
use super::temporary::Temporary;
use crate::sums::{Sums, totals};
use crate::{ArchiveError, Attachment, BackupSummary, Passphrase};

/// Where a backup comes from, for its header.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) server_name: String,
    pub(crate) created: SystemTime,
    pub(crate) hearth_version: String,
    pub(crate) engine: String,
    pub(crate) scheduled: bool,
}

/// A backup that is being written, at a temporary name.
pub(crate) struct FileWriter {
    path: PathBuf,
    temporary: Temporary,
    out: BufWriter<File>,
    header: RawHeader,
    key: Option<FileKey>,
    sealer: Option<Sealer>,
    /// SHA-256 of the header, which every sealed frame is bound to.
    bound: [u8; 32],
    hash: Sha256,
    written: u64,
    frames: u64,
    content: Vec<u8>,
    attachments: Vec<String>,
    attached: usize,
    sums: Sums,
}

impl FileWriter {
    /// Begins the file that becomes `path`.
    pub(crate) fn create(path: &Path, origin: Origin, key: Option<FileKey>) -> Result<Self, ArchiveError> {
        if path.exists() {
            return Err(ArchiveError::Exists { path: path.to_owned() });
        }
        let encryption = key.as_ref().map(FileKey::encryption);
        let header = RawHeader {
            server_name: origin.server_name,
            created: milliseconds(origin.created),
            hearth_version: origin.hearth_version,
            engine: origin.engine,
            scheduled: origin.scheduled,
            compression: COMPRESSION.to_owned(),
            encryption,
        };
        Self::begin(path, "", header, key)
    }

    fn begin(path: &Path, purpose: &str, header: RawHeader, key: Option<FileKey>) -> Result<Self, ArchiveError> {
        let sealer = match (&key, &header.encryption) {
            (Some(key), Some(encryption)) => Some(key.sealer(encryption).map_err(|error| key_error(path, &error))?),
            _ => None,
        };
        let (temporary, file) = Temporary::create(path, purpose)?;
        let bytes = header.encode();
        let mut writer = Self {
            path: path.to_owned(),
            temporary,
            out: BufWriter::with_capacity(1 << 20, file),
            header,
            key,
            sealer,
            bound: Sha256::digest(&bytes).into(),
            hash: Sha256::new(),
            written: 0,
            frames: 0,
            content: Vec::with_capacity(FULL_FRAME + (128 << 10)),
            attachments: Vec::new(),
            attached: 0,
            sums: Sums::default(),
        };
        writer.write(&bytes)?;
        Ok(writer)
    }

    /// Begins the same backup once more beside this one, which is whole: for the merge of what changed meanwhile.
    pub(crate) fn again(&self) -> Result<Self, ArchiveError> {
        let mut header = self.header.clone();
        // A key seals one file with one nonce.
        header.encryption = self.key.as_ref().map(FileKey::encryption);
        Self::begin(&self.path, ".merged", header, self.key.clone())
    }

    /// Where the file is now.
    pub(crate) fn temporary_path(&self) -> &Path {
        self.temporary.path()
    }

    /// Reads what was written, once it is whole.
    pub(crate) fn reader(&self) -> Result<FileReader, ArchiveError> {
        FileReader::open_with(self.temporary_path(), self.key.clone())
    }

    /// Adds a small file. All of them come before the first entry.
    pub(crate) fn attach(&mut self, attachment: &Attachment) -> Result<(), ArchiveError> {
        self.attached += attachment.name.len() + attachment.content.len() + 2;
        if self.attached > MOST_ATTACHED {
            return Err(ArchiveError::File {
                path: PathBuf::from(&attachment.name),
                detail: "it is too large to be kept beside the store's data".to_owned(),
            });
        }
        let mut content = Vec::with_capacity(attachment.name.len() + attachment.content.len() + 2);
        content.extend_from_slice(&(attachment.name.len() as u16).to_le_bytes());
        content.extend_from_slice(attachment.name.as_bytes());
        content.extend_from_slice(&attachment.content);
        self.attachments.push(attachment.name.clone());
        self.frame(Kind::Attachment, &content)
    }

    /// Adds an entry. They come in key order.
    pub(crate) fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        self.sums.add(key, value);
        entry_into(&mut self.content, key, value);
        if self.content.len() + entry_bytes(&[], &[]) > FULL_FRAME { self.entries_frame() } else { Ok(()) }
    }

    fn entries_frame(&mut self) -> Result<(), ArchiveError> {
        if self.content.is_empty() {
            return Ok(());
        }
        let content = std::mem::take(&mut self.content);
        self.frame(Kind::Entries, &content)?;
        self.content = content;
        self.content.clear();
        Ok(())
    }

    fn frame(&mut self, kind: Kind, content: &[u8]) -> Result<(), ArchiveError> {
        if content.len() > MOST_CONTENT {
            return Err(self.failed("a part of it is too large"));
        }
        let most = lz4_flex::block::get_maximum_output_size(content.len());
        let mut body = vec![0; CONTENT_HEAD + most];
        body[0] = kind as u8;
        body[1..CONTENT_HEAD].copy_from_slice(&(content.len() as u32).to_le_bytes());
        let length = lz4_flex::block::compress_into(content, &mut body[CONTENT_HEAD..])
            .map_err(|error| self.failed(&error.to_string()))?;
        body.truncate(CONTENT_HEAD + length);
        let sealed = match (kind, self.sealer.take()) {
            (_, None) => Some(body),
            (Kind::End, Some(sealer)) => sealer.last(&body, &self.bound),
            (_, Some(mut sealer)) => {
                let sealed = sealer.next(&body, &self.bound);
                self.sealer = Some(sealer);
                sealed
            }
        };
        let body = sealed.ok_or_else(|| self.failed("it cannot be encrypted"))?;
        let head = frame_head(self.frames, &body);
        self.frames += 1;
        self.write(&head)?;
        self.write(&body)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|error| ArchiveError::file(self.temporary.path(), &error))
    }

    fn failed(&self, detail: &str) -> ArchiveError {
        ArchiveError::File { path: self.temporary.path().to_owned(), detail: detail.to_owned() }
    }

    /// Writes the end. The file is whole then, and still at its temporary name.
    pub(crate) fn end(&mut self, version: Version, taken: SystemTime) -> Result<BackupSummary, ArchiveError> {
        self.entries_frame()?;
        let subspaces = std::mem::take(&mut self.sums).finish();
        let (keys, bytes) = totals(&subspaces);
        let taken = milliseconds(taken);
        let end =
            End { version, taken, keys, bytes, frames: self.frames, attachments: self.attachments.clone(), subspaces };
        let content = serde_json::to_vec(&end).expect("strings and numbers always encode");
        self.frame(Kind::End, &content)?;
        let digest = self.hash.clone().finalize();
        self.write(&digest)?;
        self.out.flush().map_err(|error| ArchiveError::file(self.temporary.path(), &error))?;
        Ok(end.summary(&self.header, self.written))
    }

    /// Moves the whole file to its place, durably.
    pub(crate) fn publish(self) -> Result<(), ArchiveError> {
        self.temporary.finish(self.out.get_ref(), &self.path)
    }
}

/// The key of a new file.
pub(crate) fn new_key(path: &Path, passphrase: &Passphrase, cost: super::Cost) -> Result<FileKey, ArchiveError> {
    FileKey::new(passphrase, cost).map_err(|error| key_error(path, &error))
}
