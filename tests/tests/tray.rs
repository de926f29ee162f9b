//! The tray icon as a desktop shell meets it: this test is the shell, on a message bus of its own.
#![cfg(target_os = "linux")]

use std::collections::HashMap;

use hearth_tests::webdriver::{Screen, Window, is_alive, parent_of, program, until};
use serde_json::json;
use tokio::sync::mpsc;
use zbus::{
    Connection,
    message::Header,
    zvariant::{OwnedObjectPath, OwnedValue, Value},
};

/// Where tray icons report: <https://www.freedesktop.org/wiki/Specifications/StatusNotifierItem/StatusNotifierWatcher/>.
struct Watcher {
    /// Bus name and path of each icon.
    icons: mpsc::UnboundedSender<(String, String)>,
}

#[expect(clippy::needless_pass_by_value, clippy::unused_self, reason = "zbus gives the methods their form")]
#[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    fn register_status_notifier_item(&self, service: &str, #[zbus(header)] header: Header<'_>) {
        let sender = header.sender().map(ToString::to_string).expect("a bus names the sender");
        // Nobody waits any more when the test is over.
        self.icons.send((sender, service.to_owned())).ok();
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }
}

/// A menu as `com.canonical.dbusmenu` gives it: id, properties, children.
type Layout = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);

struct Menu {
    bus: Connection,
    owner: String,
    path: OwnedObjectPath,
}

impl Menu {
    async fn of(bus: &Connection, owner: String, icon: &str) -> Self {
        let get = ("org.kde.StatusNotifierItem", "Menu");
        let properties = Some("org.freedesktop.DBus.Properties");
        let answer =
            bus.call_method(Some(owner.as_str()), icon, properties, "Get", &get).await.expect("an icon has a menu");
        let path: OwnedValue = answer.body().deserialize().expect("a value");
        Self { bus: bus.clone(), path: path.try_into().expect("a path"), owner }
    }

    /// Label, id, and whether it can be clicked.
    async fn items(&self) -> Vec<(String, i32, bool)> {
        let everything: (i32, i32, Vec<&str>) = (0, -1, Vec::new());
        let interface = Some("com.canonical.dbusmenu");
        let answer =
            self.bus.call_method(Some(self.owner.as_str()), &self.path, interface, "GetLayout", &everything).await;
        let (_, layout): (u32, Layout) = answer.expect("a menu answers").body().deserialize().expect("a layout");
        layout
            .2
            .into_iter()
            .map(|item| {
                let Value::Structure(item) = &*item else { panic!("not an item: {item:?}") };
                let [Value::I32(id), Value::Dict(properties), ..] = item.fields() else {
                    panic!("not an item: {item:?}")
                };
                let text: Option<String> = properties.get(&"label").expect("a property");
                let enabled: Option<bool> = properties.get(&"enabled").expect("a property");
                (text.unwrap_or_default(), *id, enabled.unwrap_or(true))
            })
            .collect()
    }

    async fn offers(&self, label: &str) -> bool {
        self.items().await.iter().any(|(text, _, enabled)| text.starts_with(label) && *enabled)
    }

    /// Clicks an item once it can be clicked.
    async fn click(&self, label: &str) {
        until(label, async || self.offers(label).await.then_some(())).await;
        let items = self.items().await;
        let (_, id, _) = items.iter().find(|(text, ..)| text.starts_with(label)).expect("it was offered");
        let event = (*id, "clicked", Value::from(0_i32), 0_u32);
        let interface = Some("com.canonical.dbusmenu");
        let clicked = self.bus.call_method(Some(self.owner.as_str()), &self.path, interface, "Event", &event).await;
        clicked.expect("it takes the click");
    }
}

async fn until_state(window: &Window, state: &str) -> serde_json::Value {
    window.until_state(state, |shown| shown["state"] == state).await
}

#[tokio::test]
async fn the_tray_opens_starts_stops_and_quits() {
    let screen = Screen::new(true).await;
    let (sender, mut icons) = mpsc::unbounded_channel();
    let bus = zbus::connection::Builder::address(screen.bus().expect("it has a bus"))
        .expect("an address")
        .name("org.kde.StatusNotifierWatcher")
        .expect("a name")
        .serve_at("/StatusNotifierWatcher", Watcher { icons: sender })
        .expect("a path")
        .build()
        .await
        .expect("the bus answers");
    program("hearth");
    let window = screen.open(&program("hearth-desktop")).await;
    let (owner, icon) = icons.recv().await.expect("the app has an icon");
    let menu = Menu::of(&bus, owner, &icon).await;
    assert_eq!(window.state().await["tray"], true);
    assert!(!menu.offers("Start").await && !menu.offers("Stop").await, "nothing to start before the first run");

    let setup = json!({ "serverName": "tray.example.org", "owner": "ada", "password": "correct horse", "port": 0 });
    let state = window.invoke("desktop_setup", setup).await.expect("it is set up");
    let app = parent_of(u32::try_from(state["pid"].as_u64().expect("it runs")).expect("a process id"));
    menu.click("Stop").await;
    until_state(&window, "stopped").await;
    menu.click("Start").await;
    let server = until_state(&window, "running").await["pid"].as_u64().expect("it runs");
    menu.click("Open").await;
    menu.click("Quit").await;
    until("the end of the app", async || (!is_alive(app)).then_some(())).await;
    assert!(!is_alive(u32::try_from(server).expect("a process id")), "it stopped its server first");
}
