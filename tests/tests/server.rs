//! The binary itself: start and stop, exit codes, configuration, listeners, the command line.

#![allow(clippy::unwrap_used)] // a test

use std::{path::Path, process::Output, sync::Arc};

use hearth_tests::{Engine, Options, TestServer, command, run, shared_secret_mac};
use rustix::process::Signal;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Configuration or data folder are wrong.
const CONFIGURATION: i32 = 78;

/// What a command said on standard error, after checking its exit code.
fn refusal(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty(), "a ready line nevertheless: {}", String::from_utf8_lossy(&output.stdout));
    text
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `hearth serve` on a configuration.
async fn serve(file: &Path, environment: &[(&str, &str)]) -> Output {
    let mut command = command(["serve", "--config"]);
    command.arg(file).envs(environment.iter().copied());
    run(command, "").await
}

fn write_config(folder: &Path, text: &str) -> std::path::PathBuf {
    let file = folder.join("hearth.toml");
    std::fs::write(&file, text).unwrap();
    file
}

/// A configuration that is fine, with free ports.
fn config(data_dir: &str) -> String {
    format!(
        "server_name = \"hearth.test\"\ndata_dir = {data_dir:?}\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n"
    )
}

#[tokio::test]
async fn the_ready_line_tells_where_everything_is() {
    let mut server = TestServer::start(Options::default()).await;
    let ready = server.ready().clone();
    assert_eq!(ready.event, "ready");
    assert_eq!(ready.listeners.len(), 1);
    assert!(ready.listeners[0].starts_with("http://127.0.0.1:"), "{ready:?}");
    assert!(ready.admin_token_file.starts_with(server.data_dir()), "{ready:?}");
    assert_eq!(server.call("GET", "/_hearth/health", None, None).await, (200, json!({ "status": "ok" })));
    let (status, well_known) = server.call("GET", "/.well-known/matrix/client", None, None).await;
    assert_eq!((status, &well_known["m.homeserver"]["base_url"]), (200, &json!(server.base_url())));
    let (status, overview) = server.admin("GET", "/overview", None).await;
    assert_eq!((status, &overview["server"]["server_name"]), (200, &json!("hearth.test")), "{overview}");
    #[cfg(unix)]
    for file in ["admin-token", "admin-url", "identity.toml"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(server.data_dir().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    // A second start keeps what identifies the server, and its ports here.
    let (token, identity) = (server.admin_token(), std::fs::read(server.data_dir().join("identity.toml")).unwrap());
    server.restart().await;
    assert_eq!(server.ready().listeners, ready.listeners);
    assert_eq!(server.admin_token(), token);
    assert_eq!(std::fs::read(server.data_dir().join("identity.toml")).unwrap(), identity);
}

#[tokio::test]
async fn exit_codes_tell_why_it_left() {
    let mut server = TestServer::start(Options::default()).await;
    for (signal, code) in [(Signal::TERM, 0), (Signal::INT, 0), (Signal::HUP, 75)] {
        server.signal(signal);
        assert_eq!(server.wait().await.code(), Some(code), "{signal:?}");
        server.start_again().await;
    }
    server.close_stdin();
    assert_eq!(server.wait().await.code(), Some(0), "end of standard input");
}

#[tokio::test]
async fn a_stop_answers_waiting_clients() {
    let mut server = TestServer::start(Options::default()).await;
    let alice = server.register("alice").await;
    let (status, first) = server.call("GET", "/_matrix/client/v3/sync", Some(&alice.token), None).await;
    assert_eq!(status, 200, "{first}");
    let since = first["next_batch"].as_str().unwrap();
    let path = format!("{}/_matrix/client/v3/sync?timeout=60000&since={since}", server.base_url());
    let request = reqwest::Client::new().get(path).bearer_auth(&alice.token).send();
    let waiting = tokio::spawn(request);
    // Until the server has the request in hand.
    loop {
        let (_, overview) = server.admin("GET", "/overview", None).await;
        if overview["requests"]["in_flight"].as_u64().unwrap() >= 1 {
            break;
        }
    }
    assert_eq!(server.stop().await, Some(0));
    // It was answered and not cut off.
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn kill_nine_leaves_a_server_that_starts() {
    let mut server = TestServer::start(Options::default()).await;
    let alice = server.register("alice").await;
    server.kill9().await;
    server.start_again().await;
    let (status, whoami) = server.call("GET", "/_matrix/client/v3/account/whoami", Some(&alice.token), None).await;
    assert_eq!((status, &whoami["user_id"]), (200, &json!("@alice:hearth.test")));
}

#[tokio::test]
async fn a_wrong_configuration_names_key_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, line, words) in [
        ("server_name = \"hearth.test\"\nserver_nmae = \"x\"\n", ":2: ", "there is no key `server_nmae`"),
        ("server_name = \"hearth.test\"\n[limits]\nrate_limit = 1\n", ":3: ", "`limits.rate_limit`: wrong type"),
        ("server_name = \"hearth.test\n", ":1: ", ""),
        ("data_dir = \"data\"\n", ": ", "`server_name`: the server needs a name"),
        ("server_name = \"hearth.test\"\n[store]\ncluster_file = \"x\"\n", ":3: ", "only the engine \"foundationdb\""),
        (
            "server_name = \"hearth.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = { certificate = \"c.pem\", key = \"k.pem\" }\n",
            "c.pem",
            "cannot be read",
        ),
    ] {
        let file = write_config(folder.path(), text);
        let message = refusal(&serve(&file, &[]).await, CONFIGURATION);
        assert!(message.contains(line) && message.contains(words), "{text}: {message}");
        if line.starts_with(':') {
            assert!(message.contains(&format!("{}{line}", file.display())), "{message}");
        }
    }
    let missing = folder.path().join("missing.toml");
    let message = refusal(&serve(&missing, &[]).await, CONFIGURATION);
    assert!(message.contains("missing.toml"), "{message}");
    let file = write_config(folder.path(), &config("data"));
    let message = refusal(&serve(&file, &[("HEARTH_STORE__ENGINE", "paper")]).await, CONFIGURATION);
    assert!(message.contains("HEARTH_STORE__ENGINE") && message.contains("`paper`"), "{message}");
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[tokio::test]
async fn one_folder_has_one_server() {
    let server = TestServer::start(Options::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let data = server.data_dir();
    let file = write_config(folder.path(), &config(data.to_str().unwrap()));
    let message = refusal(&serve(&file, &[]).await, CONFIGURATION);
    assert!(message.contains("in use by another process"), "{message}");
    assert_eq!(server.call("GET", "/_hearth/health", None, None).await.0, 200, "the first one goes on");
}

#[tokio::test]
async fn a_foreign_folder_is_left_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("diary.txt"), "mine").unwrap();
    let file = write_config(folder.path(), &config("data"));
    let message = refusal(&serve(&file, &[]).await, CONFIGURATION);
    assert!(message.contains("diary.txt"), "{message}");
    let names: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["diary.txt"]);
}

