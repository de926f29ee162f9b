//! The commands of the page; `COMMANDS.md` is their contract. Each one only passes on.

use crate::{
    admin::{AdminEvent, Answer},
    config::{Engine, Setup},
    desktop::{Desktop, check_port},
    error::{CommandError, ErrorCode},
    state::DesktopState,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tauri::{AppHandle, State, async_runtime::JoinHandle, ipc::Channel};

/// Live streams that one page may hold.
const MOST_SUBSCRIPTIONS: usize = 16;
/// Log lines that one call may ask for.
const MOST_LINES: usize = 2000;

type Shared<'a> = State<'a, Arc<Desktop>>;
type Result<T> = std::result::Result<T, CommandError>;

#[tauri::command]
pub(crate) async fn desktop_state(desktop: Shared<'_>) -> Result<DesktopState> {
    Ok(desktop.state())
}

#[tauri::command]
pub(crate) async fn desktop_start(desktop: Shared<'_>) -> Result<DesktopState> {
    desktop.start().await?;
    Ok(desktop.state())
}

#[tauri::command]
pub(crate) async fn desktop_stop(desktop: Shared<'_>) -> Result<DesktopState> {
    desktop.stop().await;
    Ok(desktop.state())
}

#[tauri::command]
pub(crate) async fn desktop_restart(desktop: Shared<'_>) -> Result<DesktopState> {
    desktop.restart().await?;
    Ok(desktop.state())
}

#[tauri::command]
pub(crate) async fn desktop_setup(
    desktop: Shared<'_>,
    server_name: String,
    owner: String,
    password: String,
    port: u16,
    engine: Option<Engine>,
) -> Result<DesktopState> {
    let engine = engine.unwrap_or_default();
    desktop.set_up(Setup { server_name, owner, password, port, engine }).await?;
    Ok(desktop.state())
}

/// See `COMMANDS.md`.
#[derive(Serialize)]
pub(crate) struct PortCheck {
    port: u16,
    free: bool,
    message: Option<String>,
}

#[tauri::command]
pub(crate) async fn desktop_check_port(port: u16) -> Result<PortCheck> {
    let checked = tauri::async_runtime::spawn_blocking(move || check_port(port)).await;
    let message = checked.ok().and_then(std::result::Result::err).map(|error| error.message);
    Ok(PortCheck { port, free: message.is_none(), message })
}

#[tauri::command]
pub(crate) async fn desktop_stop_other(desktop: Shared<'_>) -> Result<DesktopState> {
    desktop.stop_other().await?;
    Ok(desktop.state())
}

#[tauri::command]
pub(crate) async fn desktop_logs(desktop: Shared<'_>, lines: usize) -> Result<Vec<String>> {
    Ok(desktop.server().tail(lines.min(MOST_LINES)))
}

#[tauri::command]
pub(crate) async fn desktop_dismiss_notice(desktop: Shared<'_>) -> Result<DesktopState> {
    desktop.server().dismiss_crash();
    Ok(desktop.state())
}

#[tauri::command]
pub(crate) async fn desktop_keep_running(desktop: Shared<'_>, enabled: bool) -> Result<DesktopState> {
    desktop.change_settings(|settings| settings.keep_running = enabled)?;
    Ok(desktop.state())
}

#[tauri::command]
pub(crate) async fn desktop_quit(app: AppHandle) {
    app.exit(0);
}

#[tauri::command]
pub(crate) async fn admin_request(
    desktop: Shared<'_>,
    method: String,
    path: String,
    body: Option<Value>,
) -> Result<Answer> {
    desktop.endpoint()?.request(&method, &path, body.as_ref()).await
}

/// The page's live streams. A page that is loaded again starts without any.
#[derive(Default)]
pub(crate) struct Subscriptions(Mutex<Streams>);

#[derive(Default)]
struct Streams {
    next: u32,
    tasks: HashMap<u32, JoinHandle<()>>,
}

impl Subscriptions {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every stream.
    pub(crate) fn clear(&self) {
        for (_, task) in self.streams().tasks.drain() {
            task.abort();
        }
    }
}

#[tauri::command]
pub(crate) async fn admin_subscribe(
    desktop: Shared<'_>,
    subscriptions: State<'_, Subscriptions>,
    path: String,
    on_event: Channel<AdminEvent>,
) -> Result<u32> {
    let mut streams = subscriptions.streams();
    streams.tasks.retain(|_, task| !task.inner().is_finished());
    if streams.tasks.len() >= MOST_SUBSCRIPTIONS {
        return Err(CommandError::new(ErrorCode::Invalid, "The page holds too many live streams."));
    }
    let desktop = Arc::clone(&desktop);
    let task = tauri::async_runtime::spawn(async move {
        desktop.follow(&path, move |event| on_event.send(event).is_ok()).await;
    });
    streams.next += 1;
    let subscription = streams.next;
    streams.tasks.insert(subscription, task);
    Ok(subscription)
}

#[tauri::command]
pub(crate) async fn admin_unsubscribe(subscriptions: State<'_, Subscriptions>, subscription: u32) -> Result<()> {
    if let Some(task) = subscriptions.streams().tasks.remove(&subscription) {
        task.abort();
    }
    Ok(())
}
