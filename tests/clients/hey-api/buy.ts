// Pages through the items, collects two of them, buys them and reads the outcome. zod checks what is received.

import { deepEqual, equal } from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { client } from "./client/client.gen.ts";
import { buy, collect, items, purchaseOfCode, putItem, removeItem } from "./client/sdk.gen.ts";
import type { Item } from "./client/types.gen.ts";
import { zCollectBody, zCollectHeaders, zItemsQuery } from "./client/zod.gen.ts";

const { SHOP = "", SALE = "" } = process.env;
client.setConfig({ baseUrl: SHOP, throwOnError: true });

// A page with a default would turn each list into one without cursors.
equal("page" in zItemsQuery.parse({ limit: 2 }), false);
const found: Item[] = [];
let cursor: string | null = null;
do {
  const query: { limit: number; cursor?: string } = cursor === null ? { limit: 2 } : { limit: 2, cursor };
  const { data } = await items({ path: { sale_id: SALE }, query, throwOnError: true });
  if (!("next_cursor" in data)) throw new Error("a page without a cursor");
  found.push(...data.data);
  cursor = data.next_cursor;
} while (cursor !== null);
deepEqual(found.map((item) => item.id), ["1", "2", "3", "4", "5"]);

const body = { buyer_id: "hey-api", sale_id: SALE, items: [{ id: "1" }, { id: "2", quantity: 2 }] };
const headers = { "Idempotency-Key": randomUUID() };
deepEqual(zCollectBody.parse(body), body);
deepEqual(zCollectHeaders.parse(headers), headers);
equal(zCollectBody.safeParse({ ...body, items: [{ id: "1", quantity: 1_001 }] }).success, false);
const { data: checkout } = await collect({ headers, body, throwOnError: true });
const path = { code: checkout.code };
// Without the header that may be absent, and with it.
await putItem({ path: { ...path, item_id: "3" }, body: { quantity: 1 }, throwOnError: true });
await removeItem({ path: { ...path, item_id: "3" }, headers: { "Idempotency-Key": randomUUID() }, throwOnError: true });
const { data: bought } = await buy({ path, headers: { "Idempotency-Key": randomUUID() }, throwOnError: true });
equal(bought.pieces_bought, 3);
const { data: stored } = await purchaseOfCode({ path, throwOnError: true });
deepEqual(stored, bought);
