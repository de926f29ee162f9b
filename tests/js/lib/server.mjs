// Starts the real `hearth` binary on free ports in a temporary folder.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const REGISTRATION_TOKEN = "the-family-token";

function binary() {
    if (process.env.HEARTH_BIN) return process.env.HEARTH_BIN;
    const root = fileURLToPath(new URL("../../..", import.meta.url));
    const metadata = execFileSync("cargo", ["metadata", "--format-version=1", "--no-deps"], {
        cwd: root,
        maxBuffer: 64 << 20,
    });
    const path = join(JSON.parse(metadata.toString()).target_directory, "debug", "hearth");
    if (!existsSync(path)) throw new Error(`${path} is missing: run "cargo build --workspace --bins" first`);
    return path;
}

export class Server {
    /** Starts a server; `registration` is the mode of the configuration. */
    static async start({ registration = "token" } = {}) {
        const server = new Server();
        server.folder = mkdtempSync(join(tmpdir(), "hearth-js-"));
        server.registration = registration;
        server.port = 0;
        await server.#run();
        return server;
    }

    async #run() {
        const config = join(this.folder, "hearth.toml");
        // After the first start the port stays, so that clients reconnect by themselves.
        writeFileSync(
            config,
            `server_name = "hearth.test"
data_dir = ${JSON.stringify(join(this.folder, "data"))}
[[listener]]
address = "127.0.0.1:${this.port}"
serves = ["client"]
[admin]
address = "127.0.0.1:0"
[registration]
mode = "${this.registration}"
token = "${REGISTRATION_TOKEN}"
[passwords]
memory_kib = 64
iterations = 1
[limits]
rate_limit = false
`,
        );
        this.child = spawn(binary(), ["serve", "--config", config, "--exit-on-stdin-eof"], {
            stdio: ["pipe", "pipe", process.env.HEARTH_TEST_LOG ? "inherit" : "pipe"],
        });
        let errors = "";
        this.child.stderr?.on("data", (chunk) => (errors = (errors + chunk).slice(-20_000)));
        this.exited = once(this.child, "exit");
        const lines = createInterface({ input: this.child.stdout });
        const ready = once(lines, "line").then(([line]) => JSON.parse(line));
        const early = this.exited.then(([code]) => {
            throw new Error(`hearth left with ${code} before it was ready:\n${errors}`);
        });
        const { listeners } = await Promise.race([ready, early]);
        early.catch(() => {});
        this.baseUrl = listeners[0];
        this.port = Number(new URL(this.baseUrl).port);
    }

    /** A graceful stop and a new start on the same folder and port. */
    async restart() {
        this.child.kill("SIGTERM");
        await this.exited;
        await this.#run();
    }

    async stop() {
        if (this.child.exitCode === null) {
            this.child.stdin.end();
            await this.exited;
        }
        rmSync(this.folder, { recursive: true, force: true });
    }
}
