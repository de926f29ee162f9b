/** The typed client of the admin API. */
import createClient from "openapi-fetch";

import type { components, paths } from "./schema";
import { inDesktop, transport } from "./transport";

export const API = "/_hearth/admin/v1";

type Schemas = components["schemas"];
export type Overview = Schemas["Overview"];
export type Counts = Schemas["Counts"];
export type Notice = Schemas["Notice"];
export type NoticeCode = Schemas["NoticeCode"];
export type CacheFigures = Schemas["CacheFigures"];
export type RouteFigures = Schemas["RouteFigures"];
export type User = Schemas["User"];
export type Device = Schemas["Device"];
export type Room = Schemas["Room"];
export type RoomOrderBy = NonNullable<NonNullable<paths["/rooms"]["get"]["parameters"]["query"]>["order_by"]>;
export type Member = Schemas["Member"];
export type StateEvent = Schemas["StateEvent"];
export type RegistrationToken = Schemas["RegistrationToken"];
export type Storage = Schemas["Storage"];
export type TableSize = Schemas["TableSize"];
export type SizeSample = Schemas["SizeSample"];
export type Growth = Schemas["Growth"];
export type Backups = Schemas["Backups"];
export type Backup = Schemas["Backup"];
export type BackupWork = Schemas["BackupWork"];
export type Job = Schemas["Job"];
export type JobState = Schemas["JobState"];
export type JobCounts = Schemas["JobCounts"];
export type RegistrationMode = Schemas["RegistrationMode"];
export type LogLine = Schemas["LogLine"];
export type LogLevel = Schemas["LogLevel"];
export type LiveEvent = Schemas["LiveEvent"];
export type ChangedTopic = Schemas["ChangedTopic"];

// In the desktop window only the path is used; the app knows where the server is.
const origin = inDesktop ? "http://hearth.invalid" : location.origin;

export const api = createClient<paths>({ baseUrl: origin + API, fetch: (request) => transport.request(request) });

/** A request that failed, with a sentence for people. */
export class ApiError extends Error {
  constructor(
    message: string,
    /** The kind of failure; `unreachable` where there was no answer. */
    readonly code: Schemas["ErrorCode"] | "unreachable",
    /** The field of the request that was wrong. */
    readonly field: string | null = null,
  ) {
    super(message);
  }
}

interface Answer<T> {
  data?: T;
  error?: Schemas["Error"];
  response: Response;
}

/** Awaits a call of [`api`]: the body of a success, or an [`ApiError`]. */
export async function call<T>(pending: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await pending;
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError("The server does not answer.", "unreachable");
  }
  if (!answer.response.ok) {
    // Whatever stands in between (or an older server) may answer in another shape.
    const error = answer.error as Partial<Schemas["Error"]> | undefined;
    if (typeof error?.message === "string") {
      throw new ApiError(error.message, error.code ?? "internal", error.field ?? null);
    }
    throw new ApiError(`The server answered with status ${answer.response.status}.`, "internal");
  }
  return answer.data as T;
}

/** A sentence for people about anything that was thrown. */
export function sentence(error: unknown): string {
  if (error instanceof Error) return error.message;
  if (typeof error === "object" && error !== null && "message" in error) return String(error.message);
  return String(error);
}