#[tokio::test]
async fn a_folder_keeps_its_server_name() {
    let mut server = TestServer::start(Options::default()).await;
    server.stop().await;
    let message =
        refusal(&serve(&server.config_file(), &[("HEARTH_SERVER_NAME", "other.example")]).await, CONFIGURATION);
    assert!(message.contains("belongs to the server hearth.test"), "{message}");
    server.start_again().await;
}

#[tokio::test]
async fn a_taken_port_is_explained() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = write_config(folder.path(), &config("data"));
    for variable in ["HEARTH_LISTENER__0__ADDRESS", "HEARTH_ADMIN__ADDRESS"] {
        let message = refusal(&serve(&file, &[(variable, &address)]).await, CONFIGURATION);
        assert!(message.contains(&format!("{address} is already in use")), "{message}");
        if cfg!(target_os = "linux") {
            assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        }
    }
}

#[tokio::test]
async fn the_environment_overrides_the_file() {
    let environment = [("HEARTH_SERVER_NAME", "other.example"), ("HEARTH_REGISTRATION__MODE", "closed")];
    let options = Options {
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Options::default()
    };
    let server = TestServer::start(options).await;
    assert_eq!(server.register("alice").await.user_id, "@alice:other.example");
    let (status, answer) = server.call("POST", "/_matrix/client/v3/register", None, Some(json!({}))).await;
    assert_eq!((status, &answer["errcode"]), (403, &json!("M_FORBIDDEN")), "{answer}");
}

