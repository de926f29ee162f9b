//! `server/DATA-MODEL.md` says what the crates' `keys.rs` say. `UPDATE=1` writes it anew.

use std::{fmt::Write, path::Path};

use hearth_store::{TableInfo, data_model};

/// Name, declaration below `server/`, tables.
const DATABASES: [(&str, &str, &[TableInfo]); 7] = [
    ("Rooms", "rooms/src/keys.rs", hearth_rooms::keys::TABLES),
    ("Accounts", "accounts/src/keys.rs", hearth_accounts::keys::TABLES),
    ("Transitory", "transitory/src/keys.rs", hearth_transitory::keys::TABLES),
    ("Jobs", "jobs/src/keys.rs", hearth_jobs::keys::TABLES),
    ("Processes of the store", "store/src/keys.rs", hearth_store::keys::TABLES),
    ("Copies and restores", "archive/src/keys.rs", hearth_archive::keys::TABLES),
    ("Figures of the dashboard", "api/src/admin/storage/keys.rs", hearth_api::admin::storage::keys::TABLES),
];

const INTRODUCTION: &str = "\
# Data model

Every table of the three databases and of what stands beside them, generated from their declarations:
`UPDATE=1 cargo test -p hearth --test data_model` writes this page anew.

A key is a [FoundationDB tuple](https://github.com/apple/foundationdb/blob/main/design/tuple.md): the name of the database, the
name of the table, then the elements below. Keys sort element by element, so a prefix of a key is a range to scan.
`Versionstamp` is the place of a commit among all commits, given at the commit; the types that end in `Nid` are numeric ids. The
types of values are in each crate's `records.rs`.
";

#[test]
fn the_page_is_what_keys_rs_declares() {
    let mut page = INTRODUCTION.to_owned();
    for (name, file, tables) in DATABASES {
        assert!(tables.iter().all(|table| table.database == tables[0].database));
        write!(page, "\n## {name}\n\n[`{file}`]({file})\n\n{}", data_model::markdown(tables)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../DATA-MODEL.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "server/DATA-MODEL.md is old: write it anew with UPDATE=1 in the environment");
}
