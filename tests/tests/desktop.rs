//! The desktop app as its owner meets it: the real window on a virtual screen, the real server behind it.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::Stdio,
};

use hearth_tests::webdriver::{Screen, Window, is_alive, parent_of, program, signal, until};
use serde_json::{Value, json};

const SERVER_NAME: &str = "window.example.org";
const OWNER: &str = "ada";
const PASSWORD: &str = "correct horse battery";

fn app() -> PathBuf {
    // The app looks for the server beside itself.
    program("hearth");
    program("hearth-desktop")
}

fn pid(state: &Value) -> u32 {
    state["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a server that runs has a process")
}

fn is_running(state: &Value) -> bool {
    state["state"] == "running"
}

/// Fills an input of the wizard, wherever its steps have put it.
async fn answer(window: &Window, test_id: &str, text: &str) {
    until(test_id, async || {
        if window.shows(test_id).await {
            return Some(());
        }
        for way in ["wizard-advanced", "wizard-next"] {
            if window.shows(way).await {
                window.click(way).await;
                break;
            }
        }
        None
    })
    .await;
    window.fill(test_id, text).await;
}

/// Answers the first run's questions. Port 0 lets the system choose.
async fn first_run(window: &Window, port: u16) {
    window.until_shown("wizard").await;
    answer(window, "wizard-server-name", SERVER_NAME).await;
    answer(window, "wizard-port", &port.to_string()).await;
    answer(window, "wizard-owner", OWNER).await;
    answer(window, "wizard-password", PASSWORD).await;
    finish(window).await;
}

/// Goes to the last step of the wizard and confirms.
async fn finish(window: &Window) {
    until("the wizard's last step", async || {
        if window.shows("wizard-finish").await {
            return Some(());
        }
        window.click("wizard-next").await;
        None
    })
    .await;
    window.click("wizard-finish").await;
}

/// Creates a user behind the page's back and waits until the page shows so many, without a reload.
async fn see_a_new_user(window: &Window, localpart: &str, users: u32) {
    let body = json!({ "localpart": localpart, "password": PASSWORD });
    let request = json!({ "method": "POST", "path": "/_hearth/admin/v1/users", "body": body });
    let answer = window.invoke("admin_request", request).await.expect("an answer");
    assert!(answer["status"].as_u64().is_some_and(|status| status < 300), "{answer}");
    until("the new user on the page", async || {
        (window.text("count-users").await.trim() == users.to_string()).then_some(())
    })
    .await;
}

/// Logs in to the server as its owner, as a Matrix client would.
async fn log_in(state: &Value) -> Value {
    let url = state["client_urls"][0].as_str().expect("a running server has an address");
    let body = json!({
        "type": "m.login.password", "identifier": { "type": "m.id.user", "user": OWNER }, "password": PASSWORD,
    });
    let response = reqwest::Client::new().post(format!("{url}/_matrix/client/v3/login")).json(&body).send().await;
    response.expect("the server answers").json().await.expect("JSON")
}

#[tokio::test]
async fn from_the_first_run_through_a_crash_to_the_end() {
    let screen = Screen::new(false).await;
    let window = screen.open(&app()).await;
    first_run(&window, 0).await;
    let dashboard = window.until_shown("dashboard").await;
    assert!(dashboard.contains(SERVER_NAME), "the dashboard names the server:\n{dashboard}");
    let state = window.until_state("a running server", is_running).await;
    assert_eq!((&state["setup_step"], &state["next"]), (&Value::Null, &json!("open")));
    assert_eq!(log_in(&state).await["user_id"], format!("@{OWNER}:{SERVER_NAME}"));
    see_a_new_user(&window, "grace", 2).await;
    let folder = screen.data_folder();
    let config = std::fs::read_to_string(folder.join("hearth.toml")).expect("the wizard wrote it");
    assert!(config.contains(SERVER_NAME) && !config.contains(PASSWORD), "{config}");
    #[cfg(unix)]
    for path in [folder.clone(), folder.join("hearth.toml")] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect("it is there").permissions());
        assert_eq!(mode & 0o077, 0, "{} is the owner's alone", path.display());
    }

    // The server dies: it comes back by itself, and the window says so.
    let first = pid(&state);
    signal(first, "KILL");
    let state = window.until_state("the server again", |state| is_running(state) && pid(state) != first).await;
    let notice = window.until_shown("crash-notice").await;
    assert!(notice.contains("stopped unexpectedly"), "{notice}");
    assert_eq!((&state["notice"]["recovered"], &state["notice"]["restarts"]), (&json!(true), &json!(1)));
    window.until_shown("dashboard").await;
    assert_eq!(log_in(&state).await["user_id"], format!("@{OWNER}:{SERVER_NAME}"), "nothing was lost");

    see_a_new_user(&window, "alan", 3).await;

    // The app dies: the server leaves, and frees the folder.
    let (server, app) = (pid(&state), parent_of(pid(&state)));
    signal(app, "KILL");
    until("the end of the server", async || (!is_alive(server)).then_some(())).await;
}

