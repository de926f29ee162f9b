/** Something that is read from the server, with its states. */
import { sentence } from "../api/client";

export class Resource<T> {
  data = $state.raw<T | null>(null);
  error = $state<string | null>(null);
  /** A read is under way. */
  loading = $state(false);

  private abort: AbortController | null = null;
  private again = false;

  constructor(private readonly read: (signal: AbortSignal) => Promise<T>) {}

  /** Reads from the start: a read under way is dropped. For changed questions. */
  async load(): Promise<void> {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.again = false;
    this.loading = true;
    try {
      const data = await this.read(abort.signal);
      if (abort.signal.aborted) return;
      this.data = data;
      this.error = null;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = sentence(error);
    } finally {
      if (this.abort === abort) {
        this.loading = false;
        this.abort = null;
      }
    }
    if (this.again && !abort.signal.aborted) await this.load();
  }

  /** Reads again, once more where a read is under way. For changes on the server: never starves. */
  refresh(): void {
    if (this.abort === null) void this.load();
    else this.again = true;
  }

  /** Drops a read under way. */
  stop(): void {
    this.abort?.abort();
  }
}