#[tokio::test]
async fn tls_with_http_1_and_2() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls");
    let path = |name: &str| fixtures.join(name).display().to_string();
    let listener = format!("tls = {{ certificate = {:?}, key = {:?} }}", path("cert.pem"), path("key.pem"));
    let server = TestServer::start(Options { listener, ..Options::default() }).await;
    let address = server.base_url().strip_prefix("https://").expect("the ready line says https").to_owned();

    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(fixtures.join("ca.pem")).unwrap();
    for certificate in rustls_pemfile::certs(&mut pem.as_slice()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    for protocol in ["h2", "http/1.1"] {
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls.clone()));
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        let mut answer = Vec::new();
        if protocol == "http/1.1" {
            let request = "GET /_hearth/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.read_to_end(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
        } else {
            // The preface of HTTP/2 and empty settings; the server answers with its own settings frame.
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
            answer.resize(9, 0);
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[3], 4, "a settings frame: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_listener_without_clients_knows_no_client_api() {
    let server = TestServer::start(Options { listener: "serves = [\"media\"]".to_owned(), ..Options::default() }).await;
    let (status, answer) = server.call("GET", "/_matrix/client/versions", None, None).await;
    assert_eq!((status, &answer["errcode"]), (404, &json!("M_UNRECOGNIZED")));
}

#[tokio::test]
async fn shared_secret_registration() {
    const PATH: &str = "/_synapse/admin/v1/register";
    let server = TestServer::start(Options { shared_secret: Some("secret".to_owned()), ..Options::default() }).await;
    let owner = server.register_as("owner", "a good password", true).await;
    let (_, whoami) = server.call("GET", "/_matrix/client/v3/account/whoami", Some(&owner.token), None).await;
    assert_eq!((&whoami["user_id"], &whoami["device_id"]), (&json!(owner.user_id), &json!(owner.device_id)));
    let (_, user) = server.admin("GET", "/users/@owner:hearth.test", None).await;
    assert_eq!(user["admin"], true, "{user}");

    let nonce = || async {
        let (_, answer) = server.call("GET", PATH, None, None).await;
        answer["nonce"].as_str().unwrap().to_owned()
    };
    let send = async |nonce: &str, mac: &str| {
        let body = json!({ "nonce": nonce, "username": "eve", "password": "p4ssword!", "admin": false, "mac": mac });
        server.call("POST", PATH, None, Some(body)).await
    };
    let fresh = nonce().await;
    for (nonce, secret, admin) in
        [(fresh.as_str(), "wrong", false), (&fresh, "secret", true), ("made-up", "secret", false)]
    {
        let mac = shared_secret_mac(secret, nonce, "eve", "p4ssword!", admin);
        let (status, answer) = send(nonce, &mac).await;
        assert!((400..=403).contains(&status), "{status} {answer}");
    }
    let closed = TestServer::start(Options { shared_secret: None, ..Options::default() }).await;
    let (status, _) = closed.call("GET", PATH, None, None).await;
    assert!((400..=404).contains(&status), "{status}");
}

#[tokio::test]
async fn users_are_managed_with_and_without_the_server() {
    let mut server = TestServer::start(Options::default()).await;
    let file = server.config_file();
    let user = async |arguments: &[&str], input: &str| {
        let mut command = command(["user"]);
        command.args(arguments).arg("--config").arg(&file);
        run(command, input).await
    };
    for (name, running) in [("alice", true), ("bob", false)] {
        if !running {
            server.stop().await;
        }
        let id = format!("@{name}:hearth.test");
        let created = user(&["create", name, "--admin", "--display-name", "Somebody"], "the first password\n").await;
        assert_eq!(text(&created), format!("Created {id}.\n"));
        let again = user(&["create", &id], "the first password\n").await;
        assert!(refusal(&again, 1).contains("taken"));
        let weak = user(&["create", "weak"], "short\n").await;
        assert!(refusal(&weak, 1).contains("password"));
        let none = user(&["create", "none"], "").await;
        assert!(refusal(&none, 1).contains("password"));
        assert_eq!(text(&user(&["list", "--search", name], "").await), format!("{id}  Somebody  (administrator)\n"));
        let reset = text(&user(&["reset-password", name, "--generate"], "").await);
        let password = reset.trim().rsplit(' ').next().unwrap().to_owned();
        assert_eq!(password.len(), 24, "{reset}");
        if !running {
            server.start_again().await;
        }
        let login = json!({
            "type": "m.login.password", "identifier": { "type": "m.id.user", "user": name }, "password": password,
        });
        let (status, answer) = server.call("POST", "/_matrix/client/v3/login", None, Some(login.clone())).await;
        assert_eq!(status, 200, "{answer}");
        if !running {
            server.stop().await;
        }
        assert_eq!(text(&user(&["deactivate", name], "").await), format!("{id} is deactivated.\n"));
        assert!(refusal(&user(&["deactivate", name], "").await, 1).contains("deactivated"));
        assert!(refusal(&user(&["reset-password", "nobody", "--generate"], "").await, 1).contains("no such user"));
        assert!(refusal(&user(&["create", "@x:elsewhere.example"], "p").await, 1).contains("elsewhere.example"));
        if !running {
            server.start_again().await;
        }
        let (status, _) = server.call("POST", "/_matrix/client/v3/login", None, Some(login)).await;
        assert_eq!(status, 403);
    }
}

