// Pages through the items, collects two of them, buys them and reads the outcome.

import { deepEqual, equal } from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./client.ts";

const { SHOP = "", SALE = "" } = process.env;
const shop = createClient<paths>({ baseUrl: SHOP });

const found: components["schemas"]["Item"][] = [];
let cursor: string | null = null;
do {
  const query: { limit: number; cursor?: string } = cursor === null ? { limit: 2 } : { limit: 2, cursor };
  const { data, error } = await shop.GET("/v2/sales/{sale_id}/items", { params: { path: { sale_id: SALE }, query } });
  if (data === undefined || !("next_cursor" in data)) throw new Error(JSON.stringify(error));
  found.push(...data.data);
  cursor = data.next_cursor;
} while (cursor !== null);
deepEqual(found.map((item) => item.id), ["1", "2", "3", "4", "5"]);

const items = found.slice(0, 2).map((item) => ({ id: item.id }));
const { data: checkout, error: refusal } = await shop.POST("/v2/checkouts", {
  params: { header: { "Idempotency-Key": randomUUID() } },
  body: { buyer_id: "openapi-typescript", sale_id: SALE, items },
});
if (checkout === undefined) throw new Error(refusal.title);
const path = { code: checkout.code };
const changed = await shop.PUT("/v2/checkouts/{code}/items/{item_id}", {
  params: { path: { ...path, item_id: "2" } },
  body: { quantity: 2 },
});
equal(changed.data?.pieces, 3);
const bought = await shop.POST("/v2/checkouts/{code}/purchase", {
  params: { path, header: { "Idempotency-Key": randomUUID() } },
});
equal(bought.data?.pieces_bought, 3);
const stored = await shop.GET("/v2/purchases/{code}", { params: { path } });
deepEqual(stored.data, bought.data);
