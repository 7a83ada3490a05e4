// What an operator's tool does: creates a sale, imports items into it, opens it, restocks an item, takes a purchase back, and reads why.

import { deepEqual, equal } from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { paths } from "./admin.ts";
import type { paths as Shop } from "./client.ts";

const { ADMIN = "", KEY = "", SHOP = "" } = process.env;
const operator = createClient<paths>({ baseUrl: ADMIN, headers: { "X-Api-Key": KEY } });
const shop = createClient<Shop>({ baseUrl: SHOP });
const once = () => ({ "Idempotency-Key": randomUUID() });

const created = await operator.POST("/admin/sales", {
  params: { header: once() },
  body: { items: 1, stock: 1, name: "Operated", starts_in: "1h", duration: "1h" },
});
if (created.data === undefined) throw new Error(created.error.title);
const path = { sale_id: created.data.sale_id };

const csv = "id,name,image_url,stock\nsocks/red 50%,\"Socks, red\",https://images.example/1.jpg,1\n";
const imported = await operator.POST("/admin/sales/{sale_id}/items", {
  params: { path, header: once() },
  body: csv,
  bodySerializer: (text) => text,
  headers: { "Content-Type": "text/csv" },
});
deepEqual(imported.data, { sale_id: path.sale_id, imported: 1, rejected: [] });
const bad = await operator.POST("/admin/sales/{sale_id}/items", {
  params: { path },
  body: "id,name,image_url,stock\nx,,https://images.example/1.jpg,1\n",
  bodySerializer: (text) => text,
  headers: { "Content-Type": "text/csv" },
});
equal(bad.response.status, 422);

const item = { ...path, item_id: "socks/red 50%" };
const restocked = await operator.POST("/admin/sales/{sale_id}/items/{item_id}/restock", {
  params: { path: item, header: once() },
  body: { pieces: 4 },
});
equal(restocked.data?.stock, 5);

// What is taken back has to be bought first: the sale is moved to now, by the clock of the service.
const { response } = await shop.GET("/v2/sales/{sale_id}", { params: { path } });
const starts_at = new Date(Date.parse(response.headers.get("server-time") ?? "") + 2_000).toISOString();
const opened = await operator.PATCH("/admin/sales/{sale_id}", { params: { path }, body: { starts_at } });
if (opened.data === undefined) throw new Error(opened.error.title);
const until = Date.now() + 60_000;
let code: string | undefined;
while (code === undefined && Date.now() < until) {
  const body = { buyer_id: "operated", sale_id: path.sale_id, items: [{ id: item.item_id, quantity: 2 }] };
  const { data } = await shop.POST("/v2/checkouts", { params: { header: once() }, body });
  code = data?.code;
}
if (code === undefined) throw new Error("the sale does not open");
const bought = await shop.POST("/v2/checkouts/{code}/purchase", { params: { path: { code }, header: once() } });
equal(bought.data?.pieces_bought, 2);

// A repeat with the same key changes nothing more, and gets the same answer.
const cancel = { params: { path: { code }, header: once() }, body: { items: [item.item_id] } };
const cancelled = await operator.POST("/admin/purchases/{code}/cancel", cancel);
equal(cancelled.data?.pieces_cancelled, 2);
const repeated = await operator.POST("/admin/purchases/{code}/cancel", cancel);
deepEqual(repeated.data, cancelled.data);
const why = await operator.GET("/admin/refusals", { params: { query: { code } } });
equal(why.data?.attempts[0]?.lines[0]?.cancelled_at === null, false);
const audit = await operator.GET("/admin/audit", { params: { query: { sale_id: path.sale_id } } });
const actions = audit.data?.data.map((entry) => entry.action);
deepEqual(actions, ["purchase_cancelled", "changed", "restocked", "imported", "created"]);
