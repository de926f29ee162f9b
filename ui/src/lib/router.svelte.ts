/** The route that is shown. */
import { parseRoute, type Route } from "./routes";

export { links, type Route } from "./routes";

class Router {
  route = $state<Route>(parseRoute(location.hash));

  constructor() {
    window.addEventListener("hashchange", () => {
      this.route = parseRoute(location.hash);
    });
  }

  go(link: string) {
    location.hash = link;
  }
}

export const router = new Router();
