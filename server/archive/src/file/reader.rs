//! Reading a backup's file, with every check there is.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use hearth_store::Bytes;
use sha2::{Digest, Sha256};

use super::cipher::{FileKey, Opener, key_error};
use super::end::End;
use super::header::{RawHeader, read_whole};
use super::layout::{CONTENT_HEAD, DIGEST, FRAME_HEAD, Kind, MOST_BODY, MOST_CONTENT, entries, head_crc};
use crate::sums::{Sums, difference, totals};
use crate::{ArchiveError, Attachment, BackupSummary, Passphrase};

/// Largest version that a backup may speak of. Versions beyond would leave no room to go on counting.
const MOST_VERSION: u64 = 1 << 61;

/// Latest time that is one, in milliseconds since the epoch: the year 9999.
const MOST_TIME: u64 = 253_402_300_799_000;

/// A backup that is being read, frame by frame.
pub(crate) struct FileReader {
    path: PathBuf,
    input: BufReader<File>,
    header: RawHeader,
    key: Option<FileKey>,
    opener: Option<Opener>,
    bound: [u8; 32],
    hash: Sha256,
    read: u64,
    frames: u64,
    attachments: Vec<String>,
    last_key: Option<Bytes>,
    sums: Sums,
}

/// What a frame holds.
pub(crate) enum Frame {
    /// Entries in key order, above those of all earlier frames.
    Entries(Vec<(Bytes, Bytes)>),
    /// A small file.
    Attachment(Attachment),
    /// Nothing comes after this, and all checks were passed.
    End(BackupSummary),
}

/// A backup that was read to its end without a complaint, with what is needed to read it again.
pub(crate) struct Checked {
    pub(crate) summary: BackupSummary,
    pub(crate) attachments: Vec<Attachment>,
    reader: FileReader,
}

impl FileReader {
    /// Opens a backup and, where it is encrypted, derives its key.
    pub(crate) fn open(path: &Path, passphrase: Option<&Passphrase>) -> Result<Self, ArchiveError> {
        let mut reader = Self::begin(path)?;
        reader.key = match (&reader.header.encryption, passphrase) {
            (None, _) => None,
            (Some(_), None) => return Err(ArchiveError::PassphraseNeeded { path: path.to_owned() }),
            (Some(encryption), Some(passphrase)) => {
                Some(FileKey::of(encryption, passphrase).map_err(|error| key_error(path, &error))?)
            }
        };
        reader.arm()?;
        Ok(reader)
    }

    /// Opens a backup with its key.
    pub(super) fn open_with(path: &Path, key: Option<FileKey>) -> Result<Self, ArchiveError> {
        let mut reader = Self::begin(path)?;
        reader.key = key;
        reader.arm()?;
        Ok(reader)
    }

    fn begin(path: &Path) -> Result<Self, ArchiveError> {
        let fail = |error| ArchiveError::file(path, &error);
        let file = File::open(path).map_err(fail)?;
        if !file.metadata().map_err(fail)?.is_file() {
            return Err(ArchiveError::Foreign { path: path.to_owned() });
        }
        Self::on(path, BufReader::with_capacity(1 << 20, file))
    }

    fn on(path: &Path, mut input: BufReader<File>) -> Result<Self, ArchiveError> {
        let (header, bytes) = RawHeader::read(&mut input, path)?;
        Ok(Self {
            path: path.to_owned(),
            input,
            header,
            key: None,
            opener: None,
            bound: Sha256::digest(&bytes).into(),
            hash: Sha256::new_with_prefix(&bytes),
            read: bytes.len() as u64,
            frames: 0,
            attachments: Vec::new(),
            last_key: None,
            sums: Sums::default(),
        })
    }

    fn arm(&mut self) -> Result<(), ArchiveError> {
        self.opener = match (&self.key, &self.header.encryption) {
            (Some(key), Some(encryption)) => {
                Some(key.opener(encryption).map_err(|error| key_error(&self.path, &error))?)
            }
            _ => None,
        };
        Ok(())
    }

