//! Storage, backups and jobs through the API, on a real store with real jobs and real files.

use std::{path::Path, time::Duration};

use axum::body::Body;
use futures_util::StreamExt;
use hearth_archive::{BackupOptions, Progress, backup};
use hearth_jobs::{Enqueue, Handler, JobError, JobId, Jobs, Kind, Policy, Runner, RunnerOptions, Running, kinds};
use hearth_store::Store;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    storage::StorageMonitor,
    tests::{TOKEN, call, parts},
    *,
};

/// A server with its background work and a folder for backups, all of it ended with it.
struct Server {
    router: Router,
    jobs: Jobs,
    store: Store,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = parts();
        parts.backups.folder = folder.path().join("backups");
        parts.storage.folder = Some(folder.path().to_owned());
        parts.storage.tables = [hearth_accounts::keys::TABLES, storage::keys::TABLES].concat();
        let (jobs, store, stop) = (parts.jobs.clone(), parts.store.clone(), parts.shutdown.clone());
        let (router, background) = router(parts);
        let mut tasks = JoinSet::new();
        tasks.spawn(background);
        Self { router, jobs, store, folder, stop, tasks }
    }

    /// Does jobs of `handler`'s kind.
    fn run<H: Handler>(&mut self, handler: H) {
        let runner = Runner::new(self.jobs.clone(), RunnerOptions::default()).handle(handler);
        self.tasks.spawn(runner.run(self.stop.clone()));
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = call(&self.router, "GET", path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        call(&self.router, method, path, body).await
    }

    /// Asks until the answer is as it should be.
    async fn until(&self, path: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let asking = async {
            loop {
                let body = self.get(path).await;
                if ready(&body) {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap_or_else(|_| panic!("{path} never came"))
    }

    async fn ended(&self, id: &Value) -> Value {
        let id: JobId = id.as_str().unwrap().parse().unwrap();
        self.jobs.ended(id).await.unwrap();
        self.get(&format!("/jobs/{id}")).await
    }

    async fn backup(&self, name: &str, scheduled: bool) {
        let options = BackupOptions {
            server_name: "hearth.test".to_owned(),
            hearth_version: "1.2.3".to_owned(),
            passphrase: None,
            scheduled,
            attachments: Vec::new(),
        };
        let path = self.folder.path().join("backups").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        backup(&self.store, &path, options, &Progress::new()).await.unwrap();
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// Runs until the test lets it, or fails.
struct Gate(watch::Receiver<Option<Result<(), &'static str>>>);

struct Knead;

impl Kind for Knead {
    const NAME: &'static str = "knead";
    type Arguments = String;
}

impl Handler for Gate {
    type Kind = Knead;

    async fn run(&self, job: &Running<String>) -> Result<(), JobError> {
        job.progress(3, Some(10), "Kneading");
        let mut gate = self.0.clone();
        tokio::select! {
            () = job.stop().cancelled() => Err(JobError::Cancelled),
            outcome = gate.wait_for(Option::is_some) => match *outcome.unwrap() {
                Some(Err(why)) => Err(JobError::GiveUp(why.to_owned())),
                _ => Ok(()),
            },
        }
    }

    fn policy(&self) -> Policy {
        Policy { concurrency: 8, ..Policy::default() }
    }
}

#[tokio::test]
async fn jobs_are_listed_counted_retried_and_cancelled() {
    let mut server = Server::start();
    assert_eq!(server.get("/jobs").await, json!({"jobs": [], "next": null}));
    assert_eq!(server.get("/job_counts").await, json!([]));
    for (method, path) in
        [("GET", "/jobs/0123456789abcdef"), ("POST", "/jobs/nonsense/retry"), ("POST", "/jobs/0123456789abcdef/cancel")]
    {
        let (status, body) = server.send(method, path, None).await;
        assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!("not_found")), "{path}");
    }
    assert_eq!(server.send("GET", "/jobs?state=asleep", None).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(server.send("GET", "/jobs?after=rubbish", None).await.0, StatusCode::BAD_REQUEST);

    let enqueue = async |key: &str| {
        let secret = "the secret argument".to_owned();
        server.jobs.enqueue::<Knead>(key, &secret, Enqueue::default()).await.unwrap().to_string()
    };
    let (first, second, third) = (enqueue("!a:x").await, enqueue("!b:x").await, enqueue("!c:x").await);
    let page = server.get("/jobs?state=waiting&limit=2").await;
    let next = page["next"].as_str().unwrap();
    let rest = server.get(&format!("/jobs?state=waiting&limit=2&after={next}")).await;
    assert_eq!((rest["jobs"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    let mut keys: Vec<_> = [&page["jobs"][0], &page["jobs"][1], &rest["jobs"][0]].map(|job| job["key"].clone()).into();
    keys.sort_by_key(Value::to_string);
    assert_eq!(keys, ["!a:x", "!b:x", "!c:x"], "each once");
    assert_eq!(server.get("/jobs?kind=bake").await["jobs"], json!([]));

    // One is cancelled before anybody does it.
    let (status, job) = server.send("POST", &format!("/jobs/{third}/cancel"), None).await;
    assert_eq!((status, &job["state"]), (StatusCode::OK, &json!("cancelled")));
    let (status, body) = server.send("POST", &format!("/jobs/{third}/cancel"), None).await;
    assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &json!("conflict")));

    // Two run, and the overview shows how far they are.
    let (gate, open) = watch::channel(None);
    server.run(Gate(open));
    let shown = |body: &Value| {
        let running = body["jobs"]["running"].as_array().unwrap();
        running.len() == 2 && running.iter().all(|job| job["progress"]["done"] == json!(3))
    };
    let overview = server.until("/overview", shown).await;
    assert_eq!(overview["jobs"]["running"][0]["progress"]["total"], json!(10));
    assert_eq!((&overview["jobs"]["waiting"], &overview["jobs"]["ended"]), (&json!(0), &json!(1)));
    let job = server.get(&format!("/jobs/{first}")).await;
    assert_eq!((&job["state"], &job["progress"]["message"]), (&json!("running"), &json!("Kneading")));
    assert!(!job.to_string().contains("secret"), "{job}");
    assert_eq!(server.send("POST", &format!("/jobs/{first}/retry"), None).await.0, StatusCode::CONFLICT);

    // One ends because it is asked to; the other fails, is told of, and succeeds when it is retried.
    server.send("POST", &format!("/jobs/{second}/cancel"), None).await;
    assert_eq!(server.ended(&json!(second)).await["state"], "cancelled");
    gate.send(Some(Err("the oven is cold"))).unwrap();
    let failed = server.ended(&json!(first)).await;
    assert_eq!((&failed["state"], &failed["last_error"]), (&json!("failed"), &json!("the oven is cold")));
    let overview = server.until("/overview", |body| body["jobs"]["failed"] == json!(1)).await;
    assert!(overview["notices"].to_string().contains("jobs_failed"), "{}", overview["notices"]);
    let counts = server.get("/job_counts").await;
    let expected = json!([{"kind": "knead", "running": 0, "waiting": 0, "failed": 1, "done": 0, "cancelled": 2}]);
    assert_eq!(counts, expected);
    gate.send(Some(Ok(()))).unwrap();
    let (status, again) = server.send("POST", &format!("/jobs/{first}/retry"), None).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &json!(first)));
    assert_eq!(server.ended(&json!(first)).await["state"], "done");
    server.stop().await;
}

#[tokio::test]
async fn changes_of_jobs_are_told_live() {
    let server = Server::start();
    let request = Request::get(format!("{API}/events?topics=changes"))
        .header(header::HOST, "127.0.0.1:8010")
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(Body::empty())
        .unwrap();
    let mut events = server.router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    let mut told = async || {
        let mut seen = String::new();
        while !seen.contains(r#""jobs""#) {
            seen.push_str(std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap());
        }
        seen
    };
    assert!(told().await.contains(r#""users""#), "first of all everything");
    server.jobs.enqueue::<Knead>("k", &String::new(), Enqueue::default()).await.unwrap();
    let seen = told().await;
    assert!(!seen.contains(r#"["users""#) && seen.contains(r#""topics":["jobs"]"#), "{seen}");
    server.stop().await;
}

#[tokio::test]
async fn the_store_tells_how_it_is_how_large_and_how_it_grows() {
    let server = Server::start();
    for name in ["ada", "bob"] {
        server.send("POST", "/users", Some(json!({"localpart": name, "password": "long enough"}))).await;
    }
    // The first question begins the measurement; nobody waits for it.
    let measured = |body: &Value| !body["sizes"]["measured_at"].is_null() && body["total_bytes"].is_u64();
    let known = server.until("/storage", measured).await;
    assert_eq!((&known["engine"], &known["health"]["state"]), (&json!("memory"), &json!("degraded")));
    assert!(known["health"]["message"].as_str().unwrap().contains("in memory"), "{known}");
    assert!(known["free_bytes"].as_u64().unwrap() <= known["total_bytes"].as_u64().unwrap());
    assert_eq!(
        (&known["growth"], &known["shared"], &known["sizes"]["complete"]),
        (&Value::Null, &json!(false), &json!(true))
    );
    let tables = known["sizes"]["tables"].as_array().unwrap();
    let users = tables.iter().find(|table| table["table"] == "user").unwrap_or_else(|| panic!("{tables:?}"));
    assert_eq!((&users["database"], &users["entries"]), (&json!("accounts"), &json!(2)));
    assert!(users["bytes"].as_u64().unwrap() > 20 && !users["about"].as_str().unwrap().is_empty());
    assert!(tables.is_sorted_by_key(|table| std::cmp::Reverse(table["bytes"].as_u64())), "the largest first");

    // The first sample is taken at the start.
    let samples = server.until("/storage/growth", |body| !body.as_array().unwrap().is_empty()).await;
    assert_eq!(samples.as_array().unwrap().len(), 1);
    assert_eq!(server.send("POST", "/storage/measure", None).await.0, StatusCode::ACCEPTED);
    server.stop().await;
}

#[tokio::test]
async fn samples_survive_a_restart_and_old_ones_go() {
    const HOUR: u64 = 3_600_000;
    let parts = parts();
    let monitor = || StorageMonitor::new(parts.store.clone(), parts.rooms.clone(), parts.storage.clone());
    let first = monitor();
    let start = 2_000_000 * HOUR / 24 * 24;
    for hour in 0..24 * 20 {
        first.sample(start + hour * HOUR).await.unwrap();
        first.sample(start + hour * HOUR + 900_000).await.unwrap();
    }
    let samples = monitor().samples().await.unwrap();
    assert!(samples.is_sorted_by_key(|sample| sample.at));
    let week = samples.iter().filter(|sample| sample.at >= start + 13 * 24 * HOUR).count();
    assert!((7 * 24..=7 * 24 + 1).contains(&week), "hourly for a week: {week}");
    assert!((13..=14).contains(&(samples.len() - week)), "daily before: {}", samples.len() - week);
    assert_eq!(samples.last().unwrap().at, start + (24 * 20 - 1) * HOUR + 900_000, "the newest of an hour stays");

    // Four years later all of it has gone.
    first.sample(start + 4 * 365 * 24 * HOUR).await.unwrap();
    assert_eq!(monitor().samples().await.unwrap().len(), 1);
}

/// Makes backups as the server's own handler does.
struct BackUp {
    folder: std::path::PathBuf,
}

impl Handler for BackUp {
    type Kind = kinds::Backup;

    async fn run(&self, job: &Running<kinds::BackupArguments>) -> Result<(), JobError> {
        let options = BackupOptions {
            server_name: "hearth.test".to_owned(),
            hearth_version: "1.2.3".to_owned(),
            passphrase: None,
            scheduled: false,
            attachments: Vec::new(),
        };
        std::fs::create_dir_all(&self.folder).map_err(JobError::retry)?;
        let path = self.folder.join(format!("{}.hearth-backup", job.key()));
        backup(job.store(), &path, options, &Progress::new()).await.map(|_| ()).map_err(JobError::retry)
    }
}

#[tokio::test]
async fn backups_are_made_verified_and_deleted() {
    let mut server = Server::start();
    server.send("POST", "/users", Some(json!({"localpart": "ada", "password": "long enough"}))).await;
    let empty = server.get("/backups").await;
    assert_eq!((&empty["files"], &empty["interval_hours"], &empty["keep"]), (&json!([]), &json!(24), &json!(3)));
    let restore = empty["restore"][2]["command"].as_str().unwrap();
    assert!(restore.contains("store restore") && restore.contains("--config /etc/hearth.toml"), "{restore}");

    server.run(BackUp { folder: server.folder.path().join("backups") });
    let (status, job) = server.send("POST", "/backups", None).await;
    assert_eq!((status, &job["kind"], &job["scheduled"]), (StatusCode::ACCEPTED, &json!("backup"), &json!(false)));
    assert_eq!(server.ended(&job["id"]).await["state"], "done");
    server.backup("nightly.hearth-backup", true).await;

    let list = server.get("/backups").await;
    assert_eq!(list["files"].as_array().unwrap().len(), 2);
    let file = |name: &str| list["files"].as_array().unwrap().iter().find(|file| file["name"] == name).unwrap().clone();
    let header = &file("nightly.hearth-backup")["header"];
    assert_eq!((&header["scheduled"], &header["server_name"]), (&json!(true), &json!("hearth.test")));
    assert_eq!((&header["encrypted"], &header["engine"]), (&json!(false), &json!("memory")));
    assert_eq!(file("manual.hearth-backup")["header"]["scheduled"], json!(false));

    // A whole one verifies, an altered one does not, and says why.
    let (status, work) = server.send("POST", "/backups/manual.hearth-backup/verify", None).await;
    assert_eq!((status, &work["kind"]), (StatusCode::ACCEPTED, &json!("verify")));
    let path = format!("/backup_works/{}", work["id"]);
    let done = server.until(&path, |work| work["state"] != "running").await;
    assert_eq!((&done["state"], &done["error"]), (&json!("done"), &Value::Null), "{done}");
    assert!(done["entries"].as_u64().unwrap() > 0 && done["file_bytes"].as_u64().unwrap() > 0);
    let damaged = server.folder.path().join("backups/nightly.hearth-backup");
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let (_, work) = server.send("POST", "/backups/nightly.hearth-backup/verify", None).await;
    let failed = server.until(&format!("/backup_works/{}", work["id"]), |work| work["state"] != "running").await;
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("nightly.hearth-backup"), "{failed}");

    assert_eq!(server.send("DELETE", "/backups/nightly.hearth-backup", None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(server.send("DELETE", "/backups/nightly.hearth-backup", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(server.get("/backups").await["files"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn only_backups_in_the_folder_are_touched() {
    let server = Server::start();
    server.backup("mine.hearth-backup", false).await;
    let folder = server.folder.path();
    std::fs::write(folder.join("outside.hearth-backup"), "precious").unwrap();
    std::fs::write(folder.join("backups/notes.txt"), "precious").unwrap();
    std::fs::create_dir(folder.join("backups/folder.hearth-backup")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.join("outside.hearth-backup"), folder.join("backups/link.hearth-backup"))
        .unwrap();
    for name in [
        "..%2Foutside.hearth-backup",
        "%2Fetc%2Fpasswd",
        "notes.txt",
        "folder.hearth-backup",
        "link.hearth-backup",
        ".hearth-backup",
        "nothing.hearth-backup",
        "..",
    ] {
        for (method, path) in [("DELETE", format!("/backups/{name}")), ("POST", format!("/backups/{name}/verify"))] {
            let (status, body) = server.send(method, &path, None).await;
            assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!("not_found")), "{method} {path}");
        }
    }
    assert!(folder.join("outside.hearth-backup").exists() && folder.join("backups/notes.txt").exists());
    server.stop().await;
}

#[tokio::test]
async fn a_backup_is_written_where_its_owner_says() {
    let server = Server::start();
    server.send("POST", "/users", Some(json!({"localpart": "ada", "password": "long enough"}))).await;
    let target = server.folder.path().join("elsewhere.hearth-backup");
    let write = async |path: &Path, passphrase: Option<&str>| {
        let body = json!({"path": path, "passphrase": passphrase});
        server.send("POST", "/backup_works", Some(body)).await
    };
    let (status, work) = write(&target, Some("correct horse")).await;
    assert_eq!((status, &work["target"]), (StatusCode::ACCEPTED, &json!(target)));
    let done = server.until(&format!("/backup_works/{}", work["id"]), |work| work["state"] != "running").await;
    assert_eq!(done["state"], "done", "{done}");
    let passphrase = hearth_archive::Passphrase::new("correct horse");
    let summary = hearth_archive::verify(&target, passphrase.as_ref(), &Progress::new()).await.unwrap();
    assert!(summary.header.encrypted && summary.keys > 0);

    let (status, body) = write(&target, None).await;
    assert_eq!((status, &body["field"]), (StatusCode::CONFLICT, &json!("path")));
    let (status, body) = write(Path::new("relative.hearth-backup"), None).await;
    assert_eq!((status, &body["field"]), (StatusCode::BAD_REQUEST, &json!("path")));
    let (_, work) = write(Path::new("/no/such/folder/a.hearth-backup"), None).await;
    let failed = server.until(&format!("/backup_works/{}", work["id"]), |work| work["state"] != "running").await;
    assert!(failed["error"].as_str().unwrap().contains("/no/such/folder"), "{failed}");
    assert_eq!(server.send("GET", "/backup_works/999", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(server.send("DELETE", &format!("/backup_works/{}", work["id"]), None).await.0, StatusCode::NOT_FOUND);
    server.stop().await;
}
