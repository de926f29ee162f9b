/** Routes live in the address's fragment: `#/rooms/!id`. The fragment never reaches a server. */

export type Route =
  | { page: "overview" }
  | { page: "users" }
  | { page: "user"; userId: string }
  | { page: "rooms" }
  | { page: "room"; roomId: string }
  | { page: "registration" }
  | { page: "storage" }
  | { page: "jobs" }
  | { page: "logs" }
  | { page: "unknown" };

export function parseRoute(hash: string): Route {
  const path = hash.replace(/^#/, "").split("?")[0] ?? "";
  const parts = path.split("/").filter((part) => part !== "");
  let [page, id] = parts;
  try {
    id = id === undefined ? undefined : decodeURIComponent(id);
  } catch {
    return { page: "unknown" };
  }
  if (parts.length > 2) return { page: "unknown" };
  switch (page) {
    case undefined:
    case "overview":
      return id === undefined ? { page: "overview" } : { page: "unknown" };
    case "users":
      return id === undefined ? { page: "users" } : { page: "user", userId: id };
    case "rooms":
      return id === undefined ? { page: "rooms" } : { page: "room", roomId: id };
    case "registration":
    case "storage":
    case "jobs":
    case "logs":
      return id === undefined ? { page } : { page: "unknown" };
    default:
      return { page: "unknown" };
  }
}

export const links = {
  overview: "#/overview",
  users: "#/users",
  user: (userId: string) => `#/users/${encodeURIComponent(userId)}`,
  rooms: "#/rooms",
  room: (roomId: string) => `#/rooms/${encodeURIComponent(roomId)}`,
  registration: "#/registration",
  storage: "#/storage",
  jobs: "#/jobs",
  logs: "#/logs",
};
