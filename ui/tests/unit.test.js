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
    ["#/storage", { page: "storage" }],
    ["#/jobs", { page: "jobs" }],
    ["#/jobs/1", { page: "unknown" }],
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

test("a treemap fills its room with areas in proportion", async () => {
  const { squarify } = await load("lib/treemap.ts");
  const room = { x: 3, y: 5, width: 600, height: 300 };
  for (const values of [
    [1],
    [5, 5],
    [6, 6, 4, 3, 2, 2, 1],
    [1e12, 1, 1],
    Array.from({ length: 60 }, (_, i) => 61 - i),
  ]) {
    const placed = squarify(values, room);
    const total = values.reduce((sum, value) => sum + value, 0);
    placed.forEach(({ x, y, width, height }, index) => {
      assert.ok(Math.abs((width * height) / (600 * 300) - values[index] / total) < 1e-6, `${values} at ${index}`);
      assert.ok(x >= 3 - 1e-6 && y >= 5 - 1e-6 && x + width <= 603 + 1e-6 && y + height <= 305 + 1e-6);
    });
    for (const [index, a] of placed.entries()) {
      for (const b of placed.slice(index + 1)) {
        const wide = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
        const high = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
        assert.ok(wide < 1e-6 || high < 1e-6, "tiles overlap");
      }
    }
  }
  const ratios = squarify([6, 6, 4, 3, 2, 2, 1], { x: 0, y: 0, width: 6, height: 4 });
  assert.ok(
    ratios.every(({ width, height }) => Math.max(width / height, height / width) < 3),
    "nearly square",
  );
  assert.deepEqual(squarify([], room), []);
  assert.equal(squarify([0], room)[0].width, 0);
});

test("tables come by database, small ones together, and nothing is lost", async () => {
  const { groupTables, share, tableName, databaseTitle } = await load("lib/tables.ts");
  const table = (database, name, bytes) => ({ database, table: name, about: "", entries: 2, bytes });
  const tables = [
    table("rooms", "event_json", 900_000),
    table("rooms", "a", 10),
    table("rooms", "b", 20),
    table("accounts", "user", 100_000),
    table("accounts", "alone", 5),
    table("", "", 7),
    table("jobs", "empty", 0),
  ];
  const groups = groupTables(tables);
  assert.deepEqual(
    groups.map(({ title, tiles }) => [title, tiles.map(({ name, bytes }) => `${name} ${bytes}`)]),
    [
      ["Rooms", ["event json 900000", "2 small tables 30"]],
      ["Accounts", ["user 100000", "alone 5"]],
      ["Other", ["everything else 7"]],
    ],
  );
  assert.equal(groups[0].tiles[1].about, "a, b");
  assert.equal(groups[0].tiles[1].entries, 4);
  assert.deepEqual(groupTables([]), []);
  assert.deepEqual([share(0, 0), share(0, 9), share(1, 1000), share(1, 3)], ["0 %", "0 %", "< 1 %", "33 %"]);
  assert.equal(tableName({ database: "", table: "" }), "everything else");
  assert.equal(databaseTitle("newer"), "Newer");
});

test("jobs have words", async () => {
  const { kindLabel, subject, fraction } = await load("lib/jobs.ts");
  assert.deepEqual(["backup", "purge_room", "bake_bread"].map(kindLabel), ["Backup", "Delete a room", "Bake bread"]);
  assert.equal(subject({ key: "" }), null);
  assert.equal(subject({ key: "manual" }).text, "by hand");
  assert.equal(subject({ key: "!a:b" }).link, "#/rooms/!a%3Ab");
  assert.equal(subject({ key: "@a:b" }).link, "#/users/%40a%3Ab");
  const progress = (done, total) => fraction({ progress: { done, total, message: "", at: 0 } });
  assert.deepEqual([progress(1, 4), progress(9, 4), progress(1, null), progress(0, 0)], [0.25, 1, null, null]);
  assert.equal(fraction({ progress: null }), null);
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
