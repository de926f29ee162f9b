/**
 * How the dashboard reaches the admin API. In a browser: fetch with the token. In the desktop window: through
 * the app, which holds the token. Nothing else in the dashboard knows the difference.
 */
import { Channel, invoke } from "@tauri-apps/api/core";

import { session } from "./session.svelte";
import { readEvents } from "./sse";

export interface SubscriptionHandlers {
  /** Connected, also again after a loss: read again what is shown. */
  open(): void;
  /** One server-sent event. */
  event(name: string, data: string): void;
  /** Not connected; it is tried again by itself. */
  lost(): void;
}

export interface Transport {
  request(request: Request): Promise<Response>;
  /** Holds a stream of server-sent events open until the returned function is called. */
  subscribe(path: string, handlers: SubscriptionHandlers): () => void;
}

export const inDesktop = "__TAURI_INTERNALS__" in window;

const RETRY_FIRST_MS = 500;
const RETRY_LONGEST_MS = 10_000;

class BrowserTransport implements Transport {
  async request(request: Request): Promise<Response> {
    const token = session.token;
    request.headers.set("authorization", `Bearer ${token}`);
    const response = await fetch(request);
    if (response.status === 401) session.refuse(token);
    return response;
  }

  subscribe(path: string, handlers: SubscriptionHandlers): () => void {
    const abort = new AbortController();
    void this.follow(path, handlers, abort.signal);
    return () => abort.abort();
  }

  private async follow(path: string, handlers: SubscriptionHandlers, signal: AbortSignal) {
    let delay = RETRY_FIRST_MS;
    while (!signal.aborted) {
      try {
        const response = await this.request(new Request(new URL(path, location.origin), { signal }));
        if (response.status === 401) return;
        if (response.ok && response.body !== null) {
          delay = RETRY_FIRST_MS;
          handlers.open();
          await readEvents(response.body, (name, data) => handlers.event(name, data));
        }
      } catch {
        // Not reachable or cut off: the same as a stream that ended.
      }
      if (signal.aborted) return;
      handlers.lost();
      await new Promise((resolve) => setTimeout(resolve, delay));
      delay = Math.min(delay * 2, RETRY_LONGEST_MS);
    }
  }
}

/** What the app sends on the channel of `admin_subscribe`. */
type AdminEvent =
  | { type: "open" }
  | { type: "event"; event: string; data: string; id: string | null }
  | { type: "lost"; message: string };

class DesktopTransport implements Transport {
  async request(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const text = await request.text();
    const answer = await invoke<{ status: number; body: unknown }>("admin_request", {
      method: request.method,
      path: url.pathname + url.search,
      body: text === "" ? null : (JSON.parse(text) as unknown),
    });
    const empty = answer.status === 204 || answer.body === null;
    return new Response(empty ? null : JSON.stringify(answer.body), {
      status: answer.status,
      headers: { "content-type": "application/json" },
    });
  }

  subscribe(path: string, handlers: SubscriptionHandlers): () => void {
    let over = false;
    let subscription: number | null = null;
    const onEvent = new Channel<AdminEvent>();
    onEvent.onmessage = (message) => {
      if (over) return;
      if (message.type === "open") handlers.open();
      else if (message.type === "event") handlers.event(message.event, message.data);
      else handlers.lost();
    };
    const end = (id: number) => void invoke("admin_unsubscribe", { subscription: id }).catch(() => undefined);
    invoke<number>("admin_subscribe", { path, onEvent }).then(
      (id) => {
        if (over) end(id);
        else subscription = id;
      },
      () => handlers.lost(),
    );
    return () => {
      over = true;
      if (subscription !== null) end(subscription);
    };
  }
}

export const transport: Transport = inDesktop ? new DesktopTransport() : new BrowserTransport();
