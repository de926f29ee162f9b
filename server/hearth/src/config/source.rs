//! Reads a configuration file and the environment, and remembers where each key came from, so that an error can
//! name the key, the file and the line.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

use super::raw::Raw;

/// Variables with this prefix override keys: `HEARTH_STORE__ENGINE` is `store.engine`.
const PREFIX: &str = "HEARTH_";
/// What a variable can begin with. Others with the prefix belong to other programs of the house (tests, desktop app) or
/// are mistaken; the server mentions them and goes on.
const SECTIONS: [&str; 11] = [
    "server_name",
    "public_base_url",
    "data_dir",
    "listener",
    "admin",
    "registration",
    "federation",
    "rooms",
    "passwords",
    "store",
    "limits",
];

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigError {
    /// Where: `FILE:LINE`, the name of a variable, or the file alone.
    pub(crate) place: String,
    /// The key, such as `registration.mode`; empty when no key is to blame.
    pub(crate) key: String,
    /// What is wrong with it, for people.
    pub(crate) message: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.place, self.message)
        } else {
            write!(f, "{}: `{}`: {}", self.place, self.key, self.message)
        }
    }
}

/// A configuration and where its keys stand.
#[derive(Debug)]
pub(super) struct Source {
    file: PathBuf,
    /// Key to line, from 1. Array elements are `listener[0]`.
    lines: BTreeMap<String, usize>,
    /// Key to variable.
    variables: BTreeMap<String, String>,
    /// Variables with our prefix that name no key.
    pub(super) ignored: Vec<String>,
}

impl Source {
    /// Reads `text`, the content of `file`, and applies `environment` on top.
    pub(super) fn read(
        file: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Raw), ConfigError> {
        let mut source =
            Self { file: file.to_owned(), lines: BTreeMap::new(), variables: BTreeMap::new(), ignored: Vec::new() };
        let mut places = Vec::new();
        match DeTable::parse(text) {
            Ok(document) => collect_table(document.get_ref(), "", &mut places),
            Err(error) => {
                let place =
                    error.span().map_or_else(|| source.file_place(), |span| source.line_place(text, span.start));
                return Err(ConfigError { place, key: String::new(), message: tidy(error.message()) });
            }
        }
        for (key, span) in &places {
            source.lines.entry(key.clone()).or_insert_with(|| line_of(text, span.start));
        }
        // First the file alone, since only then an error knows its place in the text.
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let key = places.iter().filter(|(_, place)| place.start <= span.start && span.end <= place.end);
            let key = key.min_by_key(|(_, place)| place.len()).map(|(key, _)| key.clone()).unwrap_or_default();
            ConfigError { place: source.line_place(text, span.start), key, message: tidy(error.message()) }
        })?;
        let mut variables: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        if variables.is_empty() {
            return Ok((source, raw));
        }
        variables.sort_unstable();
        // It was parsed above.
        let mut table: Table = toml::from_str(text).unwrap_or_default();
        let mut merged = raw;
        for (name, value) in variables {
            let first = name[PREFIX.len()..].split("__").next().unwrap_or_default().to_lowercase();
            if !SECTIONS.contains(&first.as_str()) {
                source.ignored.push(name);
                continue;
            }
            merged = source.apply(&mut table, &name, &value)?;
        }
        Ok((source, merged))
    }

    /// Sets the key that a variable names.
    fn apply(&mut self, table: &mut Table, name: &str, text: &str) -> Result<Raw, ConfigError> {
        let path: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        let mut key = String::new();
        for segment in &path {
            let separator = if key.is_empty() { "" } else { "." };
            match segment.parse::<usize>() {
                Ok(_) => key.extend(["[", segment, "]"]),
                Err(_) => key.extend([separator, segment]),
            }
        }
        let refuse = |message: String| ConfigError { place: name.to_owned(), key: key.clone(), message };
        let mut first_error = None;
        for value in candidates(text) {
            let mut changed = table.clone();
            if !set(&mut changed, &path, value) {
                return Err(refuse("this does not lead to a key".to_owned()));
            }
            match Raw::deserialize_from(changed.clone()) {
                Ok(raw) => {
                    *table = changed;
                    self.variables.insert(key, name.to_owned());
                    return Ok(raw);
                }
                Err(message) => first_error = first_error.or(Some(message)),
            }
        }
        Err(refuse(first_error.unwrap_or_default()))
    }

    /// An error about `key`, placed where the key was set.
    pub(super) fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let overridden = self.variables.iter().find(|(set, _)| key.starts_with(set.as_str()));
        let place = match (overridden, self.lines.get(key)) {
            (Some((_, variable)), _) => variable.clone(),
            (None, Some(line)) => format!("{}:{line}", self.file.display()),
            (None, None) => self.file_place(),
        };
        ConfigError { place, key: key.to_owned(), message: message.into() }
    }

    fn file_place(&self) -> String {
        self.file.display().to_string()
    }

    fn line_place(&self, text: &str, offset: usize) -> String {
        format!("{}:{}", self.file.display(), line_of(text, offset))
    }
}