#[tokio::test]
async fn a_second_start_shows_the_first_window() {
    // By the session bus where there is one, by the folder's lock where there is none.
    for with_bus in [true, false] {
        let screen = Screen::new(with_bus).await;
        let window = screen.open(&app()).await;
        window.until_shown("wizard").await;
        let has_focus = async || window.run("return document.hasFocus()", json!([])).await == true;
        // Another server's window, for another folder, takes the keyboard.
        let mut rival = screen.command(app());
        let mut rival = rival.env("HEARTH_DATA_DIR", screen.data_folder().join("another")).spawn().expect("it starts");
        until("the rival", async || (!has_focus().await).then_some(())).await;

        let second = screen.command(app()).status().await.expect("it starts");
        assert_eq!(second.code(), Some(0), "bus: {with_bus}");
        until("the focus", async || has_focus().await.then_some(())).await;
        assert_eq!(rival.try_wait().expect("a child"), None, "another folder is another app");
        assert_eq!(window.state().await["state"], "not_set_up", "the first one goes on");
    }
}

#[tokio::test]
async fn a_taken_port_is_explained() {
    let screen = Screen::new(false).await;
    let window = screen.open(&app()).await;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = other.local_addr().expect("it is bound").port();

    // In the first run, before anything is written.
    first_run(&window, port).await;
    let error = window.until_shown("wizard-error").await;
    let holder = format!("(process {})", std::process::id());
    assert!(error.contains(&format!("Port {port} is already used by")) && error.contains(&holder), "{error}");
    assert!(!screen.data_folder().join("hearth.toml").exists());
    drop(other);
    finish(&window).await;
    window.until_shown("dashboard").await;

    // Later, when another program was faster.
    window.invoke("desktop_stop", json!({})).await.expect("it stops");
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the server let it go");
    window.invoke("desktop_start", json!({})).await.expect("it tries");
    let screen_text = window.until_shown("supervision").await;
    until("the explanation", async || {
        window.text("supervision").await.contains(&format!("Port {port} is already used by")).then_some(())
    })
    .await;
    let state = window.state().await;
    assert_eq!((&state["state"], &state["reason"]["kind"]), (&json!("crashed"), &json!("port_taken")), "{screen_text}");
    assert_eq!(state["reason"]["pid"], std::process::id());
    drop(other);
    window.click("supervision-action").await;
    window.until_state("the server again", is_running).await;
    window.until_shown("dashboard").await;
}

#[tokio::test]
async fn a_quit_stops_the_server_first() {
    let screen = Screen::new(false).await;
    let window = screen.open(&app()).await;
    let setup = json!({ "serverName": SERVER_NAME, "owner": OWNER, "password": PASSWORD, "port": 0 });
    let state = window.invoke("desktop_setup", setup).await.expect("it is set up");
    let (server, app) = (pid(&state), parent_of(pid(&state)));
    signal(app, "TERM");
    until("the end of the app", async || (!is_alive(app)).then_some(())).await;
    assert!(!is_alive(server), "the app waits for its server");

    // Its next start finds everything in place.
    drop(window);
    let window = screen.open(&crate::app()).await;
    let state = window.until_state("a running server", is_running).await;
    assert_eq!(state["server_name"], SERVER_NAME);
    assert_eq!(state["notice"], Value::Null);
    window.until_shown("dashboard").await;
}

#[tokio::test]
async fn a_broken_configuration_is_explained() {
    let screen = Screen::new(false).await;
    let window = screen.open(&app()).await;
    let setup = json!({ "serverName": SERVER_NAME, "owner": OWNER, "password": PASSWORD, "port": 0 });
    window.invoke("desktop_setup", setup).await.expect("it is set up");
    window.invoke("desktop_stop", json!({})).await.expect("it stops");
    let config = screen.data_folder().join("hearth.toml");
    let good = std::fs::read_to_string(&config).expect("it is there");
    std::fs::write(&config, format!("colour = \"red\"\n{good}")).expect("it is ours");
    window.invoke("desktop_start", json!({})).await.expect("it tries");
    let state = window.until_state("the refusal", |state| state["state"] == "crashed").await;
    assert_eq!((&state["reason"]["kind"], &state["next"]), (&json!("configuration"), &json!("start")));
    let shown = window.until_shown("supervision").await;
    assert!(shown.contains("hearth.toml:1") && shown.contains("colour"), "the key, the file and the line: {shown}");

    std::fs::write(&config, good).expect("it is ours");
    window.click("supervision-action").await;
    window.until_shown("dashboard").await;
}

