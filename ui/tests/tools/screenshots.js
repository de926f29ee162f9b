// Takes the pictures in ui/screenshots from a real server with some people on it: `npm run screenshots`.
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { launch, newPage } from "../lib/browser.js";
import { Hearth } from "../lib/hearth.js";
import { openWindow, state } from "../lib/window.js";

const folder = process.argv[2] ?? fileURLToPath(new URL("../../screenshots", import.meta.url));
mkdirSync(folder, { recursive: true });

// State resolution tells every single check at level info.
process.env.RUST_LOG = "info,ruma_state_res=warn";

const PASSWORD = "a long password";
const people = [
  ["ada", "Ada Lovelace", true],
  ["bob", "Bob", false],
  ["cyd", "Cyd", false],
  ["dora", "Dora Maar", false],
  ["erik", "Erik Satie", false],
  ["fay", "Fay Wray", false],
];

const hearth = await Hearth.start({ registration: "token", serverName: "example.org", backupHours: 24 });
const browser = await launch();
const sessions = {};

async function furnish() {
  for (const [localpart, display_name, admin] of people) {
    await hearth.api("POST", "/_hearth/admin/v1/users", { localpart, display_name, password: PASSWORD, admin });
    if (localpart !== "fay") sessions[localpart] = await hearth.login(localpart, PASSWORD, "Element X on Android");
  }
  await hearth.login("ada", PASSWORD, "Element Web on Firefox");
  await hearth.api("POST", "/_hearth/admin/v1/registration_tokens", {
    token: "kitchen-table",
    uses_allowed: 5,
    expires_at: Date.now() + 6.2 * 86_400_000,
  });
  await hearth.api("POST", "/_hearth/admin/v1/registration_tokens", { uses_allowed: 1 });
  await hearth.api("POST", "/_hearth/admin/v1/users", { localpart: "gil", password: PASSWORD });
  await hearth.api("POST", "/_hearth/admin/v1/users/@gil:example.org/deactivate", {});
  const encrypted = [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }];
  const rooms = [];
  for (const [name, body, members] of [
    ["Home", { creation_content: { type: "m.space" } }, ["bob", "cyd", "dora", "erik"]],
    ["Reading circle", { room_alias_name: "books", topic: "This month: The Left Hand of Darkness" }, ["cyd", "dora"]],
    ["Kitchen", { room_alias_name: "kitchen", preset: "public_chat", topic: "Recipes that worked" }, ["bob", "cyd"]],
    ["Family", { initial_state: encrypted, topic: "Birthdays, photos, who feeds the cat" }, ["bob", "cyd", "dora"]],
  ]) {
    const token = sessions.ada;
    const { room_id } = await hearth.matrix("POST", "/createRoom", { token, body: { name, ...body } });
    for (const member of members) {
      await hearth.matrix("POST", `/rooms/${room_id}/invite`, { token, body: { user_id: `@${member}:example.org` } });
      await hearth.matrix("POST", `/rooms/${room_id}/join`, { token: sessions[member], body: {} });
    }
    if (name === "Family") {
      await hearth.matrix("POST", `/rooms/${room_id}/invite`, { token, body: { user_id: "@erik:example.org" } });
    }
    if (name !== "Home") rooms.push([room_id, members]);
  }
  return rooms;
}

/** People who talk and sync while the pictures are taken. */
async function live(rooms, until) {
  let count = 0;
  while (!until.aborted) {
    count += 1;
    const wave = 1.2 + Math.sin(count / 9) + Math.sin(count / 31);
    const [room, members] = rooms[Math.random() < 0.6 ? rooms.length - 1 : Math.floor(Math.random() * rooms.length)];
    const member = [...members, "ada"][count % (members.length + 1)];
    if (Math.random() < 0.2 + wave / 8) await hearth.say(sessions[member], room, "Hello", `m${count}`);
    for (let call = 0; call < wave * 2; call += 1)
      await hearth.matrix("GET", "/sync?timeout=0", { token: sessions.bob });
    await new Promise((resolve) => setTimeout(resolve, 150 + Math.random() * 300));
  }
}

const family = (rooms) => `#/rooms/${encodeURIComponent(rooms.at(-1)[0])}`;

