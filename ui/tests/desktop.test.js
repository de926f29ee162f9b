// The screens of the desktop window, in a browser: every state that the app can tell.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, newPage } from "./lib/browser.js";
import { Hearth } from "./lib/hearth.js";
import { openWindow, state } from "./lib/window.js";

let hearth;
let browser;

before(async () => {
  hearth = await Hearth.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await hearth?.stop();
});

const notSetUp = state({
  state: "not_set_up",
  next: "set_up",
  setup_step: "server",
  server_name: null,
  pid: null,
  client_urls: [],
});

test("first run asks for name and owner, says what can never change, and ends in the dashboard", async () => {
  const { page, context, commands, calls, problems } = await openWindow(browser, hearth, notSetUp);
  commands.desktop_check_port = ({ port }) =>
    port === 8008
      ? { port, free: false, message: "Port 8008 is already used by nginx (process 812)." }
      : { port, free: true, message: null };
  await page.getByTestId("wizard").waitFor();
  await page.getByText("The name can never change").waitFor();

  for (const wrong of ["", "https://example.org", "@you:example.org", "exa mple"]) {
    await page.getByTestId("wizard-server-name").fill(wrong);
    await page.getByTestId("wizard-next").click();
    await page.locator("[data-testid=wizard-server-name][aria-invalid=true]:focus").waitFor();
  }
  await page.getByTestId("wizard-server-name").fill("Example.org");
  await page.getByText("Your id will be @you:example.org").waitFor();
  await page.getByTestId("wizard-next").click();

  await page.getByText("already used by nginx (process 812)").waitFor();
  await page.getByTestId("wizard-port").fill("8118");
  await page.getByTestId("wizard-owner").fill("Ada");
  await page.getByTestId("wizard-password").fill("short");
  await page.getByTestId("wizard-next").click();
  await page.getByText("User names are in lower case.").waitFor();
  await page.getByText("The password has at least 8 characters.").waitFor();
  await page.getByTestId("wizard-owner").fill("ada");
  await page.getByTestId("wizard-password").fill("long enough");
  await page.getByTestId("wizard-next").click();
  await page.getByText("@ada:example.org").waitFor();

  // A refusal of the app leads back to the field that it names.
  commands.desktop_setup = () => {
    throw { code: "port_taken", message: "Port 8118 was taken a moment ago.", field: "port", status: null };
  };
  await page.getByTestId("wizard-finish").click();
  await page.getByTestId("wizard-error").filter({ hasText: "Port 8118 was taken a moment ago." }).waitFor();
  await page.getByTestId("wizard-port").fill("8119");
  await page.getByText("Right for nearly everybody").waitFor();
  await page.getByTestId("wizard-engine").selectOption("foundationdb");
  await page.getByText("FoundationDB must be installed").waitFor();
  await page.getByTestId("wizard-next").click();
  commands.desktop_setup = () => state({});
  await page.getByTestId("wizard-finish").click();
  await page.getByTestId("dashboard").waitFor();
  assert.deepEqual(calls.filter(([command]) => command === "desktop_setup").at(-1)[1], {
    serverName: "example.org",
    owner: "ada",
    password: "long enough",
    port: 8119,
    engine: "foundationdb",
  });
  assert.deepEqual(problems, []);
  await context.close();
});

test("a first run that stopped half way goes on with the owner", async () => {
  const half = state({ setup_step: "owner", server_name: "fixed.example" });
  const { page, context, commands, calls, problems } = await openWindow(browser, hearth, half);
  commands.desktop_check_port = ({ port }) => ({ port, free: true, message: null });
  commands.desktop_setup = () => state({});
  await page.getByTestId("wizard-owner").fill("ada");
  assert.equal(await page.getByTestId("wizard-server-name").count(), 0);
  await page.getByTestId("wizard-password").fill("long enough");
  await page.getByTestId("wizard-next").click();
  await page.getByText("@ada:fixed.example").waitFor();
  await page.getByTestId("wizard-finish").click();
  await page.getByTestId("dashboard").waitFor();
  assert.equal(calls.find(([command]) => command === "desktop_setup")[1].serverName, "fixed.example");
  assert.deepEqual(problems, []);
  await context.close();
});