#[tokio::test]
async fn a_first_look_needs_no_configuration() {
    let home = tempfile::tempdir().unwrap();
    let environment = [
        ("XDG_DATA_HOME", home.path().to_str().unwrap()),
        ("HEARTH_LISTENER__0__ADDRESS", "127.0.0.1:0"),
        ("HEARTH_ADMIN__ADDRESS", "127.0.0.1:0"),
    ];
    for _ in 0..2 {
        let mut command = command(["serve"]);
        command.envs(environment);
        let (mut process, ready) = hearth_tests::Running::start(command).await;
        assert!(ready.admin_token_file.starts_with(home.path()), "{ready:?}");
        assert!(home.path().join("hearth/hearth.toml").exists());
        assert!(home.path().join("hearth/data/identity.toml").exists());
        process.terminate();
        assert_eq!(process.wait().await.code(), Some(0));
        let log = process.log();
        assert!(log.contains(&format!("Dashboard:  {}", ready.admin)), "{log}");
    }
    let mut list = command(["user", "list"]);
    list.envs(environment);
    assert_eq!(text(&run(list, "").await), "");
}

#[tokio::test]
async fn the_example_is_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let example = text(&run(command(["config", "example"]), "").await);
    let file = write_config(folder.path(), &example);
    let check = |file: &Path| {
        let mut command = command(["config", "check", "--config"]);
        command.arg(file);
        command
    };
    assert!(text(&run(check(&file), "").await).contains("is valid"));
    let file = write_config(folder.path(), &example.replace("rate_limit", "rate_limits"));
    let message = refusal(&run(check(&file), "").await, CONFIGURATION);
    assert!(message.contains("`limits.rate_limits`: there is no key `rate_limits`"), "{message}");
}

#[tokio::test]
async fn what_is_no_http_gets_no_further() {
    let server = TestServer::start(Options::default()).await;
    let address = server.base_url().strip_prefix("http://").unwrap();
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000)), "431"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(70_000)), "431"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = vec![0; 12];
        match stream.read_exact(&mut answer).await {
            Ok(_) => assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}")),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    }
    assert_eq!(server.call("GET", "/_hearth/health", None, None).await.0, 200);
}

/// A file may not grow beyond a limit, which is what a full disk looks like to the store.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_ends_the_server_and_loses_nothing() {
    // A FoundationDB whose disk is full is away, and the server waits for it.
    let mut server = TestServer::start(Options { engine: Engine::Embedded, ..Options::default() }).await;
    let alice = server.register("alice").await;
    server.stop().await;

    let mut command = std::process::Command::new("sh");
    // Without the trap the system would end the process by a signal instead of failing the write.
    command.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" serve --config \"$1\""]);
    command.arg(hearth_tests::binary()).arg(server.config_file());
    let (mut limited, ready) = hearth_tests::Running::start(command).await;
    let client = reqwest::Client::new();
    let path = |number: u32| format!("/_matrix/client/v3/user/{}/account_data/org.example.{number}", alice.user_id);
    let filler = "x".repeat(60_000);
    let mut acknowledged = 0;
    // Far more than what fits.
    for number in 0..1000 {
        let request = client.put(format!("{}{}", ready.listeners[0], path(number))).bearer_auth(&alice.token);
        match request.json(&json!({ "filler": filler, "number": number })).send().await {
            Ok(answer) if answer.status() == 200 => acknowledged = number + 1,
            Ok(_) | Err(_) => break,
        }
    }
    assert!((1..1000).contains(&acknowledged), "{acknowledged}");
    let status = limited.wait().await;
    assert_eq!(status.code(), Some(70), "{}", limited.log());
    assert!(limited.log().contains("The store has failed"), "{}", limited.log());

    server.start_again().await;
    for number in 0..acknowledged {
        let (status, data) = server.call("GET", &path(number), Some(&alice.token), None).await;
        assert_eq!((status, &data["number"]), (200, &json!(number)));
    }
}
