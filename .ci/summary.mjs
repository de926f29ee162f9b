// Prints what ran: cargo's and node's own totals, from the logs that `make test` kept.
// Fails when a part ran no test at all, which a broken filter or an empty folder would otherwise hide.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const folder = process.argv[2];
/** A part's log without colours; empty where the part never began. */
function read(name) {
    const path = join(folder, name);
    return existsSync(path) ? readFileSync(path, "utf8").replaceAll(/\x1b\[[0-9;]*m/g, "") : "";
}

/** Sums every match of a pattern's first group. */
const sum = (text, pattern) => [...text.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);

const parts = [];

const cargo = read("cargo.log");
parts.push({
    name: "cargo test",
    passed: sum(cargo, /^test result: .*?(\d+) passed/gm),
    failed: sum(cargo, /^test result: .*?(\d+) failed/gm),
    ignored: sum(cargo, /^test result: .*?(\d+) ignored/gm),
});
for (const [name, file] of [
    ["dashboard", "ui.log"],
    ["matrix-js-sdk", "sdk.log"],
]) {
    const log = read(file);
    // node's spec reporter says "ℹ pass 3", its tap reporter "# pass 3".
    parts.push({
        name,
        passed: sum(log, /^(?:#|ℹ) pass (\d+)/gm),
        failed: sum(log, /^(?:#|ℹ) fail (\d+)/gm),
        ignored: sum(log, /^(?:#|ℹ) (?:skipped|todo) (\d+)/gm),
    });
}

console.log("\n=== Tests ===");
for (const { name, passed, failed, ignored } of parts) {
    const result = failed === 0 && passed > 0 ? "ok" : "FAILED";
    console.log(`test result: ${result}. ${passed} passed; ${failed} failed; ${ignored} ignored; ${name}`);
}
process.exit(parts.every(({ passed, failed }) => failed === 0 && passed > 0) ? 0 : 1);
