/** What the wizard can tell without asking: a sentence about what is wrong, or null. */

/** https://spec.matrix.org/v1.19/appendices/#server-name */
export function checkServerName(name: string): string | null {
  if (name === "") return "Please give the server a name.";
  if (name.length > 230) return "This name is too long.";
  if (/^https?:/i.test(name) || name.includes("/")) return "Only the name, without https:// and without a path.";
  if (name.includes("@")) return "Only the server’s name: what stands after the colon of a user id.";
  const match = /^(.*?)(?::(\d{1,5}))?$/.exec(name);
  const host = match?.[1] ?? "";
  if (match?.[2] !== undefined && Number(match[2]) > 65535) return "The port behind the colon is too large.";
  const isAddress = /^\[[0-9a-f:.]{2,45}\]$/.test(host);
  const isName = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(host);
  return isAddress || isName ? null : "A name has letters, digits, dots and hyphens, such as example.org.";
}

/** https://spec.matrix.org/v1.19/appendices/#user-identifiers */
export function checkOwner(owner: string): string | null {
  if (owner === "") return "Please choose a user name.";
  if (owner !== owner.toLowerCase()) return "User names are in lower case.";
  return /^[a-z0-9._=/+-]+$/.test(owner) ? null : "Letters, digits and . _ = - / + are possible.";
}

export function checkPassword(password: string): string | null {
  return [...password].length < 8 ? "The password has at least 8 characters." : null;
}
