// The parts of the dashboard that need no browser, compiled by the same Vite.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { createServer } from "vite";

let vite;

before(async () => {
  const root = new URL("..", import.meta.url).pathname;
  vite = await createServer({
    root,
    appType: "custom",
    logLevel: "error",
    server: { middlewareMode: true, ws: false },
  });
});

after(() => vite?.close());

const load = (path) => vite.ssrLoadModule(`/src/${path}`);

test("server-sent events are read however they are cut", async () => {
  const { readEvents } = await load("api/sse.ts");
  const text = ': hello\n\nevent: logs\ndata: {"a":\ndata: "ü"}\n\nid: 7\ndata:x\r\n\r\nevent: none\n\ndata: cut off';
  const bytes = new TextEncoder().encode(text);
  for (const size of [1, 2, 3, 7, bytes.length]) {
    const body = new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
        controller.close();
      },
    });
    const events = [];
    await readEvents(body, (name, data) => events.push([name, data]));
    const expected = [
      ["logs", '{"a":\n"ü"}'],
      ["message", "x"],
    ];
    assert.deepEqual(events, expected, `pieces of ${size}`);
  }
});

test("routes are read from the address", async () => {
  const { parseRoute, links } = await load("lib/routes.ts");
  for (const [hash, route] of [
    ["", { page: "overview" }],
    ["#/", { page: "overview" }],
    ["#/logs", { page: "logs" }],
    [links.user("@a/b:x.org"), { page: "user", userId: "@a/b:x.org" }],
    [links.room("!r#?%:x.org"), { page: "room", roomId: "!r#?%:x.org" }],
    ["#/users/a/b", { page: "unknown" }],
    ["#/users/%zz", { page: "unknown" }],
    ["#/nowhere", { page: "unknown" }],
  ]) {
    assert.deepEqual(parseRoute(hash), route, hash);
  }
});

test("numbers, sizes and times read well", async () => {
  const format = await load("lib/format.ts");
  assert.equal(format.formatCount(1234567), "1,234,567");
  assert.deepEqual([0, 0.04, 0.25, 9.96, 1234].map(format.formatDecimal), ["0", "< 0.1", "0.3", "10.0", "1,234"]);
  const sizes = [0, 999, 1000, 12_345_678, 999_000_000_000_000].map(format.formatBytes);
  assert.deepEqual(sizes, ["0 B", "999 B", "1.0 kB", "12.3 MB", "999 TB"]);
  const lengths = [0, 59, 60, 3600, 90_061, 86_400 * 400].map(format.formatDuration);
  assert.deepEqual(lengths, ["0 s", "59 s", "1 min", "1 h", "1 d 1 h", "400 d"]);
  const now = Date.UTC(2026, 0, 31);
  const ago = (seconds) => format.formatRelative(now - seconds * 1000, now);
  assert.deepEqual([0, 44, 60, 7200, 86_400, 86_400 * 40, 86_400 * 800].map(ago), [
    "just now",
    "just now",
    "1 minute ago",
    "2 hours ago",
    "yesterday",
    "last month",
    "2 years ago",
  ]);
  assert.deepEqual(["@ada:x.org", "#a", "!r:x:1"].map(format.localpart), ["ada", "a", "r"]);
});

test("the wizard knows a good name from a bad one", async () => {
  const { checkServerName, checkOwner, checkPassword } = await load("desktop/validate.ts");
  for (const name of ["localhost", "example.org", "a-b.example.org:8448", "[::1]", "[2001:db8::1]:8448", "10.0.0.1"]) {
    assert.equal(checkServerName(name), null, name);
  }
  for (const name of [
    "",
    "https://x.org",
    "x.org/",
    "@a:x.org",
    "-x.org",
    "x..org",
    "x_y.org",
    "x.org:99999",
    "x.org:",
  ]) {
    assert.notEqual(checkServerName(name), null, name);
  }
  for (const owner of ["ada", "a.b_c=d-e/f+1"]) assert.equal(checkOwner(owner), null, owner);
  for (const owner of ["", "Ada", "a b", "ä", "@ada"]) assert.notEqual(checkOwner(owner), null, owner);
  assert.equal(checkPassword("12345678"), null);
  assert.notEqual(checkPassword("1234567"), null);
});