test("every state of the server has its screen and its next action", async () => {
  const starting = state({ state: "starting", summary: "Hearth is starting.", next: "wait", pid: null });
  const { page, context, commands, calls, become, problems } = await openWindow(browser, hearth, starting);
  const screen = page.getByTestId("supervision");
  const action = page.getByTestId("supervision-action");
  const count = (command) => calls.filter(([name]) => name === command).length;
  await screen.getByText("Hearth is starting.").waitFor();
  await page.getByRole("progressbar").waitFor();
  assert.equal(await action.count(), 0);

  await become(state({ state: "stopped", summary: "Hearth is stopped.", next: "start", pid: null }));
  commands.desktop_start = () => starting;
  await action.filter({ hasText: "Start the server" }).click();
  await screen.getByText("Hearth is starting.").waitFor();
  assert.equal(count("desktop_start"), 1);

  await become(
    state({
      state: "crashed",
      summary: "The server stopped and was not started again, because it stopped five times in a row.",
      advice: "Look at the last log lines.",
      next: "start",
      crash_loop: true,
      log_tail: ["line one", "disk is full"],
    }),
  );
  await screen.getByText("Look at the last log lines.").waitFor();
  await screen.getByText("disk is full").waitFor();
  await action.filter({ hasText: "Try again now" }).click();
  await screen.getByText("Hearth is starting.").waitFor();

  await become(
    state({ state: "crashed", summary: "The server stopped unexpectedly.", next: "wait", retry_in_ms: 60_000 }),
  );
  await screen.getByText(/It is started again in (60|59|58) s\./).waitFor();

  commands.desktop_start = () => {
    throw { code: "io", message: "The configuration cannot be read.", field: null, status: null };
  };
  await action.click();
  await screen.getByRole("alert").filter({ hasText: "The configuration cannot be read." }).waitFor();

  await become(
    state({ state: "foreign", summary: "Another Hearth already uses this folder.", next: "use_or_stop_other" }),
  );
  commands.desktop_stop_other = () => starting;
  await screen.getByRole("button", { name: "Stop it and start here" }).click();
  await screen.getByText("Hearth is starting.").waitFor();
  await become(
    state({ state: "foreign", summary: "Another Hearth already uses this folder.", next: "use_or_stop_other" }),
  );
  await action.filter({ hasText: "Use that server" }).click();
  await page.getByTestId("dashboard").waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test("a crash is told over the dashboard, which stays open while the server starts again", async () => {
  const { page, context, commands, become, problems } = await openWindow(browser, hearth, state({}));
  await page.getByTestId("dashboard").waitFor();
  await page.getByRole("link", { name: "Logs", exact: true }).click();
  await become(state({ state: "starting", summary: "Hearth is starting.", next: "wait" }));
  const notice = {
    at_ms: Date.now(),
    message: "The server stopped unexpectedly (killed by signal 9) and was started again.",
    restarts: 1,
    recovered: true,
    log: ["the last line"],
  };
  await become(state({ notice }));
  const shown = page.getByTestId("crash-notice");
  await shown.filter({ hasText: "killed by signal 9" }).waitFor();
  await page.getByRole("heading", { name: "Logs", level: 1 }).waitFor();
  await shown.getByText("Its last log lines").click();
  await shown.getByText("the last line").waitFor();
  commands.desktop_dismiss_notice = () => state({});
  await shown.getByRole("button", { name: "Dismiss" }).click();
  await shown.waitFor({ state: "detached" });
  assert.deepEqual(problems, []);
  await context.close();
});

test("the database beside the server is shown with it, and what is wrong with it is told", async () => {
  const database = {
    state: "running",
    summary: "FoundationDB is running.",
    advice: null,
    version: "7.4.6",
    pid: 4712,
    restarts: 0,
    retry_in_ms: null,
    memory_bytes: 212_000_000,
    data_bytes: 48_000_000,
    disk_free_bytes: 90_000_000_000,
    log_file: "/home/you/.local/share/hearth/data/foundationdb/log",
  };
  const starting = state({ state: "starting", summary: "Hearth is starting.", next: "wait", database });
  const { page, context, become, problems } = await openWindow(browser, hearth, starting);
  const processes = page.getByRole("list", { name: "Processes" });
  await processes
    .getByRole("listitem")
    .filter({ hasText: "FoundationDB 7.4.6" })
    .filter({ hasText: "Running" })
    .waitFor();
  await processes.getByRole("listitem").filter({ hasText: "Hearth" }).filter({ hasText: "Starting" }).waitFor();

  await become(state({ database }));
  await page.getByTestId("dashboard").waitFor();
  await page.getByRole("link", { name: "Storage", exact: true }).click();
  const row = page.getByRole("row").filter({ hasText: "FoundationDB 7.4.6" });
  await row.filter({ hasText: "212 MB" }).filter({ hasText: "48.0 MB" }).filter({ hasText: "4712" }).waitFor();

  const crashed = {
    ...database,
    state: "crashed",
    summary: "FoundationDB stopped unexpectedly.",
    restarts: 2,
    pid: null,
  };
  await become(state({ state: "degraded", summary: "Hearth runs without its database.", database: crashed }));
  const notice = page.getByRole("status").filter({ hasText: "FoundationDB stopped unexpectedly." });
  await notice.filter({ hasText: "It was started again 2 times." }).waitFor();
  await row.filter({ hasText: "Crashed" }).waitFor();
  await become(state({ database }));
  await notice.waitFor({ state: "detached" });
  assert.deepEqual(problems, []);
  await context.close();
});

test("the server's menu restarts, stops and keeps running", async () => {
  const { page, context, commands, calls, problems } = await openWindow(browser, hearth, state({}));
  await page.getByTestId("dashboard").waitFor();
  const menu = page.getByRole("button", { name: "Server on this computer" });
  commands.desktop_keep_running = ({ enabled }) => state({ keep_running: enabled });
  commands.desktop_stop = () => state({ state: "stopped", summary: "Hearth is stopped.", next: "start" });
  await menu.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("menuitemcheckbox", { name: "Keep running without this window" }).click();
  assert.deepEqual(calls.at(-1), ["desktop_keep_running", { enabled: true }]);
  await menu.click();
  await page.getByRole("menuitemcheckbox", { name: "Keep running without this window", checked: true }).waitFor();
  await page.getByRole("menuitem", { name: "Stop the server" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Stop the server" }).click();
  await page.getByTestId("supervision").getByText("Hearth is stopped.").waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test("a browser is not taken for the window", async () => {
  const { page, context } = await newPage(browser, { origin: hearth.admin });
  await page.goto(hearth.admin);
  await page.getByLabel("Admin token").waitFor();
  await context.close();
});
