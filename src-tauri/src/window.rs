//! The window.

use crate::folder::Folder;
use tauri::{App, AppHandle, Manager, Url, WebviewUrl, WebviewWindowBuilder};

/// Its name in the app.
pub(crate) const NAME: &str = "main";

/// Under the locale C.UTF-8, which is what a machine without a chosen language has, WebKit says that the person's language
/// is "C". Its own `Intl` refuses that, and a script that asks for numbers in the person's language dies.
const LANGUAGE_FIX: &str = r#"
    if (/^(C|POSIX)$/i.test(navigator.language)) {
        Object.defineProperty(Navigator.prototype, "language", { get: () => "en-US" });
        Object.defineProperty(Navigator.prototype, "languages", { get: () => ["en-US"] });
    }"#;

/// Opens the window.
pub(crate) fn open(app: &App, folder: &Folder) -> tauri::Result<()> {
    WebviewWindowBuilder::new(app, NAME, WebviewUrl::default())
        .title("Hearth")
        .inner_size(1120.0, 760.0)
        .min_inner_size(420.0, 400.0)
        .data_directory(folder.path().join("window"))
        .on_navigation(is_own_page)
        .initialization_script(LANGUAGE_FIX)
        .build()?;
    Ok(())
}

/// The window shows the bundled page and nothing else.
fn is_own_page(url: &Url) -> bool {
    matches!((url.scheme(), url.host_str()), ("tauri", Some("localhost")) | ("http" | "https", Some("tauri.localhost")))
        || url.as_str() == "about:blank"
}

/// Brings the window to the front.
pub(crate) fn show(app: &AppHandle) {
    let Some(window) = app.get_webview_window(NAME) else { return };
    for result in [window.show(), window.unminimize(), window.set_focus()] {
        if let Err(error) = result {
            tracing::debug!(%error, "the window did not come to the front");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_never_leaves_its_page() {
        for (url, own) in [
            ("tauri://localhost/", true),
            ("tauri://localhost/index.html#/users", true),
            ("http://tauri.localhost/", true),
            ("about:blank", true),
            ("https://example.org/", false),
            ("http://127.0.0.1:8010/", false),
            ("tauri://example.org/", false),
            ("file:///etc/passwd", false),
            ("data:text/html,x", false),
        ] {
            assert_eq!(is_own_page(&url.parse().unwrap()), own, "{url}");
        }
    }
}
