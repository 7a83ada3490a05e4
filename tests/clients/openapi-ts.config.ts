import { defineConfig } from "@hey-api/openapi-ts";

// With schemas of zod, which check every response against the document. `buy.ts` checks the requests itself: hey-api's own check
// reads the headers as members of a `Headers`, which has none, and so misses each header that is required.
export default defineConfig({
  input: "openapi.json",
  output: "hey-api/client",
  plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "zod", { name: "@hey-api/sdk", validator: { response: true } }],
});
