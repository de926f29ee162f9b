//! Builds the Tauri context. The page comes from `ui/dist`; where it is not built yet a placeholder stands in, since an absent
//! folder would fail every `cargo check` of the workspace.

use std::{fs, path::Path};

/// The page's commands, which thereby need a capability. Keep in step with `src/commands.rs` and `capabilities/main.json`.
const COMMANDS: &[&str] = &[
    "desktop_state",
    "desktop_start",
    "desktop_stop",
    "desktop_restart",
    "desktop_setup",
    "desktop_check_port",
    "desktop_stop_other",
    "desktop_logs",
    "desktop_dismiss_notice",
    "desktop_keep_running",
    "desktop_quit",
    "admin_request",
    "admin_subscribe",
    "admin_unsubscribe",
];

const PLACEHOLDER: &str = "<!doctype html>\n<meta charset=\"utf-8\">\n<title>Hearth</title>\n\
    <p>The dashboard is not built. Run <code>make ui</code>, then build again.</p>\n";

fn main() {
    let page = Path::new("../ui/dist/index.html");
    println!("cargo:rerun-if-changed={}", page.display());
    if !page.exists() {
        let folder = page.parent().expect("the path has a folder");
        fs::create_dir_all(folder).expect("ui/dist can be created");
        fs::write(page, PLACEHOLDER).expect("the placeholder can be written");
    }
    let manifest = tauri_build::AppManifest::new().commands(COMMANDS);
    tauri_build::try_build(tauri_build::Attributes::new().app_manifest(manifest)).expect("Tauri's build step succeeds");
}
