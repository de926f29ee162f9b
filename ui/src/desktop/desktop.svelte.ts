/** The desktop app's side: state of the supervised server and the commands (src-tauri/COMMANDS.md). */
import { invoke } from "@tauri-apps/api/core";
import { listen } from "@tauri-apps/api/event";

export interface DesktopState {
  state: "not_set_up" | "starting" | "running" | "degraded" | "stopping" | "stopped" | "crashed" | "foreign";
  summary: string;
  advice: string | null;
  next: "set_up" | "wait" | "open" | "start" | "restart" | "use_or_stop_other";
  setup_step: "server" | "owner" | null;
  server_name: string | null;
  pid: number | null;
  client_urls: string[];
  admin_url: string | null;
  crash_loop: boolean;
  retry_in_ms: number | null;
  notice: CrashNotice | null;
  log_tail: string[];
  log_file: string | null;
  data_folder: string;
  tray: boolean;
  keep_running: boolean;
  /** The local FoundationDB, where that is the engine. */
  database: DatabaseState | null;
}

export interface DatabaseState {
  state: "starting" | "running" | "degraded" | "stopping" | "stopped" | "crashed" | "foreign";
  summary: string;
  advice: string | null;
  version: string | null;
  pid: number | null;
  restarts: number;
  retry_in_ms: number | null;
  memory_bytes: number | null;
  data_bytes: number | null;
  disk_free_bytes: number | null;
  log_file: string | null;
}

/** What a process of this computer is doing, in a word. */
export const processStates = {
  not_set_up: { label: "Not set up", tone: "plain" },
  starting: { label: "Starting", tone: "info" },
  running: { label: "Running", tone: "good" },
  degraded: { label: "Needs a look", tone: "warn" },
  stopping: { label: "Stopping", tone: "info" },
  stopped: { label: "Stopped", tone: "plain" },
  crashed: { label: "Crashed", tone: "bad" },
  foreign: { label: "Run by somebody else", tone: "warn" },
} as const;

export interface CrashNotice {
  at_ms: number;
  message: string;
  restarts: number;
  recovered: boolean;
  log: string[];
}

export interface CommandError {
  code: string;
  message: string;
  field: "server_name" | "owner" | "password" | "port" | null;
  status: number | null;
}

export interface PortCheck {
  port: number;
  free: boolean;
  message: string | null;
}

export function asCommandError(cause: unknown): CommandError {
  if (typeof cause === "object" && cause !== null && "message" in cause && "code" in cause)
    return cause as CommandError;
  return { code: "io", message: String(cause), field: null, status: null };
}

class Desktop {
  state = $state.raw<DesktopState | null>(null);
  /** When the state came, for `retry_in_ms`. */
  received = $state(0);
  error = $state<string | null>(null);
  /** The person chose to use the server that someone else runs. */
  useForeign = $state(false);

  /** Follows the state until the returned function is called. */
  start(): () => void {
    let over = false;
    let unlisten = () => {};
    void (async () => {
      try {
        unlisten = await listen<DesktopState>("desktop://state", ({ payload }) => this.take(payload));
        if (over) unlisten();
        this.take(await invoke<DesktopState>("desktop_state"));
      } catch (cause) {
        this.error = asCommandError(cause).message;
      }
    })();
    return () => {
      over = true;
      unlisten();
    };
  }

  /** Runs one of the commands that answer with the new state. */
  async run(
    command:
      | "desktop_start"
      | "desktop_stop"
      | "desktop_restart"
      | "desktop_stop_other"
      | "desktop_dismiss_notice"
      | "desktop_keep_running"
      | "desktop_setup",
    args: Record<string, unknown> = {},
  ): Promise<void> {
    this.take(await invoke<DesktopState>(command, args));
  }

  checkPort(port: number): Promise<PortCheck> {
    return invoke<PortCheck>("desktop_check_port", { port });
  }

  async quit(): Promise<void> {
    await invoke("desktop_quit");
  }

  private take(state: DesktopState) {
    if (state.state !== "foreign") this.useForeign = false;
    this.received = Date.now();
    this.state = state;
    this.error = null;
  }
}

export const desktop = new Desktop();
