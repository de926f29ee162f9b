import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

/** Where `npm run dev` finds a running server's admin listener. */
const admin = process.env.HEARTH_ADMIN ?? "http://127.0.0.1:8010";

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: "es2022",
    // Inlined assets would be data: URLs, which the server's content security policy refuses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    host: "127.0.0.1",
    proxy: {
      "/_hearth": {
        target: admin,
        changeOrigin: true,
        // The admin listener accepts its own origin only.
        headers: { origin: admin, "sec-fetch-site": "same-origin" },
      },
    },
  },
});
