/** Numbers, sizes and times for people. */

const integer = new Intl.NumberFormat("en-GB");

export function formatCount(value: number): string {
  return integer.format(value);
}

/** A rate or another small decimal: one digit behind the point below 10. */
export function formatDecimal(value: number): string {
  if (value === 0) return "0";
  if (value < 0.1) return "< 0.1";
  return value < 10 ? value.toFixed(1) : integer.format(Math.round(value));
}

export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Milliseconds that something took. */
export function formatMillis(ms: number): string {
  if (ms < 1) return "< 1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
}

/** A length of time, in its two largest units. */
export function formatDuration(seconds: number): string {
  const units: [string, number][] = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first === -1) return "0 s";
  const parts: string[] = [];
  let rest = Math.floor(seconds);
  for (const [name, size] of units.slice(first, first + 2)) {
    const amount = Math.floor(rest / size);
    rest -= amount * size;
    if (amount > 0) parts.push(`${amount} ${name}`);
  }
  return parts.join(" ");
}

const relative = new Intl.RelativeTimeFormat("en-GB", { numeric: "auto" });
const dayAndTime = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});

/** How long ago (or ahead), in the largest unit: "5 minutes ago". */
export function formatRelative(at: number, now: number): string {
  const seconds = Math.round((at - now) / 1000);
  const distance = Math.abs(seconds);
  if (distance < 45) return seconds <= 0 ? "just now" : "in a moment";
  if (distance < 3600) return relative.format(Math.round(seconds / 60), "minute");
  if (distance < 86400) return relative.format(Math.round(seconds / 3600), "hour");
  if (distance < 86400 * 30) return relative.format(Math.round(seconds / 86400), "day");
  if (distance < 86400 * 365) return relative.format(Math.round(seconds / (86400 * 30.4)), "month");
  return relative.format(Math.round(seconds / (86400 * 365)), "year");
}

export function formatDayAndTime(at: number): string {
  return dayAndTime.format(at);
}

export function formatDay(at: number): string {
  return day.format(at);
}

export function formatClock(at: number): string {
  return clock.format(at);
}

/** The part of a Matrix id between its sign and the colon. */
export function localpart(id: string): string {
  const colon = id.indexOf(":");
  return id.slice(1, colon === -1 ? undefined : colon);
}
