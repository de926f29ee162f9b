// Reads `hearth serve` on standard input and says in words what its ready line says to programs.
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
    let ready;
    try {
        ready = JSON.parse(line);
    } catch {
        ready = {};
    }
    if (ready.event !== "ready") {
        console.log(line);
        continue;
    }
    console.log(`Hearth is running.
  Matrix clients connect to   ${ready.listeners.join(", ")}
  The dashboard is at         ${ready.admin}
  It asks for the token in    ${ready.admin_token_file}`);
}