    /// Reads the same open file from its beginning.
    fn rewind(mut self) -> Result<Self, ArchiveError> {
        self.input.rewind().map_err(|error| ArchiveError::file(&self.path, &error))?;
        let mut again = Self::on(&self.path, self.input)?;
        if again.bound != self.bound {
            return Err(again.damaged("it changed while it was read"));
        }
        again.key = self.key;
        again.arm()?;
        Ok(again)
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.input.get_ref().metadata().map_or(0, |file| file.len())
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> u64 {
        self.read
    }

    fn damaged(&self, detail: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged { path: self.path.clone(), detail: detail.into() }
    }

    fn take(&mut self, out: &mut [u8]) -> Result<(), ArchiveError> {
        read_whole(&mut self.input, out, &self.path)?;
        self.hash.update(&*out);
        self.read += out.len() as u64;
        Ok(())
    }

    /// The next frame. After [`Frame::End`] this is not called again.
    pub(crate) fn next(&mut self) -> Result<Frame, ArchiveError> {
        let at = self.read;
        let wrong = |reader: &Self, what: &str| reader.damaged(format!("{what}, at byte {at}"));
        let mut head = [0; FRAME_HEAD];
        self.take(&mut head)?;
        let word = |from: usize| u32::from_le_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        if head_crc(self.frames, &head) != word(8) {
            return Err(wrong(self, "a part's head does not match its checksum, or is not in its place"));
        }
        let length = word(0) as usize;
        if length > MOST_BODY {
            return Err(wrong(self, "a part is too long"));
        }
        let mut body = vec![0; length];
        self.take(&mut body)?;
        if crc32fast::hash(&body) != word(4) {
            return Err(wrong(self, "a part does not match its checksum"));
        }
        self.frames += 1;
        let body = self.unseal(body).ok_or_else(|| wrong(self, "a part cannot be decrypted"))?;
        let (kind, content) = unpack(&body).ok_or_else(|| wrong(self, "a part cannot be unpacked"))?;
        match kind {
            Kind::Entries => self.entries(content).map(Frame::Entries),
            Kind::Attachment => {
                let attachment = attachment(&content).filter(|_| self.last_key.is_none());
                let attachment = attachment.ok_or_else(|| wrong(self, "a file in it cannot be read"))?;
                self.attachments.push(attachment.name.clone());
                Ok(Frame::Attachment(attachment))
            }
            Kind::End => self.end(&content).map(Frame::End),
        }
    }

    /// Decrypts a body. Only the frame that says that it is the end opens as the last one.
    fn unseal(&mut self, body: Vec<u8>) -> Option<Vec<u8>> {
        let Some(mut opener) = self.opener.take() else { return self.header.encryption.is_none().then_some(body) };
        let is_end = |body: &Vec<u8>| body.first() == Some(&(Kind::End as u8));
        match opener.next(&body, &self.bound) {
            Some(opened) => {
                self.opener = Some(opener);
                Some(opened).filter(|body| !is_end(body))
            }
            None => opener.last(&body, &self.bound).filter(is_end),
        }
    }

    fn entries(&mut self, content: Vec<u8>) -> Result<Vec<(Bytes, Bytes)>, ArchiveError> {
        let found = entries(&content.into()).filter(|found| !found.is_empty());
        let found = found.ok_or_else(|| self.damaged("its entries cannot be read"))?;
        for (key, value) in &found {
            if self.last_key.as_ref().is_some_and(|last| last >= key) {
                return Err(self.damaged("its entries are not in order"));
            }
            self.sums.add(key, value);
            // The buffers are shared, so that this copies nothing.
            self.last_key = Some(key.clone());
        }
        // But it would keep the whole frame.
        self.last_key = self.last_key.as_deref().map(Bytes::copy_from_slice);
        Ok(found)
    }

    fn end(&mut self, content: &[u8]) -> Result<BackupSummary, ArchiveError> {
        let end: End = serde_json::from_slice(content)
            .map_err(|error| self.damaged(format!("its end cannot be read: {error}")))?;
        let hash: [u8; DIGEST] = self.hash.clone().finalize().into();
        let mut digest = [0; DIGEST];
        self.take(&mut digest)?;
        if hash != digest {
            return Err(self.damaged("the file does not match its checksum"));
        }
        let mut more = [0];
        match self.input.read(&mut more) {
            Ok(0) => {}
            Ok(_) => return Err(self.damaged("something follows behind its end")),
            Err(error) => return Err(ArchiveError::file(&self.path, &error)),
        }
        let found = std::mem::take(&mut self.sums).finish();
        if let Some(difference) = difference(&end.subspaces, &found) {
            return Err(self.damaged(difference));
        }
        if (end.keys, end.bytes) != totals(&found)
            || end.frames + 1 != self.frames
            || end.attachments != self.attachments
            || end.version > MOST_VERSION
            || end.taken > MOST_TIME
        {
            return Err(self.damaged("its end does not fit the rest"));
        }
        Ok(end.summary(&self.header, self.read))
    }

    /// Reads everything. `each` hears how many bytes were read and may end it.
    pub(crate) fn check(
        mut self,
        mut each: impl FnMut(u64, u64) -> Result<(), ArchiveError>,
    ) -> Result<Checked, ArchiveError> {
        let mut attachments = Vec::new();
        let mut before = 0;
        loop {
            let keys = match self.next()? {
                Frame::Entries(entries) => entries.len() as u64,
                Frame::Attachment(attachment) => {
                    attachments.push(attachment);
                    0
                }
                Frame::End(summary) => return Ok(Checked { summary, attachments, reader: self }),
            };
            each(keys, self.position() - before)?;
            before = self.position();
        }
    }
}

impl Checked {
    /// Reads it once more, from the same open file.
    pub(crate) fn again(self) -> Result<FileReader, ArchiveError> {
        self.reader.rewind()
    }
}

fn unpack(body: &[u8]) -> Option<(Kind, Vec<u8>)> {
    let (head, compressed) = body.split_first_chunk::<CONTENT_HEAD>()?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > MOST_CONTENT {
        return None;
    }
    let mut content = vec![0; length];
    let written = lz4_flex::block::decompress_into(compressed, &mut content).ok()?;
    Some((Kind::of(head[0])?, content)).filter(|_| written == length)
}

fn attachment(content: &[u8]) -> Option<Attachment> {
    let (length, rest) = content.split_first_chunk::<2>()?;
    let (name, content) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some(Attachment { name: String::from_utf8(name.to_vec()).ok()?, content: content.to_vec() })
}
