//! The tray icon: open, start, stop, quit. A convenience only: everything works without it, since many desktops show none.

use hearth_supervisor::State;
use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};
use tauri::{
    AppHandle, Manager,
    menu::{Menu, MenuItem, PredefinedMenuItem},
    tray::TrayIconBuilder,
};

use crate::{desktop::Desktop, window};

/// The parts of the menu that follow the server's state.
pub(crate) struct Tray {
    start: MenuItem<tauri::Wry>,
    stop: MenuItem<tauri::Wry>,
}

/// Makes the icon; `None` when this desktop has no place for it.
pub(crate) fn create(app: &AppHandle) -> Option<Tray> {
    if !has_host() {
        tracing::info!("no tray on this desktop");
        return None;
    }
    // The library behind the icon is loaded at run time, and its binding panics where it is missing. That is no news for
    // standard error, hence the quiet hook; this runs on the main thread before anything else does.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let tray = panic::catch_unwind(AssertUnwindSafe(|| build(app)));
    panic::set_hook(hook);
    match tray {
        Ok(Ok(tray)) => Some(tray),
        Ok(Err(error)) => {
            tracing::warn!(%error, "no tray icon");
            None
        }
        Err(_) => {
            tracing::info!("no tray icon: the library libayatana-appindicator3 is not installed");
            None
        }
    }
}

fn build(app: &AppHandle) -> tauri::Result<Tray> {
    let item = |id: &str, text: &str| MenuItem::with_id(app, id, text, true, None::<&str>);
    let open = item("open", "Open Hearth")?;
    let start = item("start", "Start the server")?;
    let stop = item("stop", "Stop the server")?;
    let quit = item("quit", "Quit (stops the server)")?;
    let line = || PredefinedMenuItem::separator(app);
    let menu = Menu::with_items(app, &[&open, &line()?, &start, &stop, &line()?, &quit])?;
    let mut icon = TrayIconBuilder::with_id("hearth")
        .tooltip("Hearth")
        .menu(&menu)
        .show_menu_on_left_click(true)
        .on_menu_event(|app, event| act(app, event.id().as_ref()));
    if let Some(image) = app.default_window_icon() {
        icon = icon.icon(image.clone());
    }
    icon.build(app)?;
    Ok(Tray { start, stop })
}

fn act(app: &AppHandle, item: &str) {
    let desktop = Arc::clone(&app.state::<Arc<Desktop>>());
    match item {
        "open" => window::show(app),
        "start" => {
            tauri::async_runtime::spawn(async move {
                if let Err(error) = desktop.start().await {
                    tracing::warn!(%error, "the tray could not start the server");
                }
            });
        }
        "stop" => {
            tauri::async_runtime::spawn(async move { desktop.stop().await });
        }
        "quit" => app.exit(0),
        _ => {}
    }
}

impl Tray {
    /// Offers only what can be done now.
    pub(crate) fn show(&self, state: &State) {
        let stopped = matches!(state, State::Stopped | State::Crashed { .. } | State::Foreign(_));
        let running = state.is_up() || matches!(state, State::Starting);
        for (item, enabled) in [(&self.start, stopped), (&self.stop, running)] {
            if let Err(error) = item.set_enabled(enabled) {
                tracing::debug!(%error, "the tray menu did not follow");
            }
        }
    }
}

/// Whether someone shows tray icons: on Linux a program owns a name on the session bus for it.
#[cfg(target_os = "linux")]
fn has_host() -> bool {
    use gtk::{gio, glib::prelude::ToVariant};
    let has_bus = std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
        || std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|folder| std::path::Path::new(&folder).join("bus").exists());
    // Without this, gio would start a bus of its own.
    if !has_bus {
        return false;
    }
    let Ok(bus) = gio::bus_get_sync(gio::BusType::Session, None::<&gio::Cancellable>) else { return false };
    let answer = bus.call_sync(
        Some("org.freedesktop.DBus"),
        "/org/freedesktop/DBus",
        "org.freedesktop.DBus",
        "NameHasOwner",
        Some(&("org.kde.StatusNotifierWatcher",).to_variant()),
        None,
        gio::DBusCallFlags::NONE,
        1000,
        None::<&gio::Cancellable>,
    );
    answer.ok().and_then(|answer| answer.get::<(bool,)>()).is_some_and(|(owned,)| owned)
}

/// Elsewhere the system always has a tray.
#[cfg(not(target_os = "linux"))]
fn has_host() -> bool {
    true
}
