//! What must be right before Tauri starts: a display, and a renderer that shows something on it.

/// The exit code without a display (`EX_UNAVAILABLE`), by which `make run` knows to start the server alone.
pub(crate) const NO_DISPLAY: i32 = 69;

/// Asks GTK for a display. Tauri would panic without one.
#[cfg(target_os = "linux")]
pub(crate) fn open() -> Result<(), String> {
    let named = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    if !named("WAYLAND_DISPLAY") && !named("DISPLAY") {
        return Err("neither WAYLAND_DISPLAY nor DISPLAY is set".to_owned());
    }
    gtk::init().map_err(|_| "the display does not answer".to_owned())
}

/// Elsewhere there is always a display.
#[cfg(not(target_os = "linux"))]
pub(crate) fn open() -> Result<(), String> {
    Ok(())
}

/// WebKit's DMA-BUF renderer shows a blank window on some graphics drivers, so it is off unless somebody chose. WebKit reads the
/// variable early, and a program with threads cannot safely change its own environment: it starts itself again, in the same process.
#[cfg(target_os = "linux")]
pub(crate) fn choose_renderer() {
    use std::os::unix::process::CommandExt;
    const RENDERER: &str = "WEBKIT_DISABLE_DMABUF_RENDERER";
    if std::env::var_os(RENDERER).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).env(RENDERER, "1").exec();
    tracing::warn!(%error, "the renderer could not be chosen");
}

/// Nothing to choose elsewhere.
#[cfg(not(target_os = "linux"))]
pub(crate) fn choose_renderer() {}
