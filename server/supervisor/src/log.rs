//! The child's log: a bounded tail in memory and a size-bound file that rotates.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Longest line kept, in bytes; the rest of a longer one is dropped.
pub(crate) const LONGEST_LINE: usize = 16 * 1024;

/// The last log lines, bounded in number.
#[derive(Debug)]
pub struct Tail {
    lines: VecDeque<String>,
    capacity: usize,
}

impl Tail {
    /// Keeps at most `capacity` lines.
    pub fn new(capacity: usize) -> Self {
        Self { lines: VecDeque::with_capacity(capacity.min(1024)), capacity }
    }

    /// Adds a line and drops the oldest one when full.
    pub fn push(&mut self, line: String) {
        if self.capacity == 0 {
            return;
        }
        if self.lines.len() == self.capacity {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The last `count` lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<String> {
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).cloned().collect()
    }
}

/// A log file that is renamed to `name.1`, `name.2`, ... when it has grown to its size. Readable by its owner only.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_bytes: u64,
    keep: u32,
}

impl LogFile {
    /// Opens for appending. A file holds at most `max_bytes` (plus one line), and `keep` older ones are kept.
    pub fn open(path: &Path, max_bytes: u64, keep: u32) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, max_bytes, keep })
    }

    /// Appends a line, after rotating when the file is full.
    pub fn write_line(&mut self, line: &str) -> io::Result<()> {
        if self.size >= self.max_bytes {
            self.rotate()?;
        }
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.size += line.len() as u64 + 1;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            for age in (1..self.keep).rev() {
                rename_if_there(&self.older(age), &self.older(age + 1))?;
            }
            rename_if_there(&self.path, &self.older(1))?;
        }
        self.file = append(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }

    fn older(&self, age: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{age}"));
        name.into()
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Collects bytes into lines of at most [`LONGEST_LINE`] bytes, so that a child that never ends a line cannot fill the
/// memory. Bytes that are not UTF-8 become replacement characters.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    partial: Vec<u8>,
    cut: bool,
}

impl LineSplitter {
    /// Takes bytes and gives each completed line to `sink`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end]);
            self.finish(&mut sink);
            bytes = &bytes[end + 1..];
        }
        self.take(bytes);
    }

    /// Gives what is left as a last line.
    pub(crate) fn flush(&mut self, mut sink: impl FnMut(String)) {
        if !self.partial.is_empty() {
            self.finish(&mut sink);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = LONGEST_LINE - self.partial.len();
        self.cut |= bytes.len() > room;
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(&mut self, sink: &mut impl FnMut(String)) {
        let mut line = String::from_utf8_lossy(&self.partial).trim_end_matches('\r').to_owned();
        if self.cut {
            line.push_str(" [cut]");
        }
        self.partial.clear();
        self.cut = false;
        sink(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_bounded_and_ordered() {
        let mut tail = Tail::new(3);
        for n in 0..5 {
            tail.push(n.to_string());
        }
        assert_eq!(tail.last(10), ["2", "3", "4"]);
        assert_eq!(tail.last(2), ["3", "4"]);
        let mut none = Tail::new(0);
        none.push("x".to_owned());
        assert!(none.last(1).is_empty());
    }

    #[test]
    fn lines_are_split_across_reads_and_bounded() {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for bytes in [&b"one\r\ntw"[..], b"o\n\nbad \xff byte\nlast"] {
            splitter.feed(bytes, |line| lines.push(line));
        }
        splitter.flush(|line| lines.push(line));
        assert_eq!(lines, ["one", "two", "", "bad \u{fffd} byte", "last"]);

        lines.clear();
        for _ in 0..3 {
            splitter.feed(&vec![b'x'; LONGEST_LINE], |line| lines.push(line));
        }
        splitter.feed(b"\nnext\n", |line| lines.push(line));
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), LONGEST_LINE + " [cut]".len());
        assert_eq!(lines[1], "next");
    }

    #[test]
    fn the_file_rotates_and_keeps_a_few() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/server.log");
        let mut log = LogFile::open(&path, 10, 2).unwrap();
        for n in 0..8 {
            log.write_line(&format!("line {n}")).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join("logs").join(name)).unwrap();
        assert_eq!(read("server.log"), "line 6\nline 7\n");
        assert_eq!(read("server.log.1"), "line 4\nline 5\n");
        assert_eq!(read("server.log.2"), "line 2\nline 3\n");
        assert_eq!(fs::read_dir(folder.path().join("logs")).unwrap().count(), 3);

        // A reopened file goes on where it was.
        let mut again = LogFile::open(&path, 10, 2).unwrap();
        again.write_line("line 8").unwrap();
        assert_eq!(read("server.log"), "line 8\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
