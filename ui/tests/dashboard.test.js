// The dashboard in a real browser against the real server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, newPage, shows } from "./lib/browser.js";
import { Hearth } from "./lib/hearth.js";

let hearth;
let browser;

before(async () => {
  hearth = await Hearth.start({ registration: "token" });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await hearth?.stop();
});

/** Opens the dashboard through the one-time link. */
async function dashboard({ of = hearth, ...options } = {}) {
  const opened = await newPage(browser, { origin: of.admin, ...options });
  await opened.page.goto(`${of.admin}/#token=${encodeURIComponent(of.token)}`);
  await opened.page.getByTestId("dashboard").waitFor();
  return opened;
}

const go = (page, name) =>
  page.getByRole("navigation", { name: "Main" }).getByRole("link", { name, exact: true }).click();
const heading = (page, name) => page.getByRole("heading", { name, exact: true, level: 1 }).waitFor();

test("the token opens the dashboard, a wrong one does not", async () => {
  const { page, context, problems } = await newPage(browser, { origin: hearth.admin, allow: [/401/] });
  await page.goto(hearth.admin);
  const input = page.getByLabel("Admin token");
  await input.fill("wrong");
  await page.getByRole("button", { name: "Open the dashboard" }).click();
  await page.getByRole("alert").filter({ hasText: "not the token" }).waitFor();
  await input.fill(`  ${hearth.token}\n`);
  await page.getByRole("button", { name: "Open the dashboard" }).click();
  await page.getByTestId("dashboard").waitFor();

  await page.reload();
  await page.getByTestId("dashboard").waitFor();
  await page.getByRole("button", { name: /^Close the dashboard/ }).click();
  await input.waitFor();
  await page.reload();
  await input.waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test("the one-time link leaves no token in the address", async () => {
  const { page, context, problems } = await dashboard();
  assert.ok(!page.url().includes(hearth.token), page.url());
  await heading(page, "hearth.test");
  await page.goBack().catch(() => null);
  assert.ok(!page.url().includes(hearth.token), page.url());
  assert.deepEqual(problems, []);
  await context.close();
});

test("a user from creation to deactivation, with rooms and messages counted live", async () => {
  const { page, context, problems } = await dashboard({ allow: [/400/] });
  const users = Number(await page.getByTestId("count-users").textContent());
  const rooms = Number(await page.getByTestId("count-rooms").textContent());
  const messages = Number(await page.getByTestId("count-messages").textContent());

  // Create a user, with a password that is made up and shown once.
  await go(page, "Users");
  await page.getByRole("button", { name: "New user" }).first().click();
  const dialog = page.getByRole("dialog", { name: "New user" });
  await dialog.getByLabel("User name").fill("Not Valid");
  await dialog.getByRole("button", { name: "Create user" }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel("User name").fill("ada");
  await dialog.getByLabel("Display name").fill("Ada Lovelace");
  // The first account is the owner's, so the box is ticked.
  assert.equal(await dialog.getByLabel("Administrator").isChecked(), users === 0);
  await dialog.getByLabel("Administrator").uncheck();
  await dialog.getByRole("button", { name: "Create user" }).click();
  const password = await page.getByTestId("secret").textContent();
  await page.getByRole("button", { name: "Done" }).click();
  await page.getByRole("cell", { name: "Ada Lovelace" }).waitFor();

  // From here on the page is never loaded again.
  await go(page, "Overview");
  await shows(page.getByTestId("count-users"), String(users + 1));
  const token = await hearth.login("ada", password, "Ada's telephone");
  const { room_id: room } = await hearth.matrix("POST", "/createRoom", { token, body: { name: "Kitchen" } });
  await shows(page.getByTestId("count-rooms"), String(rooms + 1));
  await hearth.say(token, room, "Soup is ready", "1");
  await shows(page.getByTestId("count-messages"), String(messages + 1));
  await hearth.say(token, room, "It gets cold", "2");
  await shows(page.getByTestId("count-messages"), String(messages + 2));

  // The room list and the room's own page follow, too.
  await go(page, "Rooms");
  await page.getByRole("link", { name: "Kitchen" }).click();
  await heading(page, "Kitchen");
  await shows(page.getByTestId("room-messages"), "2");
  await hearth.say(token, room, "Last call", "3");
  await shows(page.getByTestId("room-messages"), "3");
  await page.getByRole("row").filter({ hasText: "@ada:hearth.test" }).filter({ hasText: "Joined" }).waitFor();
  await page.getByRole("tab", { name: "State" }).click();
  await page.locator("summary").filter({ hasText: "m.room.name" }).click();
  await page.getByText('"name": "Kitchen"').waitFor();
  await page.getByRole("link", { name: "@ada:hearth.test" }).first().click();

  // Her device, her role, her password.
  await heading(page, "Ada Lovelace");
  await page.getByRole("button", { name: "Log out Ada's telephone" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Log out" }).click();
  await page.getByText("No device is logged in").waitFor();
  await assert.rejects(hearth.matrix("GET", "/account/whoami", { token }), /M_UNKNOWN_TOKEN/);

  await page.getByRole("button", { name: "Make administrator" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Make administrator" }).click();
  await page.getByText("Administrator", { exact: true }).waitFor();

  await page.getByRole("button", { name: "Reset password" }).click();
  const reset = page.getByRole("dialog", { name: "Reset password" });
  await reset.getByLabel("Choose one").check();
  await reset.getByLabel("New password").fill("a quite new password");
  await reset.getByRole("button", { name: "Reset password" }).click();
  await reset.waitFor({ state: "hidden" });
  await assert.rejects(hearth.login("ada", password), /M_FORBIDDEN/);
  await hearth.login("ada", "a quite new password");

  // Deactivation says what happens, and happens.
  await page.getByRole("button", { name: "Deactivate" }).click();
  const confirm = page.getByRole("alertdialog", { name: "Deactivate Ada Lovelace?" });
  await confirm.getByText("This cannot be undone.").waitFor();
  await confirm.getByRole("button", { name: "Cancel" }).click();
  await confirm.waitFor({ state: "hidden" });
  await page.getByRole("button", { name: "Deactivate" }).click();
  await confirm.getByRole("button", { name: "Deactivate for ever" }).click();
  await page.getByText("Deactivated", { exact: true }).waitFor();
  await assert.rejects(hearth.login("ada", "a quite new password"), /M_USER_DEACTIVATED/);
  await go(page, "Overview");
  await shows(page.getByTestId("count-users"), String(users));
  assert.deepEqual(problems, []);
  await context.close();
});

test("users and rooms are searched and sorted", async () => {
  for (const localpart of ["bob", "bea", "cyd"]) {
    await hearth.api("POST", "/_hearth/admin/v1/users", { localpart, password: "a long password" });
  }
  const token = await hearth.login("bob", "a long password");
  for (const name of ["Alpha", "Beta"]) {
    const { room_id } = await hearth.matrix("POST", "/createRoom", { token, body: { name } });
    if (name === "Beta") await hearth.say(token, room_id, "hello", "b1");
  }
  const { page, context, problems } = await dashboard();
  await go(page, "Users");
  await page.getByRole("searchbox", { name: "Search users" }).fill("BE");
  await page.getByRole("cell", { name: "bea" }).waitFor();
  await page.getByRole("cell", { name: "cyd" }).waitFor({ state: "detached" });
  await page.getByRole("searchbox", { name: "Search users" }).fill("nobody of that name");
  await page.getByText("No user found").waitFor();

  await go(page, "Rooms");
  const first = page.locator("tbody tr").first();
  await page.getByRole("button", { name: "Room", exact: true }).click();
  await first.filter({ hasText: "Alpha" }).waitFor();
  await page.getByRole("button", { name: "Room", exact: true }).click();
  await page.locator("th[aria-sort=descending]").filter({ hasText: "Room" }).waitFor();
  await page.getByRole("searchbox", { name: "Search rooms" }).fill("bet");
  await first.filter({ hasText: "Beta" }).waitFor();
  await page.getByRole("cell", { name: "Alpha" }).waitFor({ state: "detached" });
  assert.deepEqual(problems, []);
  await context.close();
});

test("a registration token lets one person in", async () => {
  const { page, context, problems } = await dashboard({ allow: [/400/] });
  await go(page, "Registration");
  await page.getByRole("button", { name: "New token" }).first().click();
  const dialog = page.getByRole("dialog", { name: "New registration token" });
  await dialog.getByLabel("Token").fill("not a token!");
  await dialog.getByRole("button", { name: "Create token" }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel("Token").fill("welcome-fay");
  await dialog.getByRole("button", { name: "Create token" }).click();
  const row = page.getByRole("row").filter({ hasText: "welcome-fay" });
  await row.filter({ hasText: "Valid" }).waitFor();

  // As a client does: the first answer asks for the token, the second brings it.
  const account = { username: "fay", password: "a long password" };
  const asked = await hearth.matrix("POST", "/register", { body: account }).catch((error) => error.answer);
  let answer = asked;
  for (const stage of asked.flows[0].stages) {
    const auth = { type: stage, session: asked.session, token: "welcome-fay" };
    answer = await hearth.matrix("POST", "/register", { body: { ...account, auth } }).catch((error) => error.answer);
  }
  assert.equal(answer.user_id, "@fay:hearth.test", JSON.stringify(answer));
  await row.filter({ hasText: "Used up" }).filter({ hasText: "1 of 1" }).waitFor();

  await row.getByRole("button", { name: "Delete welcome-fay" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Delete token" }).click();
  await row.waitFor({ state: "detached" });
  assert.deepEqual(problems, []);
  await context.close();
});

test("who may register is changed while the server runs", async () => {
  const other = await Hearth.start({ registration: "closed" });
  try {
    const { page, context, problems } = await dashboard({ of: other });
    await go(page, "Registration");
    const register = (username) =>
      other
        .matrix("POST", "/register", {
          body: { username, password: "a long password", auth: { type: "m.login.dummy" } },
        })
        .then(({ user_id }) => user_id)
        .catch(({ answer }) => answer.errcode ?? answer.flows[0].stages[0]);
    assert.equal(await page.getByRole("radio", { name: /^Nobody/ }).isChecked(), true);
    assert.equal(await register("early"), "M_FORBIDDEN");

    await page.getByRole("radio", { name: /^Anybody/ }).click();
    const confirm = page.getByRole("alertdialog", { name: "Let anybody register?" });
    await confirm.getByRole("button", { name: "Cancel" }).click();
    assert.equal(await page.getByRole("radio", { name: /^Nobody/ }).isChecked(), true);
    await page.getByRole("radio", { name: /^Anybody/ }).click();
    await confirm.getByRole("button", { name: "Let anybody register" }).click();
    await page.getByRole("radio", { name: /^Anybody/, checked: true }).waitFor();
    assert.equal(await register("fay"), "@fay:hearth.test");

    await page.getByRole("radio", { name: /^Whoever has a token/ }).click();
    await page.getByText("Chosen here; the configuration says: nobody.").waitFor();
    assert.equal(await register("late"), "m.login.registration_token");
    await other.kill();
    await other.run();
    await page.getByRole("radio", { name: /^Whoever has a token/, checked: true }).waitFor();
    assert.equal(await register("later"), "m.login.registration_token");
    await page.getByRole("button", { name: "Follow the configuration" }).click();
    await page.getByRole("radio", { name: /^Nobody/, checked: true }).waitFor();
    assert.equal(await register("too-late"), "M_FORBIDDEN");
    assert.deepEqual(
      problems.filter((problem) => !/Failed to load resource|ERR_/.test(problem)),
      [],
    );
    await context.close();
  } finally {
    await other.stop();
  }
});

test("a backup is made, verified, explained and deleted; its job is told", async () => {
  const { page, context, problems } = await dashboard();
  await go(page, "Storage");
  await page.getByTestId("storage-health").filter({ hasText: "on the disk" }).waitFor();
  await page.getByText("Healthy").waitFor();
  await page.getByText("There is no backup.").waitFor();

  // The picture is reached by keyboard, the largest first, and has a table beside it.
  const picture = page.getByRole("toolbar", { name: /^Tables by size/ });
  const first = picture.getByRole("button").and(page.locator("[tabindex='0']"));
  await first.focus();
  const largest = await first.getAttribute("aria-label");
  assert.match(largest, /^Rooms, .+: .+B, \d+ %, [\d,]+ entr(y|ies)$/);
  await page.keyboard.press("ArrowRight");
  const second = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  assert.notEqual(second, largest);
  await page.keyboard.press("Home");
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), largest);
  await page.getByRole("tab", { name: "Table" }).click();
  const name = largest.split(", ")[1].split(":")[0];
  await page.getByRole("row").filter({ hasText: name }).first().waitFor();

  await page.getByRole("button", { name: "Back up now" }).click();
  const row = page.getByRole("row").filter({ hasText: "By hand" });
  await row.waitFor();
  await page.getByRole("button", { name: /^Verify / }).click();
  await row.filter({ hasText: "Verified" }).waitFor();

  await page.getByRole("button", { name: "How to restore" }).click();
  const dialog = page.getByRole("dialog", { name: "How to restore a backup" });
  const command = await dialog.getByTestId("command").last().textContent();
  const words = command.split(/[\s\\]+/);
  assert.deepEqual(words.slice(1, 6), ["store", "restore", "--config", hearth.config, "--from"], command);
  assert.ok(words[6].startsWith(`${hearth.folder}/backups/`), command);
  await dialog.getByRole("button", { name: "Close" }).last().click();

  await go(page, "Jobs");
  const kind = page.getByRole("row").filter({ has: page.getByRole("rowheader", { name: "Backup" }) });
  await kind.getByRole("button", { name: /^Backup, done: 1$/ }).click();
  await page.getByRole("heading", { name: "Chosen jobs" }).waitFor();
  const job = page.getByRole("row").filter({ hasText: "by hand" });
  await job.filter({ hasText: "Done" }).waitFor();
  await job.getByRole("button", { name: /^Run again: Backup/ }).click();
  await kind.getByRole("button", { name: /^Backup, done: \d+$/ }).waitFor();

  await go(page, "Storage");
  while ((await page.getByRole("button", { name: /^Delete hearth/ }).count()) === 0) await page.waitForTimeout(50);
  for (let left = await row.count(); left > 0; left -= 1) {
    await page
      .getByRole("button", { name: /^Delete hearth/ })
      .first()
      .click();
    await page.getByRole("alertdialog").getByRole("button", { name: "Delete backup" }).click();
    await page.getByRole("alertdialog").waitFor({ state: "hidden" });
  }
  await page.getByText("No backup yet").waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test("a backup that fails is told on every page that is concerned, and retried", async () => {
  // A file stands where the folder would be.
  const other = await Hearth.start({ backupFolder: "hearth.toml" });
  try {
    const { page, context, problems } = await dashboard({ of: other, allow: [/500/] });
    await go(page, "Storage");
    await page.getByRole("alert").filter({ hasText: "The backups could not be read" }).waitFor();
    await page.getByTestId("storage-health").waitFor();
    await other.api("POST", "/_hearth/admin/v1/backups");
    await go(page, "Jobs");
    const row = page.getByRole("row").filter({ hasText: "by hand" });
    await row.filter({ hasText: "after 1 attempt" }).filter({ hasText: "hearth.toml" }).waitFor();
    await row.getByRole("button", { name: "Run now: Backup manual" }).click();
    await row.filter({ hasText: /after [2-9] attempts|after 1 attempt/ }).waitFor();
    await row.getByRole("button", { name: "Cancel Backup manual" }).click();
    await row.filter({ hasText: "Cancelled" }).waitFor();
    assert.deepEqual(problems, []);
    await context.close();
  } finally {
    await other.stop();
  }
});

test("the log is followed, filtered and paused", async () => {
  const { page, context, problems } = await dashboard();
  await go(page, "Logs");
  const log = page.getByRole("log");
  await log.getByText("ready").first().waitFor();
  await page.getByText("Live", { exact: true }).waitFor();

  const create = (localpart) =>
    hearth.api("POST", "/_hearth/admin/v1/users", { localpart, password: "a long password" });
  await create("logged1");
  await log.getByText("@logged1:hearth.test").waitFor();

  await page.getByRole("button", { name: "Pause" }).click();
  await create("logged2");
  await page.getByRole("button", { name: /^Go on \(\d+ new\)$/ }).waitFor();
  assert.equal(await log.getByText("@logged2:hearth.test").count(), 0);
  await page.getByRole("button", { name: /^Go on/ }).click();
  await log.getByText("@logged2:hearth.test").waitFor();

  await page.getByRole("searchbox", { name: "Filter lines" }).fill("LOGGED1");
  await log.getByText("@logged2:hearth.test").waitFor({ state: "detached" });
  await log.getByText("@logged1:hearth.test").waitFor();
  await page.getByLabel("Level").selectOption("error");
  await page.getByText("No line contains that").waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test("the dashboard comes back by itself after the server was killed", async () => {
  const { page, context } = await dashboard();
  const users = await page.getByTestId("count-users").textContent();
  await hearth.kill();
  await page.getByText("The connection to the server is lost.").waitFor();
  await hearth.run();
  await page.getByText("The connection to the server is lost.").waitFor({ state: "detached" });
  await shows(page.getByTestId("count-users"), users.trim());

  // The log goes on behind the lines of the process that was killed.
  await go(page, "Logs");
  const starts = page.getByRole("log").locator(".line", { hasText: "ready" });
  await starts.first().waitFor();
  const before = await starts.count();
  await hearth.kill();
  await page.getByText("Not connected").waitFor();
  await hearth.run();
  await starts.nth(before).waitFor();
  await context.close();
});

test("everything is reached by keyboard, and the theme is remembered", async () => {
  const { page, context, problems } = await dashboard({ colorScheme: "light" });
  await page.keyboard.press("Tab");
  await page.getByRole("link", { name: "Skip to the content" }).and(page.locator(":focus")).waitFor();
  for (const name of ["Hearth, to the overview", "Overview", "Users", "Rooms"]) {
    await page.keyboard.press("Tab");
    await page.getByRole("link", { name, exact: true }).and(page.locator(":focus")).waitFor();
  }
  await page.keyboard.press("Enter");
  await page.locator("h1:focus").filter({ hasText: "Rooms" }).waitFor();

  const theme = page.getByRole("button", { name: /^Colours:/ });
  while (!(await theme.getAttribute("aria-label")).includes("dark")) await theme.click();
  await page.locator("html[data-theme=dark]").waitFor();
  await page.reload();
  await page.locator("html[data-theme=dark]").waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test("nothing is cut off on narrow screens", async () => {
  for (const width of [800, 390]) {
    const { page, context, problems } = await dashboard({ viewport: { width, height: 800 } });
    for (const name of ["Overview", "Users", "Rooms", "Registration", "Storage", "Jobs", "Logs"]) {
      await go(page, name);
      await page.getByRole("heading", { level: 1 }).waitFor();
      const overflow = await page.evaluate(() => {
        const main = document.querySelector("main");
        return main.scrollWidth - main.clientWidth;
      });
      assert.ok(overflow <= 0, `${name} at ${width} px is ${overflow} px too wide`);
    }
    assert.deepEqual(problems, []);
    await context.close();
  }
});
