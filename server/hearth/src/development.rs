//! The configuration of `hearth serve` without `--config`: in the platform's folder, made at the first start.

use std::{
    fmt::Write,
    io,
    path::{Path, PathBuf},
};

use rand::{Rng, rngs::OsRng};

use crate::{
    config::{Config, platform_folder},
    failure::Failure,
    private_file,
};

/// Where it is.
pub(crate) fn config_file() -> Result<PathBuf, Failure> {
    let folder = platform_folder().ok_or_else(|| {
        Failure::configuration("This system has no folder for a user's data. Name a configuration with --config.")
    })?;
    Ok(folder.join("hearth.toml"))
}

/// Reads it, making it where it is missing.
pub(crate) fn load_or_create() -> Result<Config, Failure> {
    let file = config_file()?;
    let failed = |error: io::Error| Failure::configuration(format!("{} cannot be written: {error}", file.display()));
    if !file.exists() {
        if let Some(folder) = file.parent() {
            private_file::create_folder(folder).map_err(failed)?;
        }
        private_file::write(&file, &first_config()).map_err(failed)?;
        tracing::info!(file = %file.display(), "wrote a first configuration");
    }
    Ok(Config::load(&file)?)
}

fn first_config() -> String {
    let token: String = (0..24).map(|_| char::from(OsRng.sample(rand::distributions::Alphanumeric))).collect();
    let mut text = String::from(
        "# Written by `hearth serve` at its first start without --config, for a look at Hearth on this machine.\n\
         # `hearth config example` explains every key.\n\n\
         # The name can never be changed: for a server that others are to reach, begin anew with your own domain.\n\
         server_name = \"localhost\"\n\
         data_dir = \"data\"\n\n\
         [[listener]]\n\
         address = \"127.0.0.1:8008\"\n\n\
         [admin]\n\
         address = \"127.0.0.1:8010\"\n\n\
         [registration]\n\
         # Whoever has this token can register an account.\n\
         mode = \"token\"\n",
    );
    // Writing to a string cannot fail.
    let _ = writeln!(text, "token = \"{token}\"");
    text
}

/// Tells a person where to go next.
pub(crate) fn greet(config: &Config, dashboard: &str, token_file: &Path) {
    eprintln!(
        "\nHearth runs with {}.\n\
         Dashboard:  {dashboard}  (the token is in {})\n\
         First user: hearth user create NAME --admin\n",
        config.file.display(),
        token_file.display(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_configuration_is_valid() {
        let config = Config::parse(Path::new("/home/ada/hearth.toml"), &first_config(), []).unwrap();
        assert_eq!(config.data_dir, Path::new("/home/ada/data"));
        assert_eq!(config.registration.token.map(|token| token.len()), Some(24));
    }
}
