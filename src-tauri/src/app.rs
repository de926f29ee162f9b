//! The app's life: plugins, tray, signals, and a quit that stops the server first.

use crate::{
    commands::{self, Subscriptions},
    desktop::Desktop,
    folder::Folder,
    instance::{self, Claim, Instance},
    tray::{self, Tray},
    window,
};
use hearth_supervisor::{OsLauncher, Status, supervise};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tauri::{App, AppHandle, Emitter, Manager, RunEvent, WindowEvent, webview::PageLoadEvent};
use tokio::sync::watch;

const STATE_EVENT: &str = "desktop://state";

/// How far the quit has come.
#[derive(Default)]
struct Leaving {
    started: AtomicBool,
    /// The server has stopped: nothing holds the app any more.
    done: AtomicBool,
}

/// Shows the window until the app is quit; gives the exit code.
pub(crate) fn run(folder: Folder) -> i32 {
    if let Err(error) = folder.create() {
        // The page will say it better, when it is asked to write there.
        tracing::warn!(%error, "the data folder cannot be made");
    }
    let instance = match instance::claim(&folder) {
        Claim::Ours(instance) => instance,
        Claim::Shown => return 0,
        Claim::Silent => {
            eprintln!("Hearth is already open with the folder {} and does not answer.", folder.path().display());
            return 1;
        }
    };
    let mut single_instance = tauri_plugin_single_instance::Builder::new().callback(|app, _, _| window::show(app));
    if Folder::is_overridden() {
        // Another folder is another server, with its own window.
        let mut hasher = DefaultHasher::new();
        folder.path().hash(&mut hasher);
        single_instance = single_instance.dbus_id(format!("org.hearth.Hearth.f{:016x}", hasher.finish()));
    }
    let built = tauri::Builder::default()
        // First, so that a second start that the folder's lock did not see leaves before it touches anything.
        .plugin(single_instance.build())
        .plugin(tauri_plugin_window_state::Builder::default().build())
        .manage(Subscriptions::default())
        .manage(Leaving::default())
        .invoke_handler(tauri::generate_handler![
            commands::desktop_state,
            commands::desktop_start,
            commands::desktop_stop,
            commands::desktop_restart,
            commands::desktop_setup,
            commands::desktop_check_port,
            commands::desktop_stop_other,
            commands::desktop_logs,
            commands::desktop_dismiss_notice,
            commands::desktop_keep_running,
            commands::desktop_quit,
            commands::admin_request,
            commands::admin_subscribe,
            commands::admin_unsubscribe,
        ])
        .on_page_load(|webview, payload| {
            if payload.event() == PageLoadEvent::Started {
                webview.state::<Subscriptions>().clear();
            }
        })
        .on_window_event(|window, event| {
            if let WindowEvent::CloseRequested { api, .. } = event
                && window.state::<Arc<Desktop>>().stays_in_tray()
            {
                api.prevent_close();
                window.hide().ok();
            }
        })
        .setup(move |app| set_up(app, folder, instance))
        .build(tauri::generate_context!());
    match built {
        Ok(app) => app.run_return(on_event),
        Err(error) => {
            eprintln!("Hearth's window could not be opened: {error}");
            1
        }
    }
}

fn set_up(app: &mut App, folder: Folder, instance: Instance) -> Result<(), Box<dyn std::error::Error>> {
    app.manage::<Instance>(instance);

    let (server, supervisor) = supervise(OsLauncher);
    tauri::async_runtime::spawn(supervisor.run());
    let desktop = Arc::new(Desktop::new(folder.clone(), server));
    app.manage(Arc::clone(&desktop));

    let tray = tray::create(app.handle());
    desktop.set_tray(tray.is_some());
    window::open(app, &folder)?;

    let handle = app.handle().clone();
    tauri::async_runtime::spawn(instance::answer(folder, move || {
        let stays = !handle.state::<Leaving>().started.load(Ordering::SeqCst);
        if stays {
            window::show(&handle);
        }
        stays
    }));
    tauri::async_runtime::spawn(publish(app.handle().clone(), Arc::clone(&desktop), tray));
    tauri::async_runtime::spawn(leave_on_signal(app.handle().clone()));
    tauri::async_runtime::spawn(async move {
        // Nothing to start before the first run.
        if let Err(error) = desktop.start().await {
            tracing::info!(%error, "the server is not started");
        }
    });
    Ok(())
}

/// Tells the page and the tray of every change.
async fn publish(app: AppHandle, desktop: Arc<Desktop>, tray: Option<Tray>) {
    let mut status = desktop.server().subscribe();
    let mut changes = desktop.changes();
    let mut database = None;
    loop {
        // There is one from its first start on, which is a change like others.
        if database.is_none() {
            database = desktop.database().subscribe();
        }
        if let Some(tray) = &tray {
            tray.show(&status.borrow_and_update().state);
        }
        if let Err(error) = app.emit(STATE_EVENT, desktop.state()) {
            tracing::debug!(%error, "the page did not hear of a change");
        }
        let alive = tokio::select! {
            changed = status.changed() => changed.is_ok(),
            changed = changes.changed() => changed.is_ok(),
            changed = changed(database.as_mut()) => changed,
        };
        if !alive {
            return;
        }
    }
}

/// The next change, if there is anything to change; `false` when it has gone.
async fn changed(status: Option<&mut watch::Receiver<Status>>) -> bool {
    match status {
        Some(status) => status.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

/// A logout or Ctrl-C is a quit like any other.
async fn leave_on_signal(app: AppHandle) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    app.exit(0);
}

fn on_event(app: &AppHandle, event: RunEvent) {
    let RunEvent::ExitRequested { api, .. } = event else { return };
    let leaving = app.state::<Leaving>();
    if leaving.done.load(Ordering::SeqCst) {
        return;
    }
    api.prevent_exit();
    if leaving.started.swap(true, Ordering::SeqCst) {
        return;
    }
    if let Some(window) = app.get_webview_window(window::NAME) {
        window.hide().ok();
    }
    let app = app.clone();
    tauri::async_runtime::spawn(async move {
        app.state::<Subscriptions>().clear();
        app.state::<Arc<Desktop>>().shut_down().await;
        app.state::<Leaving>().done.store(true, Ordering::SeqCst);
        app.exit(0);
    });
}
