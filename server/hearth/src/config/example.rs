//! The commented example: every key with what it does and its default.

use std::fmt::Write;

/// One key of the example.
struct Entry {
    /// `[section]`, `[[section]]`, or empty for the top.
    section: &'static str,
    key: &'static str,
    /// The default, or a sample where there is none; TOML.
    value: &'static str,
    comment: &'static [&'static str],
    /// Whether `value` is written out, not commented out.
    active: bool,
}

const fn entry(
    section: &'static str,
    key: &'static str,
    value: &'static str,
    active: bool,
    comment: &'static [&'static str],
) -> Entry {
    Entry { section, key, value, comment, active }
}

/// Every key, in the order of the file.
const ENTRIES: &[Entry] = &[
    entry(
        "",
        "server_name",
        "\"example.org\"",
        true,
        &[
            "The server's name: the part behind the colon in @you:example.org. With a port where the domain needs one.",
            "It is part of every user's and every room's address, and it can never be changed. Required.",
        ],
    ),
    entry(
        "",
        "public_base_url",
        "\"https://example.org\"",
        false,
        &["What clients are told to connect to. Default: derived from the first listener that serves clients."],
    ),
    entry(
        "",
        "data_dir",
        "\"data\"",
        false,
        &[
            "Where everything is kept. A relative path is relative to this file, here and everywhere below.",
            "Default: the platform's folder for Hearth (on Linux ~/.local/share/hearth/data).",
        ],
    ),
    entry(
        "[[listener]]",
        "address",
        "\"127.0.0.1:8008\"",
        true,
        &[
            "Where clients and servers connect; any number of these sections. Port 0 picks a free one, which the ready line",
            "tells. Without any section: this one.",
        ],
    ),
    entry("[[listener]]", "serves", "[\"client\", \"federation\", \"media\"]", true, &["What is served here."]),
    entry(
        "[[listener]]",
        "tls",
        "{ certificate = \"cert.pem\", key = \"key.pem\" }",
        false,
        &["TLS by the server itself, with PEM files. Default: plain HTTP, for a proxy on this machine."],
    ),
    entry(
        "[admin]",
        "address",
        "\"127.0.0.1:8010\"",
        true,
        &["The admin API and the dashboard. On this machine alone."],
    ),
    entry(
        "[registration]",
        "mode",
        "\"closed\"",
        true,
        &["Who may register an account: nobody (closed), whoever has a token (token), everybody (open)."],
    ),
    entry(
        "[registration]",
        "token",
        "\"a-long-secret-word\"",
        false,
        &[
            "A registration token that is always valid in the mode token, besides those made in the dashboard. Default: none.",
        ],
    ),
    entry(
        "[registration]",
        "shared_secret",
        "\"another-long-secret\"",
        false,
        &[
            "Lets tools register accounts at /_synapse/admin/v1/register, in any mode. Default: none, which switches it off.",
        ],
    ),
    entry("[federation]", "enabled", "true", true, &["Whether to talk to other servers."]),
    entry(
        "[federation]",
        "extra_ca",
        "[]",
        true,
        &["PEM files of certificate authorities to trust besides the system's."],
    ),
    entry(
        "[federation]",
        "allow_private_addresses",
        "false",
        true,
        &["Whether to connect to servers on loopback and private addresses. Only for tests and closed networks."],
    ),
    entry("[rooms]", "default_version", "\"12\"", true, &["Version of new rooms, where the client does not choose."]),
    entry("[passwords]", "memory_kib", "19456", true, &["What one password hash (argon2id) costs: memory in KiB ..."]),
    entry("[passwords]", "iterations", "2", true, &["... and passes over it."]),
    entry(
        "[store]",
        "engine",
        "\"embedded\"",
        true,
        &["What keeps the data: embedded (in the data folder) or foundationdb."],
    ),
    entry(
        "[store]",
        "cluster_file",
        "\"fdb.cluster\"",
        false,
        &["For foundationdb: an existing cluster. Default: a local fdbserver that Hearth runs."],
    ),
    entry(
        "[store]",
        "client_library",
        "\"/opt/foundationdb/libfdb_c.so\"",
        false,
        &[
            "For foundationdb: its client library (libfdb_c). Default: searched in the system's places and beside hearth.",
        ],
    ),
    entry(
        "[store]",
        "key_prefix",
        "\"hearth\"",
        false,
        &["For foundationdb: what all keys begin with, so that several servers share a cluster. Default: hearth."],
    ),
    entry(
        "[backup]",
        "folder",
        "\"backups\"",
        false,
        &["Where backups are kept. Default: backups in the data folder."],
    ),
    entry("[backup]", "interval_hours", "24", true, &["Hours between scheduled backups; 0 for none."]),
    entry("[backup]", "keep", "3", true, &["How many scheduled backups are kept; older ones are deleted."]),
    entry(
        "[backup]",
        "passphrase_file",
        "\"backup-passphrase\"",
        false,
        &[
            "A file whose first line encrypts backups. Without it nobody can read them, you included. Default: not encrypted.",
        ],
    ),
    entry("[limits]", "rate_limit", "true", true, &["Whether too many requests by one user or address are refused."]),
];

/// The example as a file.
pub(crate) fn example() -> String {
    render(false)
}

/// The example; with `everything` no key is commented out.
fn render(everything: bool) -> String {
    let mut text = String::from(
        "# Hearth's configuration: every key with its default. A key that is commented out has none, or one that is said\n\
         # above it. Every key can be overridden by an environment variable: HEARTH_SERVER_NAME, HEARTH_STORE__ENGINE,\n\
         # HEARTH_LISTENER__0__ADDRESS.\n",
    );
    let mut section = "";
    for entry in ENTRIES {
        if entry.section != section {
            section = entry.section;
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "\n{section}");
        } else if section.is_empty() {
            text.push('\n');
        }
        for line in entry.comment {
            let _ = writeln!(text, "# {line}");
        }
        let mark = if entry.active || everything { "" } else { "# " };
        let _ = writeln!(text, "{mark}{} = {}", entry.key, entry.value);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, raw::Raw};

    fn parse(text: &str) -> Config {
        Config::parse(Path::new("/etc/hearth.toml"), text, []).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_example_is_valid_and_says_the_defaults() {
        let example = parse(&example());
        let defaults = parse("server_name = \"example.org\"");
        assert_eq!(format!("{example:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn the_example_has_every_key() {
        // Everything at once contradicts itself in one place only.
        let text = render(true).replace("\"embedded\"", "\"foundationdb\"");
        parse(&text);
        // serde lists the keys that it knows when it meets one that it does not.
        let sections = [
            "",
            "[[listener]]",
            "[admin]",
            "[registration]",
            "[federation]",
            "[rooms]",
            "[passwords]",
            "[store]",
            "[backup]",
            "[limits]",
        ];
        for section in sections {
            let error = toml::from_str::<Raw>(&format!("{section}\nno_such_key = 1")).unwrap_err().to_string();
            let (_, known) = error.split_once("expected").unwrap();
            let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            assert!(!known.is_empty(), "{error}");
            for key in known {
                let is_section = ENTRIES.iter().any(|entry| entry.section.trim_matches(['[', ']']) == key);
                let is_key = ENTRIES.iter().any(|entry| entry.section == section && entry.key == key);
                assert!(is_section || is_key, "{section} {key} is missing in the example");
            }
        }
    }
}
