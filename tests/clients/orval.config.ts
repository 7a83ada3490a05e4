import { defineConfig } from "orval";

export default defineConfig({
  shop: {
    input: "openapi.json",
    output: { target: "orval/client.ts", client: "fetch", headers: true, baseUrl: process.env["SHOP"] ?? "" },
  },
  schemas: {
    input: "openapi.json",
    output: { target: "orval/schemas.ts", client: "zod" },
  },
});
