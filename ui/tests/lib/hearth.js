// Starts the real server on free ports in a temporary folder, and talks to it the way a Matrix client does.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

function binary() {
  if (process.env.HEARTH_BIN) return process.env.HEARTH_BIN;
  const cwd = fileURLToPath(new URL("../../..", import.meta.url));
  const metadata = execFileSync("cargo", ["metadata", "--format-version=1", "--no-deps"], { cwd, maxBuffer: 64 << 20 });
  const path = join(JSON.parse(metadata.toString()).target_directory, "debug", "hearth");
  if (!existsSync(path)) throw new Error(`${path} is missing: build it with "cargo build -p hearth"`);
  return path;
}

export class Hearth {
  /** Starts a server; `registration` is the mode of its configuration. Its backups are made by hand alone, unless there is an
   *  interval, in `backupFolder` beside the configuration. */
  static async start({
    registration = "closed",
    serverName = "hearth.test",
    backupFolder = "backups",
    backupHours = 0,
  } = {}) {
    const hearth = new Hearth();
    hearth.folder = mkdtempSync(join(tmpdir(), "hearth-ui-"));
    hearth.config = join(hearth.folder, "hearth.toml");
    hearth.adminPort = 0;
    hearth.settings = { registration, serverName, backupFolder, backupHours };
    await hearth.run();
    return hearth;
  }

  /** Starts the process; the admin listener keeps its port over restarts. */
  async run() {
    const { registration, serverName, backupFolder, backupHours } = this.settings;
    writeFileSync(
      this.config,
      `server_name = "${serverName}"
data_dir = ${JSON.stringify(join(this.folder, "data"))}
[[listener]]
address = "127.0.0.1:0"
serves = ["client"]
[admin]
address = "127.0.0.1:${this.adminPort}"
[registration]
mode = "${registration}"
[passwords]
memory_kib = 64
iterations = 1
[backup]
folder = ${JSON.stringify(backupFolder)}
interval_hours = ${backupHours}
[limits]
rate_limit = false
`,
    );
    const arguments_ = ["serve", "--config", this.config, "--exit-on-stdin-eof"];
    this.process = spawn(binary(), arguments_, { stdio: ["pipe", "pipe", "pipe"] });
    let errors = "";
    this.process.stderr.on("data", (chunk) => (errors = (errors + chunk).slice(-20_000)));
    this.exited = once(this.process, "exit");
    const early = this.exited.then(([code]) => {
      throw new Error(`hearth left with ${code} before it was ready:\n${errors}`);
    });
    const line = once(createInterface({ input: this.process.stdout }), "line");
    const [text] = await Promise.race([line, early]);
    early.catch(() => {});
    const ready = JSON.parse(text);
    this.client = ready.listeners[0];
    this.admin = ready.admin;
    this.adminPort = Number(new URL(this.admin).port);
    this.token = readFileSync(ready.admin_token_file, "utf8").trim();
  }

  /** Ends the process without warning. */
  async kill() {
    this.process.kill("SIGKILL");
    await this.exited;
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.stdin.end();
      await this.exited;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A request to the client-server API; throws unless it succeeds. */
  async matrix(method, path, { token, body } = {}) {
    const response = await fetch(`${this.client}/_matrix/client/v3${path}`, {
      method,
      headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) throw Object.assign(new Error(`${method} ${path}: ${JSON.stringify(answer)}`), { answer });
    return answer;
  }

  /** Logs a user in with a password; returns the access token. */
  async login(user, password, deviceName) {
    const body = {
      type: "m.login.password",
      identifier: { type: "m.id.user", user },
      password,
      initial_device_display_name: deviceName,
    };
    return (await this.matrix("POST", "/login", { body })).access_token;
  }

  /** Sends a text message. */
  async say(token, room, text, transaction) {
    const path = `/rooms/${encodeURIComponent(room)}/send/m.room.message/${encodeURIComponent(transaction)}`;
    await this.matrix("PUT", path, { token, body: { msgtype: "m.text", body: text } });
  }

  /** A request to the admin API; returns status and body. */
  async api(method, path, body) {
    const response = await fetch(`${this.admin}${path}`, {
      method,
      headers: { "content-type": "application/json", authorization: `Bearer ${this.token}` },
      body: body === undefined || body === null ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, body: text === "" ? null : JSON.parse(text) };
  }
}
