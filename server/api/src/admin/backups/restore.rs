//! How to bring a backup back, as sentences and commands with this installation's own paths.

use std::path::{Path, PathBuf};

use hearth_archive::EXTENSION;

use super::Backups;

impl Backups {
    /// The steps for `backup`, the newest one unless there is none; each with the command for it, where there is one.
    pub(in crate::admin) fn restore_steps(&self, backup: Option<PathBuf>) -> Vec<(String, Option<String>)> {
        let settings = self.settings();
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("hearth"));
        let backup = backup.unwrap_or_else(|| settings.folder.join(format!("NAME.{EXTENSION}")));
        steps(&program, &settings.config_file, settings.store_folder.as_deref(), &backup)
    }
}

fn steps(program: &Path, config: &Path, store: Option<&Path>, backup: &Path) -> Vec<(String, Option<String>)> {
    // A line for each argument, since paths are long.
    let make_room = match store {
        Some(folder) => {
            let aside = folder.with_extension("before-restore");
            (
                "Put the store of today aside. A backup goes only into an empty one, and nothing is deleted.".to_owned(),
                Some(format!("mv {} \\\n  {}", quote(folder), quote(&aside))),
            )
        }
        None => (
            "In the configuration, below [store], set key_prefix to a name that was never used. A backup goes only into an \
             empty store; the data of today stays under the old name."
                .to_owned(),
            None,
        ),
    };
    let restore =
        format!("{} store restore \\\n  --config {} \\\n  --from {}", quote(program), quote(config), quote(backup));
    vec![
        ("Stop the server.".to_owned(), None),
        make_room,
        (
            "Restore the backup. The file is checked before anything is written, and the result is compared with it. An \
             interrupted restore goes on where it stopped."
                .to_owned(),
            Some(restore),
        ),
        ("Start the server again. Clients go on where the backup was made.".to_owned(), None),
    ]
}

/// A path as one word of a POSIX shell.
fn quote(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@%,".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_name_this_installation() {
        let steps = steps(
            Path::new("/usr/bin/hearth"),
            Path::new("/home/ada/my server/hearth.toml"),
            Some(Path::new("/srv/data/store")),
            Path::new("/srv/it's/a.hearth-backup"),
        );
        let commands: Vec<_> = steps.iter().filter_map(|(_, command)| command.as_deref()).collect();
        assert_eq!(
            commands,
            [
                "mv /srv/data/store \\\n  /srv/data/store.before-restore",
                "/usr/bin/hearth store restore \\\n  --config '/home/ada/my server/hearth.toml' \\\n  --from '/srv/it'\\''s/a.hearth-backup'",
            ]
        );
    }

    #[test]
    fn a_cluster_gets_another_prefix() {
        let steps = steps(Path::new("hearth"), Path::new("h.toml"), None, Path::new("a.hearth-backup"));
        assert!(steps[1].0.contains("key_prefix") && steps[1].1.is_none(), "{steps:?}");
        assert_eq!(
            steps[2].1.as_deref(),
            Some("hearth store restore \\\n  --config h.toml \\\n  --from a.hearth-backup")
        );
    }
}
