// Every page in light and dark against axe-core's rules, contrast included.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { launch, newPage } from "./lib/browser.js";
import { Hearth } from "./lib/hearth.js";
import { openWindow, state } from "./lib/window.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let hearth;
let browser;
let room;

before(async () => {
  hearth = await Hearth.start({ registration: "open" });
  browser = await launch();
  const admin = "/_hearth/admin/v1";
  await hearth.api("POST", `${admin}/users`, { localpart: "ada", password: "a long password", admin: true });
  await hearth.api("POST", `${admin}/registration_tokens`, { token: "welcome", uses_allowed: 2 });
  const token = await hearth.login("ada", "a long password", "Telephone");
  const body = { name: "Kitchen", topic: "Soup", preset: "public_chat" };
  await hearth.api("POST", `${admin}/backups`);
  room = (await hearth.matrix("POST", "/createRoom", { token, body })).room_id;
});

after(async () => {
  await browser?.close();
  await hearth?.stop();
});

/** What axe finds on the page as it is now. Runs outside the page's content security policy. */
async function faults(page) {
  await page.evaluate(() =>
    Promise.all(
      document
        .getAnimations()
        .map((animation) =>
          animation.effect?.getComputedTiming().iterations === Infinity
            ? animation.cancel()
            : animation.finished.catch(() => null),
        ),
    ),
  );
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => window.axe.run());
  assert.ok(
    passes.some(({ id }) => id === "color-contrast"),
    "axe looked at nothing",
  );
  return violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${id}: ${node.target.join(" ")} ${node.failureSummary}`),
  );
}

for (const colorScheme of ["light", "dark"]) {
  test(`pages and dialogs, ${colorScheme}`, async () => {
    const { page, context, problems } = await newPage(browser, { origin: hearth.admin, colorScheme, allow: [/404/] });
    await page.goto(hearth.admin);
    await page.getByLabel("Admin token").waitFor();
    assert.deepEqual(await faults(page), [], "login");
    await page.goto(`${hearth.admin}/#token=${hearth.token}`);
    await page.getByTestId("dashboard").waitFor();
    for (const [hash, shown] of [
      ["#/overview", "Most used endpoints"],
      ["#/users", "@ada:hearth.test"],
      [`#/users/${encodeURIComponent("@ada:hearth.test")}`, "Telephone"],
      [`#/users/${encodeURIComponent("@nobody:hearth.test")}`, "There is no such user"],
      ["#/rooms", "Kitchen"],
      [`#/rooms/${encodeURIComponent(room)}`, "Joined"],
      ["#/registration", "welcome"],
      ["#/storage", "Healthy"],
      ["#/jobs", "Backup"],
      ["#/logs", "user created"],
      ["#/nowhere", "There is no such page"],
    ]) {
      await page.evaluate((to) => (location.hash = to), hash);
      await page.locator("main").getByText(shown).first().waitFor();
      assert.deepEqual(await faults(page), [], hash);
    }
    await page.evaluate(() => (location.hash = "#/users"));
    await page.getByRole("button", { name: "New user" }).first().click();
    await page.getByRole("dialog").waitFor();
    assert.deepEqual(await faults(page), [], "new user");
    await page.keyboard.press("Escape");
    await page.evaluate(() => (location.hash = "#/storage"));
    await page.getByRole("toolbar", { name: /^Tables by size/ }).waitFor();
    await page.getByRole("row").filter({ hasText: "By hand" }).waitFor();
    assert.deepEqual(await faults(page), [], "picture of sizes, backups");
    await page.getByRole("tab", { name: "Table" }).click();
    assert.deepEqual(await faults(page), [], "table of sizes");
    await page.getByRole("button", { name: "How to restore" }).click();
    await page.getByRole("dialog").waitFor();
    assert.deepEqual(await faults(page), [], "how to restore");
    await page.keyboard.press("Escape");
    await page.evaluate((to) => (location.hash = to), `#/users/${encodeURIComponent("@ada:hearth.test")}`);
    await page.getByRole("button", { name: "Deactivate" }).click();
    await page.getByRole("alertdialog").waitFor();
    assert.deepEqual(await faults(page), [], "deactivate");
    assert.deepEqual(problems, []);
    await context.close();
  });

  test(`screens of the window, ${colorScheme}`, async () => {
    const notSetUp = state({ state: "not_set_up", next: "set_up", setup_step: "server", server_name: null });
    const { page, context, commands, become } = await openWindow(browser, hearth, notSetUp, { colorScheme });
    commands.desktop_check_port = ({ port }) => ({ port, free: true, message: null });
    await page.getByTestId("wizard").waitFor();
    assert.deepEqual(await faults(page), [], "wizard, name");
    await page.getByTestId("wizard-server-name").fill("example.org");
    await page.getByTestId("wizard-next").click();
    await page.getByTestId("wizard-advanced").click();
    assert.deepEqual(await faults(page), [], "wizard, owner");
    await become(state({ state: "starting", summary: "Hearth is starting.", next: "wait" }));
    await page.getByTestId("supervision").waitFor();
    assert.deepEqual(await faults(page), [], "starting");
    await become(
      state({ state: "crashed", summary: "It stopped.", next: "start", crash_loop: true, log_tail: ["a line"] }),
    );
    await page.getByText("a line").waitFor();
    assert.deepEqual(await faults(page), [], "crashed");
    await context.close();
  });
}
