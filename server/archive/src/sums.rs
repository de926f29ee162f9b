//! Counts and checksums by table, over entries in key order.

use std::fmt::Write;

use hearth_store::tuple;
use sha2::{Digest, Sha256};

use crate::SubspaceSum;

/// Sums entries that come in key order.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    done: Vec<SubspaceSum>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    /// What every key of the table begins with; `None` for keys that belong to no table.
    prefix: Option<Vec<u8>>,
    sum: SubspaceSum,
    hash: Sha256,
}

impl Sums {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let same = match &self.current {
            Some(Current { prefix: Some(prefix), .. }) => key.starts_with(prefix),
            Some(Current { prefix: None, .. }) => table_of(key).is_none(),
            None => false,
        };
        if !same {
            self.close();
            let named = table_of(key);
            let prefix = named.as_ref().map(|(database, table)| tuple::pack(&(database, table)));
            let (database, table) = named.unwrap_or_default();
            let sum = SubspaceSum { database, table, keys: 0, key_bytes: 0, value_bytes: 0, sha256: String::new() };
            self.current = Some(Current { prefix, sum, hash: Sha256::new() });
        }
        if let Some(Current { sum, hash, .. }) = &mut self.current {
            sum.keys += 1;
            sum.key_bytes += key.len() as u64;
            sum.value_bytes += value.len() as u64;
            for part in [key, value] {
                hash.update((part.len() as u32).to_le_bytes());
                hash.update(part);
            }
        }
    }

    fn close(&mut self) {
        if let Some(Current { mut sum, hash, .. }) = self.current.take() {
            sum.sha256 = hexadecimal(&hash.finalize());
            self.done.push(sum);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<SubspaceSum> {
        self.close();
        self.done
    }
}

/// Number of entries, and bytes of keys and values, of all tables.
pub(crate) fn totals(sums: &[SubspaceSum]) -> (u64, u64) {
    sums.iter().fold((0, 0), |(keys, bytes), sum| (keys + sum.keys, bytes + sum.key_bytes + sum.value_bytes))
}

/// The first tables of which the two differ, in words; `None` where they are equal.
pub(crate) fn difference(wanted: &[SubspaceSum], found: &[SubspaceSum]) -> Option<String> {
    if wanted == found {
        return None;
    }
    let name = |sum: &SubspaceSum| format!("{}/{}", sum.database, sum.table);
    let of = |sums: &[SubspaceSum], like: &SubspaceSum| {
        sums.iter().find(|sum| (&sum.database, &sum.table) == (&like.database, &like.table)).cloned()
    };
    let mut words = Vec::new();
    for sum in wanted {
        match of(found, sum) {
            None => words.push(format!("{} is missing", name(sum))),
            Some(other) if other.keys != sum.keys => {
                words.push(format!("{} has {} entries instead of {}", name(sum), other.keys, sum.keys));
            }
            Some(other) if other != *sum => words.push(format!("{} differs in its content", name(sum))),
            Some(_) => {}
        }
    }
    for sum in found {
        if of(wanted, sum).is_none() {
            words.push(format!("{} is new", name(sum)));
        }
    }
    if words.is_empty() {
        words.push("entries that belong to no table differ".to_owned());
    }
    words.truncate(5);
    Some(words.join(", "))
}

/// Database and table of a key: its first two elements, where they are strings.
fn table_of(key: &[u8]) -> Option<(String, String)> {
    let (database, rest) = string_element(key)?;
    let (table, _) = string_element(rest)?;
    Some((database, table))
}

/// The string that a packed tuple begins with, and what follows.
fn string_element(packed: &[u8]) -> Option<(String, &[u8])> {
    let body = packed.strip_prefix(&[0x02])?;
    let mut end = 0;
    // A zero byte inside the string is followed by 0xff.
    loop {
        end += body.get(end..)?.iter().position(|byte| *byte == 0)?;
        if body.get(end + 1) != Some(&0xff) {
            break;
        }
        end += 2;
    }
    let text: String = tuple::unpack::<(String,)>(&packed[..end + 2]).ok()?.0;
    Some((text, &body[end + 1..]))
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_by_the_first_two_elements() {
        let of = |key: &[u8]| table_of(key);
        let named = |database: &str, table: &str| Some((database.to_owned(), table.to_owned()));
        assert_eq!(of(&tuple::pack(&("rooms", "event", 7u64))), named("rooms", "event"));
        assert_eq!(of(&tuple::pack(&("a\0b", "c\0", "d"))), named("a\0b", "c\0"));
        assert_eq!(of(&tuple::pack(&("rooms", "event"))), named("rooms", "event"));
        for other in [&b""[..], b"x", b"\x02", b"\x02ab", b"\x02ab\0", b"\x02ab\0\x02c", b"\x02\xff\0\x02c\0"] {
            assert_eq!(of(other), None, "{other:?}");
        }
        assert_eq!(of(&tuple::pack(&("rooms", 7u64))), None);
    }

    #[test]
    fn sums_depend_on_everything() {
        let sum = |entries: &[(&str, &str, &str)]| {
            let mut sums = Sums::default();
            for (table, key, value) in entries {
                sums.add(&tuple::pack(&("x", table, key)), value.as_bytes());
            }
            sums.finish()
        };
        let base = sum(&[("a", "1", "v"), ("a", "2", "w"), ("b", "1", "")]);
        assert_eq!(base.len(), 2);
        assert_eq!((base[0].keys, base[0].value_bytes, totals(&base).0), (2, 2, 3));
        assert_eq!(base, sum(&[("a", "1", "v"), ("a", "2", "w"), ("b", "1", "")]));
        for (other, words) in [
            (sum(&[("a", "1", "vw"), ("a", "2", ""), ("b", "1", "")]), "x/a differs in its content"),
            (sum(&[("a", "1", "v"), ("a", "2", "w")]), "x/b is missing"),
            (sum(&[("a", "1", "v"), ("b", "1", "")]), "x/a has 1 entries instead of 2"),
            (sum(&[("a", "1", "v"), ("a", "2", "w"), ("b", "1", ""), ("c", "1", "")]), "x/c is new"),
        ] {
            assert_eq!(difference(&base, &other).as_deref(), Some(words));
        }
    }
}
