/** Words for what rooms are. */
import type { Member, Room } from "../api/client";

export function roomName(room: Pick<Room, "name" | "canonical_alias" | "room_id">): string {
  return room.name ?? room.canonical_alias ?? room.room_id;
}

const joinRules: Record<string, string> = {
  public: "Anybody may join",
  invite: "By invitation",
  knock: "By invitation, or ask",
  restricted: "Members of certain rooms",
  knock_restricted: "Members of certain rooms, or ask",
  private: "By invitation",
};

export function joinRule(room: Room): string {
  return room.join_rule == null ? "By invitation" : (joinRules[room.join_rule] ?? room.join_rule);
}

const visibilities: Record<string, string> = {
  shared: "Members, from the beginning",
  joined: "Members, since they joined",
  invited: "Members, since they were invited",
  world_readable: "Everybody",
};

export function historyVisibility(room: Room): string {
  return visibilities[room.history_visibility ?? "shared"] ?? room.history_visibility ?? "";
}

export const memberStates: Record<Member["membership"], { label: string; tone: "good" | "info" | "plain" | "bad" }> = {
  join: { label: "Joined", tone: "good" },
  invite: { label: "Invited", tone: "info" },
  knock: { label: "Asks to join", tone: "info" },
  ban: { label: "Banned", tone: "bad" },
  leave: { label: "Left", tone: "plain" },
};
