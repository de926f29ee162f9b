// Stands in for the desktop app: the page believes to be in its window (src-tauri/COMMANDS.md), its requests
// go to the real server, and the state of supervision is whatever the test says.
import { newPage } from "./browser.js";

const RUNNING = {
  state: "running",
  summary: "Hearth is running.",
  advice: null,
  next: "open",
  setup_step: null,
  server_name: "hearth.test",
  pid: 4711,
  client_urls: ["http://127.0.0.1:8008"],
  admin_url: null,
  reason: null,
  crash_loop: false,
  retry_in_ms: null,
  notice: null,
  log_tail: [],
  log_file: "/home/you/.local/share/hearth/hearth.log",
  data_folder: "/home/you/.local/share/hearth",
  tray: true,
  keep_running: false,
  database: null,
};

/** A state like `running` but for `changes`. */
export const state = (changes) => ({ ...RUNNING, ...changes });

/** The part in the page. Runs before the page's own scripts. */
function pretend() {
  const callbacks = new Map();
  let last = 0;
  const listeners = [];
  let subscriptions = 0;
  const emit = (id, payload) => callbacks.get(id)?.(payload);
  window.__TAURI_EVENT_PLUGIN_INTERNALS__ = { unregisterListener: () => {} };
  window.__TAURI_INTERNALS__ = {
    transformCallback(callback) {
      last += 1;
      callbacks.set(last, callback);
      return last;
    },
    unregisterCallback: (id) => callbacks.delete(id),
    async invoke(command, args) {
      if (command === "plugin:event|listen") {
        listeners.push(args.handler);
        return args.handler;
      }
      if (command === "plugin:event|unlisten") return null;
      if (command === "admin_subscribe") {
        subscriptions += 1;
        let index = 0;
        const send = (message) => {
          emit(args.onEvent.id, { index, message });
          index += 1;
        };
        send({ type: "open" });
        const overview = await window.testCommand("admin_request", {
          method: "GET",
          path: "/_hearth/admin/v1/overview",
          body: null,
        });
        if (overview.error === undefined) {
          const data = JSON.stringify({ type: "overview", overview: overview.value.body });
          send({ type: "event", event: "overview", data, id: null });
        }
        return subscriptions;
      }
      if (command === "admin_unsubscribe") return null;
      const answer = await window.testCommand(command, args ?? {});
      if (answer.error !== undefined) throw answer.error;
      return answer.value;
    },
  };
  window.testState = (payload) => listeners.forEach((id) => emit(id, { event: "desktop://state", id, payload }));
}

/** Opens the page in a pretended window. `commands` answers the desktop commands and may be changed later. */
export async function openWindow(browser, hearth, first, options = {}) {
  const commands = {};
  const calls = [];
  const opened = await newPage(browser, { origin: hearth.admin, viewport: { width: 1100, height: 760 }, ...options });
  let current = first;
  await opened.context.exposeFunction("testCommand", async (command, args) => {
    calls.push([command, args]);
    try {
      if (command === "desktop_state") return { value: current };
      if (command === "admin_request") return { value: await hearth.api(args.method, args.path, args.body) };
      if (commands[command] === undefined)
        throw { code: "io", message: `${command} is not expected`, field: null, status: null };
      return { value: await commands[command](args) };
    } catch (error) {
      return { error };
    }
  });
  await opened.context.addInitScript(pretend);
  await opened.page.goto(hearth.admin);
  const become = async (next) => {
    current = next;
    await opened.page.evaluate((payload) => window.testState(payload), next);
  };
  return { ...opened, commands, calls, become };
}
