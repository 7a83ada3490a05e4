// Pages through the items, collects two of them, buys them and reads the outcome.

import { deepEqual, equal } from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { buy, collect, items, purchaseOfCode, putItem, type Item } from "./client.ts";
import { ItemsQueryParams } from "./schemas.ts";

const { SALE = "" } = process.env;

// A page with a default would turn each list into one without cursors.
equal("page" in ItemsQueryParams.parse({ limit: 2 }), false);
const found: Item[] = [];
let cursor: string | null = null;
do {
  const answer = await items(SALE, cursor === null ? { limit: 2 } : { limit: 2, cursor });
  if (answer.status !== 200 || !("next_cursor" in answer.data)) throw new Error(JSON.stringify(answer));
  found.push(...answer.data.data);
  cursor = answer.data.next_cursor;
} while (cursor !== null);
deepEqual(found.map((item) => item.id), ["1", "2", "3", "4", "5"]);

const wanted = { buyer_id: "orval", sale_id: SALE, items: [{ id: "1" }, { id: "2" }] };
const checkout = await collect(wanted, { "Idempotency-Key": randomUUID() });
if (checkout.status !== 201) throw new Error(JSON.stringify(checkout));
const { code } = checkout.data;
const changed = await putItem(code, "2", { quantity: 2 });
equal(changed.status, 200);
const bought = await buy(code, { "Idempotency-Key": randomUUID() });
if (bought.status !== 200) throw new Error(JSON.stringify(bought));
equal(bought.data.pieces_bought, 3);
const stored = await purchaseOfCode(code);
deepEqual(stored.data, bought.data);
