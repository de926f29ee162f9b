/** The store's tables for people: databases with their tables, small ones put together. */
import type { TableSize } from "../api/client";

export interface Tile {
  /** Names it among all. */
  id: string;
  database: string;
  /** The table's name in words. */
  name: string;
  about: string;
  entries: number;
  bytes: number;
}

export interface Group {
  database: string;
  title: string;
  bytes: number;
  tiles: Tile[];
}

/** A table with a smaller share of everything than this is put together with others like it. */
const SMALL_SHARE = 0.004;

const titles: Record<string, string> = {
  rooms: "Rooms",
  accounts: "Accounts",
  transitory: "Comes and goes",
  jobs: "Jobs",
  admin: "Dashboard",
  "": "Other",
};

export function databaseTitle(database: string): string {
  return titles[database] ?? database.charAt(0).toUpperCase() + database.slice(1);
}

export function tableName(table: Pick<TableSize, "database" | "table">): string {
  if (table.table === "") return "everything else";
  return table.table.replaceAll("_", " ");
}

/** The databases, the largest first, each with its tables, the largest first. */
export function groupTables(tables: TableSize[]): Group[] {
  const total = tables.reduce((sum, table) => sum + table.bytes, 0);
  const byDatabase = new Map<string, TableSize[]>();
  for (const table of tables) {
    if (table.bytes === 0) continue;
    byDatabase.set(table.database, [...(byDatabase.get(table.database) ?? []), table]);
  }
  const groups = [...byDatabase].map(([database, all]) => {
    const large = all.filter(({ bytes }) => bytes >= total * SMALL_SHARE);
    const small = all.filter(({ bytes }) => bytes < total * SMALL_SHARE);
    const tiles: Tile[] = (small.length > 1 ? large : all).map((table) => ({
      id: `${database}/${table.table}`,
      database,
      name: tableName(table),
      about: table.about,
      entries: table.entries,
      bytes: table.bytes,
    }));
    if (small.length > 1) {
      tiles.push({
        id: `${database}/+`,
        database,
        name: large.length === 0 ? `${small.length} tables` : `${small.length} small tables`,
        about: small.map(tableName).join(", "),
        entries: small.reduce((sum, table) => sum + table.entries, 0),
        bytes: small.reduce((sum, table) => sum + table.bytes, 0),
      });
    }
    tiles.sort((a, b) => b.bytes - a.bytes);
    const bytes = all.reduce((sum, table) => sum + table.bytes, 0);
    return { database, title: databaseTitle(database), bytes, tiles };
  });
  return groups.sort((a, b) => b.bytes - a.bytes);
}

export function share(bytes: number, total: number): string {
  const percent = total === 0 ? 0 : (100 * bytes) / total;
  if (percent === 0) return "0 %";
  return percent < 1 ? "< 1 %" : `${Math.round(percent)} %`;
}
