/** Live figures of the server, for the whole dashboard: one stream, and the last minutes of it. */
import { API, type ChangedTopic, type LiveEvent, type Overview } from "../api/client";
import { transport } from "../api/transport";

/** Seconds that the sparklines show at most, and at least. */
const HISTORY_SECONDS = 300;
const SHORTEST_SECONDS = 60;
/** A rate over a longer interval than this is no point on a curve of seconds. */
const LONGEST_INTERVAL = 5;

export type Series = "requests" | "events" | "cpu" | "memory";

export type Connection = "connecting" | "open" | "lost";

class Live {
  overview = $state.raw<Overview | null>(null);
  connection = $state<Connection>("connecting");
  /** Why the server cannot tell its figures now. */
  failing = $state<string | null>(null);
  /** Columns of the same length; `null` is a gap. Replaced, never changed in place. */
  history = $state.raw<{ at: number[] } & Record<Series, (number | null)[]>>(emptyHistory());

  /** Seconds that the sparklines show now: as long as there is history, within bounds. */
  span = $derived.by(() => {
    const { at } = this.history;
    const known = (at.at(-1) ?? 0) - (at[0] ?? 0);
    return Math.min(Math.max(known, SHORTEST_SECONDS), HISTORY_SECONDS);
  });

  private listeners = new Set<(topics: ChangedTopic[]) => void>();

  /** Listens until the returned function is called. */
  start(): () => void {
    this.connection = "connecting";
    const stop = transport.subscribe(`${API}/events?topics=overview,changes`, {
      open: () => {
        this.connection = "open";
      },
      event: (_, data) => this.take(JSON.parse(data) as LiveEvent),
      lost: () => {
        if (this.connection === "open") this.gap();
        this.connection = "lost";
      },
    });
    return () => {
      stop();
      this.overview = null;
      this.failing = null;
      this.history = emptyHistory();
    };
  }

  /** Calls `listener` when one of `topics` has changed, also after a lost connection came back. */
  onChanged(topics: ChangedTopic[], listener: () => void): () => void {
    const entry = (changed: ChangedTopic[]) => {
      if (changed.some((topic) => topics.includes(topic))) listener();
    };
    this.listeners.add(entry);
    return () => this.listeners.delete(entry);
  }

  private take(event: LiveEvent) {
    if (event.type === "overview") {
      this.overview = event.overview;
      this.failing = null;
      this.remember(event.overview);
    } else if (event.type === "failing") {
      this.failing = event.message;
    } else if (event.type === "changed") {
      for (const listener of this.listeners) listener(event.topics);
    }
  }

  private remember({ at, rates, process }: Overview) {
    const seconds = at / 1000;
    // A restarted or corrected clock would draw backwards.
    const newest = this.history.at.at(-1);
    if (newest !== undefined && seconds <= newest) this.history = emptyHistory();
    const known = rates.interval_seconds > 0 && rates.interval_seconds <= LONGEST_INTERVAL;
    this.add(seconds, {
      requests: known ? rates.requests : null,
      events: known ? rates.events : null,
      cpu: known ? rates.cpu_percent : null,
      memory: process.memory_bytes,
    });
  }

  private gap() {
    const newest = this.history.at.at(-1);
    if (newest !== undefined) this.add(newest + 0.001, { requests: null, events: null, cpu: null, memory: null });
  }

  private add(at: number, point: Record<Series, number | null>) {
    const old = this.history;
    const from = old.at.findIndex((time) => time >= at - HISTORY_SECONDS - 2);
    const start = from === -1 ? old.at.length : from;
    this.history = {
      at: [...old.at.slice(start), at],
      requests: [...old.requests.slice(start), point.requests],
      events: [...old.events.slice(start), point.events],
      cpu: [...old.cpu.slice(start), point.cpu],
      memory: [...old.memory.slice(start), point.memory],
    };
  }
}

function emptyHistory() {
  return { at: [], requests: [], events: [], cpu: [], memory: [] };
}

export const live = new Live();