#[tokio::test]
async fn a_local_database_runs_beside_the_server() {
    if !hearth_tests::foundationdb::is_installed("a_local_database_runs_beside_the_server") {
        return;
    }
    let screen = Screen::new(false).await;
    let window = screen.open(&app()).await;
    let setup = json!({
        "serverName": SERVER_NAME, "owner": OWNER, "password": PASSWORD, "port": 0, "engine": "foundationdb",
    });
    let state = window.invoke("desktop_setup", setup).await.expect("it is set up");
    let (server, database) = (pid(&state), pid(&state["database"]));
    assert_eq!((&state["state"], &state["database"]["state"]), (&json!("running"), &json!("running")));
    assert!(state["database"]["version"].is_string(), "{state}");
    assert_eq!(parent_of(database), parent_of(server), "the app runs both");

    // Neither takes the other down.
    signal(server, "KILL");
    let is_back = |state: &Value| is_running(state) && pid(state) != server;
    let state = window.until_state("the server again", is_back).await;
    assert_eq!(pid(&state["database"]), database);
    let server = pid(&state);
    signal(database, "KILL");
    let is_back =
        |state: &Value| is_running(state) && state["database"]["pid"].is_u64() && pid(&state["database"]) != database;
    let state = window.until_state("the database again", is_back).await;
    assert_eq!(pid(&state), server);
    assert_eq!(log_in(&state).await["user_id"], format!("@{OWNER}:{SERVER_NAME}"));

    // Both leave, the database last, and come back.
    let database = pid(&state["database"]);
    window.invoke("desktop_stop", json!({})).await.expect("it stops");
    assert!(!is_alive(server) && !is_alive(database));
    let state = window.invoke("desktop_start", json!({})).await.expect("it starts");
    let database = pid(&state["database"]);
    let state = window.until_state("a running server", is_running).await;
    let (server, app) = (pid(&state), parent_of(pid(&state)));
    signal(app, "TERM");
    until("the end of the app", async || (!is_alive(app)).then_some(())).await;
    assert!(!is_alive(server) && !is_alive(database), "the app waits for both");
}

#[tokio::test]
async fn a_folder_in_use_is_shared_or_taken_over() {
    let screen = Screen::new(false).await;
    let window = screen.open(&app()).await;
    let setup = json!({ "serverName": SERVER_NAME, "owner": OWNER, "password": PASSWORD, "port": 0 });
    window.invoke("desktop_setup", setup).await.expect("it is set up");
    window.invoke("desktop_stop", json!({})).await.expect("it stops");

    let config = screen.data_folder().join("hearth.toml");
    let mut command = screen.command(program("hearth"));
    command.env_remove("HEARTH_DATA_DIR").arg("serve").arg("--config").arg(config);
    let mut other = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut lines = tokio::io::BufReader::new(other.stdout.take().expect("piped"));
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.expect("a ready line");
    let other_pid = other.id().expect("it lives");

    window.invoke("desktop_start", json!({})).await.expect("it tries");
    let state = window.until_state("a foreign server", |state| state["state"] == "foreign").await;
    let summary = state["summary"].as_str().expect("text");
    assert!(summary.contains(&format!("(process {other_pid})")), "{summary}");
    let request = json!({ "method": "GET", "path": "/_hearth/admin/v1/overview", "body": null });
    let overview = window.invoke("admin_request", request).await.expect("the other one can be used");
    assert_eq!(overview["status"], 200);

    window.invoke("desktop_stop_other", json!({})).await.expect("it is taken over");
    assert_eq!(other.wait().await.expect("it ends").code(), Some(0), "it was asked, not killed");
    let state = window.until_state("our server", is_running).await;
    assert_ne!(pid(&state), other_pid);
}

#[tokio::test]
async fn the_page_gets_no_further_than_its_commands() {
    let screen = Screen::new(false).await;
    let window = screen.open(&app()).await;
    for (command, arguments) in [
        ("plugin:shell|execute", json!({ "program": "true" })),
        ("plugin:event|emit", json!({ "event": "desktop://state", "payload": null })),
        ("plugin:webview|create_webview_window", json!({ "options": { "label": "x", "url": "https://example.org" } })),
        ("plugin:window|close", json!({ "label": "main" })),
    ] {
        let refused = window.invoke(command, arguments).await.expect_err(command);
        assert!(refused.to_string().contains("not allowed"), "{command}: {refused}");
    }
    let outside = json!({ "method": "GET", "path": "/_matrix/client/versions", "body": null });
    assert_eq!(window.invoke("admin_request", outside).await.expect_err("no server yet")["code"], "not_running");
    let blocked = window.run("try { return eval('1 + 1') } catch (error) { return error.name }", json!([])).await;
    assert_eq!(blocked, "EvalError");
    window.run("location.href = 'https://example.org/'", json!([])).await;
    let place = window.run("return location.href", json!([])).await;
    assert!(place.as_str().is_some_and(|place| place.starts_with("tauri://localhost")), "{place}");
}

#[tokio::test]
async fn without_a_display_it_says_what_to_do() {
    let screen = Screen::new(false).await;
    for display in [None, Some(":4711")] {
        let mut command = screen.command(app());
        command.env_remove("DISPLAY");
        if let Some(display) = display {
            command.env("DISPLAY", display);
        }
        let output = command.output().await.expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{text}");
        assert!(text.contains("needs a display") && text.contains("hearth serve"), "{text}");
        assert!(!text.contains("panicked"), "{text}");
    }
    assert!(!screen.data_folder().exists(), "it touched nothing");
}
