//! How `hearth serve` is run here: program, arguments, readiness, health, what must be free before a start.

use crate::{config::Config, folder::Folder};
use hearth_supervisor::{
    Context, Health, LogSpec, Obstacle, Preflight, Readiness, Spec, health, lock,
    port::{self, PortError},
    probe,
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// A server that was killed may have to check its data first, and that grows with the data.
const READY_DEADLINE: Duration = Duration::from_mins(5);
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
const HEALTH_DEADLINE: Duration = Duration::from_secs(5);
const HEALTH_FAILURES: u32 = 3;

/// The server's program: it lies next to this one, in the build folder as in the package.
pub(crate) fn program() -> PathBuf {
    let name = format!("hearth{}", std::env::consts::EXE_SUFFIX);
    std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(&name))).unwrap_or_else(|| name.into())
}

/// How to run and watch the server of a folder.
pub(crate) fn spec(folder: &Folder) -> Spec {
    let mut spec = Spec::new("hearth", program())
        .args(["serve".into(), "--config".into(), folder.config().into_os_string(), "--exit-on-stdin-eof".into()])
        // It would override the `data_dir` of the file.
        .env_remove(crate::folder::OVERRIDE)
        .env_remove("HEARTH_DESKTOP_LOG")
        .readiness(Readiness::ReadyLine { deadline: READY_DEADLINE });
    let checked = folder.clone();
    spec.preflight = Some(Preflight::new(move || preflight(&checked)));
    let probe = probe(|context: Context| async move {
        let ready = context.ready.as_ref().and_then(Ready::parse).ok_or("its ready line names no admin address")?;
        health::check(ready.admin, "/", HEALTH_DEADLINE).await.map_err(|error| error.to_string())
    });
    spec.health = Some(Health { probe, interval: HEALTH_INTERVAL, failures: HEALTH_FAILURES });
    spec.log = Some(LogSpec::new(folder.log()));
    spec
}

/// Who holds the folder, then who holds the ports: the first explains the second.
fn preflight(folder: &Folder) -> Result<(), Obstacle> {
    let Ok(Some(config)) = Config::load(folder) else { return Ok(()) };
    if let Some(holder) = lock::holder(&lock_file(&config)) {
        return Err(Obstacle::Held(holder));
    }
    for address in config.listeners.iter().chain(&config.admin) {
        if let Err(PortError::Taken(taken)) = port::check(*address) {
            return Err(Obstacle::PortTaken(taken));
        }
    }
    Ok(())
}

/// The file on which a server holds an operating-system lock while it uses the folder.
pub(crate) fn lock_file(config: &Config) -> PathBuf {
    config.data_dir.join("lock")
}

/// Where a server keeps its admin token, for when we did not hear its ready line.
pub(crate) fn token_file(config: &Config) -> PathBuf {
    config.data_dir.join("admin-token")
}

/// Where a running server notes its admin API's address, for the same case.
pub(crate) fn admin_url_file(config: &Config) -> PathBuf {
    config.data_dir.join("admin-url")
}

/// The address of an `http://ADDRESS:PORT` URL.
pub(crate) fn parse_url(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.trim_end_matches('/').parse().ok()
}

/// What a ready line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) listeners: Vec<String>,
    pub(crate) admin: SocketAddr,
    pub(crate) token_file: PathBuf,
}

impl Ready {
    pub(crate) fn parse(line: &serde_json::Value) -> Option<Self> {
        let listeners = line.get("listeners").and_then(|list| list.as_array()).into_iter().flatten();
        Some(Self {
            listeners: listeners.filter_map(|url| url.as_str().map(str::to_owned)).collect(),
            admin: parse_url(line.get("admin")?.as_str()?)?,
            token_file: line.get("admin_token_file")?.as_str()?.into(),
        })
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_ready_line_is_read() {
        let line = json!({
            "event": "ready", "listeners": ["http://127.0.0.1:8008"], "admin": "http://127.0.0.1:8010",
            "admin_token_file": "/srv/data/admin-token",
        });
        let ready = Ready::parse(&line).unwrap();
        assert_eq!(ready.listeners, ["http://127.0.0.1:8008"]);
        assert_eq!(ready.admin_url(), "http://127.0.0.1:8010");
        assert_eq!(ready.token_file, PathBuf::from("/srv/data/admin-token"));
        for broken in [json!({}), json!({"admin": "unix:/x"}), json!({"admin": 1, "admin_token_file": "x"})] {
            assert_eq!(Ready::parse(&broken), None);
        }
    }

    #[test]
    fn a_taken_port_and_a_held_folder_are_obstacles() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path());
        assert_eq!(preflight(&folder), Ok(()), "no configuration is no obstacle");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken_port = listener.local_addr().unwrap().port();
        let text = format!("[[listener]]\naddress = \"127.0.0.1:{taken_port}\"\n[admin]\naddress = \"127.0.0.1:0\"");
        std::fs::write(folder.config(), text).unwrap();
        let Err(Obstacle::PortTaken(taken)) = preflight(&folder) else { panic!("the port is taken") };
        assert_eq!(taken.port, taken_port);

        let path = lock_file(&Config::load(&folder).unwrap().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        file.lock().unwrap();
        assert!(matches!(preflight(&folder), Err(Obstacle::Held(_))), "the folder comes first");
        drop(file);
        drop(listener);
        assert_eq!(preflight(&folder), Ok(()));
    }
}
