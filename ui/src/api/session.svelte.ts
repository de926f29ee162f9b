/**
 * The admin token in a browser. It is kept for this tab alone (sessionStorage) and never in the address: a
 * link with `#token=…` hands it over once and is cleaned at once.
 */

const KEY = "hearth-admin-token";

function takeFromAddress(): string | null {
  const match = /^#token=([^&]+)/.exec(location.hash);
  if (match?.[1] === undefined) return null;
  history.replaceState(null, "", location.pathname + location.search + "#/overview");
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return null;
  }
}

class Session {
  token = $state<string | null>(null);
  /** The server refused the last token. */
  refused = $state(false);

  constructor() {
    const handed = takeFromAddress();
    if (handed !== null) this.open(handed);
    else this.token = sessionStorage.getItem(KEY);
    window.addEventListener("hashchange", () => {
      const later = takeFromAddress();
      if (later !== null) this.open(later);
    });
  }

  open(token: string) {
    this.refused = false;
    this.token = token;
    sessionStorage.setItem(KEY, token);
  }

  close() {
    this.token = null;
    sessionStorage.removeItem(KEY);
  }

  /** Called when the server refused `token`; a newer one stays. */
  refuse(token: string | null) {
    if (token !== this.token) return;
    this.close();
    this.refused = true;
  }
}

export const session = new Session();
