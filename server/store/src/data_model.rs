//! The keyspace as a page to read.

use std::fmt::Write;

use crate::TableInfo;

/// A database's tables as a Markdown table, in the order of their declaration. Every key begins with the database's and
/// the table's name, which the column of keys leaves out.
pub fn markdown(tables: &[TableInfo]) -> String {
    let mut page = String::from("| table | key | value | what it is |\n| --- | --- | --- | --- |\n");
    for TableInfo { table, key, value, doc, .. } in tables {
        let doc = doc.replace('|', "\\|");
        writeln!(page, "| `{table}` | `{key}` | `{value}` | {doc} |").expect("a string takes everything");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_per_table() {
        let tables =
            [TableInfo { database: "x", table: "th", key: "thing: u64", value: "String", doc: "This | that." }];
        let page = markdown(&tables);
        assert_eq!(page.lines().last(), Some("| `th` | `thing: u64` | `String` | This \\| that. |"));
        assert_eq!(page.lines().count(), 3);
    }
}