impl Raw {
    fn deserialize_from(table: Table) -> Result<Self, String> {
        Value::Table(table).try_into().map_err(|error: toml::de::Error| tidy(error.message()))
    }
}

/// What the text of a variable can mean, the likeliest first: a string, a TOML value, a list separated by commas.
fn candidates(text: &str) -> Vec<Value> {
    let mut values = vec![Value::String(text.to_owned())];
    values.extend(text.parse::<Value>().ok());
    values.push(Value::Array(
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| Value::String(item.to_owned()))
            .collect(),
    ));
    values
}

/// Sets `path` in `table`. Numbers step into arrays, one past the end appends.
fn set(table: &mut Table, path: &[String], value: Value) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let Some((first, rest)) = parents.split_first() else {
        table.insert(last.clone(), value);
        return true;
    };
    let empty = |next: Option<&String>| match next.map(|next| next.parse::<usize>().is_ok()) {
        Some(true) => Value::Array(Vec::new()),
        _ => Value::Table(Table::new()),
    };
    let next = |depth: usize| rest.get(depth).or((depth == rest.len()).then_some(last));
    let mut current = table.entry(first.clone()).or_insert_with(|| empty(next(0)));
    for (depth, segment) in rest.iter().enumerate() {
        let Some(child) = step(current, segment, empty(next(depth + 1))) else { return false };
        current = child;
    }
    match step(current, last, Value::Boolean(false)) {
        Some(place) => {
            *place = value;
            true
        }
        None => false,
    }
}

fn step<'a>(value: &'a mut Value, segment: &str, missing: Value) -> Option<&'a mut Value> {
    match value {
        Value::Table(table) => Some(table.entry(segment).or_insert(missing)),
        Value::Array(items) => {
            let index: usize = segment.parse().ok()?;
            if index == items.len() {
                items.push(missing);
            }
            items.get_mut(index)
        }
        _ => None,
    }
}

/// Every key with the span of its name, and every value with its own. The name comes first.
fn collect_table(table: &DeTable<'_>, prefix: &str, places: &mut Vec<(String, Range<usize>)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        places.push((key.clone(), name.span()));
        collect_value(value, &key, places);
    }
}

fn collect_value(value: &Spanned<DeValue<'_>>, key: &str, places: &mut Vec<(String, Range<usize>)>) {
    places.push((key.to_owned(), value.span()));
    match value.get_ref() {
        DeValue::Table(table) => collect_table(table, key, places),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_value(item, &format!("{key}[{index}]"), places);
            }
        }
        _ => {}
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// Serde's words for people.
fn tidy(message: &str) -> String {
    let words = [
        ("unknown field", "there is no key"),
        ("unknown variant", "there is no choice"),
        ("invalid type: ", "wrong type: "),
        ("invalid value: ", "wrong value: "),
        ("expected u32", "expected a whole number"),
        ("expected a sequence", "expected a list in brackets"),
        ("expected path string", "expected a path in quotes"),
        ("expected a map", "expected a section"),
    ];
    let mut message = message.trim().to_owned();
    for (from, to) in words {
        message = message.replace(from, to);
    }
    message
}