async function dashboard(page, rooms, name) {
  for (const [file, hash] of [
    ["overview", "#/overview"],
    ["users", "#/users"],
    ["user", `#/users/${encodeURIComponent("@ada:example.org")}`],
    ["rooms", "#/rooms"],
    ["room", family(rooms)],
    ["registration", "#/registration"],
    ["jobs", "#/jobs"],
    ["logs", "#/logs"],
  ]) {
    await page.evaluate((to) => (location.hash = to), hash);
    await page.waitForTimeout(1200);
    await page.screenshot({ path: `${folder}/${file}-${name}.png` });
  }
  // The whole of it: the picture of sizes is below what a window shows at first.
  await page.evaluate(() => (location.hash = "#/storage"));
  await page.getByRole("toolbar", { name: /^Tables by size/ }).waitFor();
  await page.setViewportSize({ width: 1280, height: 1460 });
  await page.waitForTimeout(1200);
  await page.screenshot({ path: `${folder}/storage-${name}.png` });
}

async function desktop(colorScheme) {
  const first = state({ state: "not_set_up", next: "set_up", setup_step: "server", server_name: null });
  const { page, context, commands, become } = await openWindow(browser, hearth, first, { colorScheme });
  commands.desktop_check_port = ({ port }) => ({ port, free: true, message: null });
  await page.getByTestId("wizard-server-name").fill("example.org");
  await page.waitForTimeout(500);
  await page.screenshot({ path: `${folder}/desktop-first-run-${colorScheme}.png` });
  await page.getByTestId("wizard-next").click();
  await page.waitForTimeout(300);
  await page.screenshot({ path: `${folder}/desktop-owner-${colorScheme}.png` });
  await page.getByTestId("wizard-owner").fill("ada");
  await page.getByTestId("wizard-password").fill(PASSWORD);
  await page.getByTestId("wizard-next").click();
  await page.waitForTimeout(300);
  await page.screenshot({ path: `${folder}/desktop-review-${colorScheme}.png` });
  const screens = {
    starting: { summary: "Hearth is starting.", next: "wait" },
    crashed: {
      summary: "The server stopped again and again, so it was not started once more.",
      advice: "The last log lines below say why. Mend what they name, then try again.",
      next: "start",
      crash_loop: true,
      log_tail: [
        "2026-11-22T20:14:03Z  INFO hearth::serve: opening the store folder=/home/ada/.local/share/hearth/data",
        "2026-11-22T20:14:03Z ERROR hearth_store: writing failed: No space left on device (os error 28)",
      ],
    },
    foreign: {
      summary: "Another Hearth already runs on your server’s folder.",
      advice: "Use that one, or stop it and start the server in this window.",
      next: "use_or_stop_other",
    },
  };
  for (const [name, changes] of Object.entries(screens)) {
    await become(state({ state: name, ...changes }));
    await page.waitForTimeout(900);
    await page.screenshot({ path: `${folder}/desktop-${name}-${colorScheme}.png` });
  }
  const notice = {
    at_ms: Date.now() - 70_000,
    message: "The server stopped unexpectedly (killed by signal 9) and was started again.",
    restarts: 1,
    recovered: true,
    log: ["2026-11-22T20:14:03Z  INFO hearth::serve: ready"],
  };
  await become(state({ notice }));
  await page.getByTestId("dashboard").waitFor();
  await page.getByRole("button", { name: "Server on this computer" }).click();
  await page.waitForTimeout(900);
  await page.screenshot({ path: `${folder}/desktop-notice-${colorScheme}.png` });
  await context.close();
}

const rooms = await furnish();
const stop = new AbortController();
const people_ = live(rooms, stop.signal);
// Both watch for the whole time, so that the curves have a past.
const seconds = Number(process.env.SECONDS ?? 60);
const backup = () => hearth.api("POST", "/_hearth/admin/v1/backups");
await backup();
const pages = [];
for (const colorScheme of ["light", "dark"]) {
  const { page } = await newPage(browser, { origin: hearth.admin, colorScheme });
  await page.goto(`${hearth.admin}/#token=${hearth.token}`);
  await page.getByTestId("dashboard").waitFor();
  pages.push([colorScheme, page]);
}
await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
await backup();
const { body: backups } = await hearth.api("GET", "/_hearth/admin/v1/backups");
await hearth.api("POST", `/_hearth/admin/v1/backups/${backups.files.at(-1).name}/verify`);
for (const [colorScheme, page] of pages) await dashboard(page, rooms, colorScheme);
for (const colorScheme of ["light", "dark"]) await desktop(colorScheme);
stop.abort();
await people_;
await browser.close();
await hearth.stop();
