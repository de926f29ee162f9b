/** Words for jobs. */
import type { Job, JobState } from "../api/client";
import type { IconName } from "../components/Icon.svelte";
import { links } from "./routes";

const kinds: Record<string, string> = {
  backup: "Backup",
  deactivate_user: "Remove a deactivated user",
  purge_room: "Delete a room",
  collect_state: "Collect unused room state",
  purge_content: "Remove redacted content",
  expire_logins: "Forget old logins",
  trim: "Clear what has expired",
  compact_store: "Give disk space back",
  check_store: "Check the store",
};

export function kindLabel(kind: string): string {
  if (kinds[kind] !== undefined) return kinds[kind];
  const words = kind.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

const origins: Record<string, string> = { scheduled: "by schedule", manual: "by hand" };

/** What a job is about, where its key says more than how it came about. */
export function subject(job: Pick<Job, "key">): { text: string; link: string | null } | null {
  const { key } = job;
  if (key === "") return null;
  if (origins[key] !== undefined) return { text: origins[key], link: null };
  if (key.startsWith("@")) return { text: key, link: links.user(key) };
  if (key.startsWith("!")) return { text: key, link: links.room(key) };
  return { text: key, link: null };
}

export const states: Record<
  JobState,
  { label: string; tone: "info" | "plain" | "bad" | "good" | "warn"; icon?: IconName }
> = {
  running: { label: "Running", tone: "info" },
  waiting: { label: "Waiting", tone: "plain" },
  failed: { label: "Failed", tone: "bad", icon: "error" },
  done: { label: "Done", tone: "good", icon: "check" },
  cancelled: { label: "Cancelled", tone: "plain" },
};

/** How much of a job is done, from 0 to 1; null where nobody knows. */
export function fraction(job: Pick<Job, "progress">): number | null {
  const progress = job.progress;
  if (progress?.total == null || progress.total === 0) return null;
  return Math.min(1, progress.done / progress.total);
}
