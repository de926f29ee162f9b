/** Light or dark: as the system says, unless the person chose. */

export type ThemeChoice = "system" | "light" | "dark";

const KEY = "hearth-theme";
const query = window.matchMedia("(prefers-color-scheme: dark)");

function remembered(): ThemeChoice {
  const value = localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : "system";
}

class Theme {
  choice = $state<ThemeChoice>(remembered());
  systemDark = $state(query.matches);
  dark = $derived(this.choice === "system" ? this.systemDark : this.choice === "dark");

  constructor() {
    query.addEventListener("change", () => {
      this.systemDark = query.matches;
      this.apply();
    });
    this.apply();
  }

  choose(choice: ThemeChoice) {
    this.choice = choice;
    if (choice === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, choice);
    this.apply();
  }

  private apply() {
    document.documentElement.dataset["theme"] = this.dark ? "dark" : "light";
  }
}

export const theme = new Theme();
