// A buyer: collects items in a checkout, buys it, and repeats every request until it has a final response.
//
//   node buyer.ts http://127.0.0.1:8080 ann                 any two items that are left
//   node buyer.ts http://127.0.0.1:8080 ann 17 18:2         one piece of item 17, two of item 18
//   node buyer.ts http://10.0.0.1:8080,http://10.0.0.2:8080 ann 17
//
// Node 22.18 or newer runs it as it is. For older ones, and for the types in `api.ts`, which are generated: ../README.md.
// Prints the purchase as JSON. Exit code: 0 if something was bought, 1 if nothing was, 2 if the command line is wrong.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { components } from "./api.ts";

type Schemas = components["schemas"];

/** The service answers within 10 seconds, so a longer silence means that the response is lost. */
const TRY_MS = 15_000;
/** A request is repeated for this long. */
const PATIENCE_MS = 120_000;
/** Nothing was done, or it is not known what was done: a repeat of the same request finds out. 429, 502 and 504 may come from gateways. */
const REPEATED_STATUSES = [429, 500, 502, 503, 504];
/** An equal request is running, for instance the first one, whose connection broke: a repeat gets its response. */
const REPEATED_CODES = ["purchase_in_progress", "idempotency_key_in_use"];
/** A checkout that was lost is collected so many times in all. */
const COLLECT_TRIES = 3;

/** A refusal, with its problem details (RFC 9457). */
class Refusal extends Error {
  readonly status: number;
  readonly details: Partial<Schemas["Problem"]>;

  constructor(status: number, details: Partial<Schemas["Problem"]>, requestId: string | null = null) {
    // The operator finds the request in the log by its id.
    const named = requestId === null ? "" : ` (request ${requestId})`;
    super(`${status} ${details.code ?? ""}: ${details.title ?? ""}${named}`);
    this.status = status;
    this.details = details;
  }

  /** Whether a repeat of the same request would be refused again. */
  get isFinal(): boolean {
    const { code = "", errors } = this.details;
    // A body that did not arrive whole: a request that is wrong has `errors`.
    const isBroken = code === "validation_failed" && errors === undefined;
    return !REPEATED_STATUSES.includes(this.status) && !REPEATED_CODES.includes(code) && !isBroken;
  }
}

/** A client of the service at one or several addresses. */
class Shop {
  private readonly addresses: string[];
  private turn = 0;

  constructor(addresses: string[]) {
    this.addresses = addresses.map((address) => address.replace(/\/+$/, ""));
  }

  /** Sends a request, and repeats it unchanged, with its key, until there is a final response. Returns its body. */
  async request<Body>(method: string, path: string, key?: string, body?: unknown): Promise<Body> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      let failure: unknown;
      let waitMs = 1_000;
      try {
        const response = await this.send(method, path, key, body);
        if (response.ok) return (await response.json()) as Body;
        failure = new Refusal(response.status, await problemOf(response), response.headers.get("x-request-id"));
        waitMs = 1_000 * (Number(response.headers.get("retry-after")) || 1);
      } catch (error) {
        // No connection, a broken one, no response in time, or half of one.
        failure = error;
      }
      if ((failure instanceof Refusal && failure.isFinal) || Date.now() + waitMs > deadline) throw failure;
      // Another instance may be well. The random part keeps the buyers of a dead one from arriving all at once.
      this.turn += 1;
      console.error(`${method} ${path}: ${String(failure)}; repeated at ${this.address}`);
      await sleep(waitMs * (1 + Math.random()));
    }
  }

  /** All items of a sale that are left, in requests that continue by cursor. */
  async *items(sale: string): AsyncGenerator<Schemas["Item"]> {
    let cursor: string | null = null;
    do {
      const query = new URLSearchParams({ available: "true", limit: "100" });
      if (cursor !== null) query.set("cursor", cursor);
      const path = `/v2/sales/${encodeURIComponent(sale)}/items?${query.toString()}`;
      const part: Schemas["CursorPageBody_Item"] = await this.request("GET", path);
      // A part may be empty although the list continues.
      yield* part.data;
      cursor = part.next_cursor;
    } while (cursor !== null);
  }

  /** One piece each of the first items that are left. */
  async anyItems(sale: string, count: number): Promise<Schemas["NewItem"][]> {
    const found: Schemas["NewItem"][] = [];
    for await (const { id } of this.items(sale)) {
      if (found.push({ id }) === count) break;
    }
    return found;
  }

  /** The first of the open sales. */
  async activeSale(): Promise<string> {
    const sales = await this.request<Schemas["ActiveSales"]>("GET", "/v2/sales/active");
    const [first] = sales.data;
    if (first === undefined) throw new Refusal(404, { code: "no_active_sale", title: "no sale is open" });
    return first.id;
  }

  /** Puts all items into the buyer's checkout, or none. */
  async collect(buyer: string, sale: string, items: Schemas["NewItem"][]): Promise<Schemas["Checkout"]> {
    const body: Schemas["NewItems"] = { buyer_id: buyer, sale_id: sale, items };
    // One key for one request, however often it is repeated.
    return await this.request("POST", "/v2/checkouts", randomUUID(), body);
  }

  /** Buys what is left of a checkout. Returns the purchase, also if nothing was bought. */
  async buy(code: string): Promise<Schemas["Purchase"]> {
    try {
      return await this.request("POST", `/v2/checkouts/${encodeURIComponent(code)}/purchase`, randomUUID());
    } catch (failure) {
      // The stored outcome of a purchase that bought nothing: sold out, or the buyer's limit.
      const stored = failure instanceof Refusal ? failure.details.purchase : undefined;
      if (stored !== undefined) return stored;
      throw failure;
    }
  }

  /** Collects and buys. A checkout that a failover of the database has lost is an unknown code: it is collected again. */
  async collectAndBuy(buyer: string, sale: string, items: Schemas["NewItem"][]): Promise<Schemas["Purchase"]> {
    for (let tries = 1; ; tries += 1) {
      const { code } = await this.collect(buyer, sale, items);
      try {
        return await this.buy(code);
      } catch (failure) {
        const isLost = failure instanceof Refusal && failure.details.code === "code_not_found";
        if (!isLost || tries === COLLECT_TRIES) throw failure;
      }
    }
  }

  private get address(): string {
    return this.addresses[this.turn % this.addresses.length] ?? "";
  }

  private async send(method: string, path: string, key?: string, body?: unknown): Promise<Response> {
    const headers = new Headers({ Accept: "application/json, application/problem+json", "X-Request-Id": randomUUID() });
    if (key !== undefined) headers.set("Idempotency-Key", key);
    if (body !== undefined) headers.set("Content-Type", "application/json");
    return await fetch(this.address + path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(TRY_MS),
    });
  }
}

/** Gateways may answer with HTML. */
async function problemOf(response: Response): Promise<Partial<Schemas["Problem"]>> {
  const isJson = response.headers.get("content-type")?.includes("json") ?? false;
  return isJson ? ((await response.json()) as Schemas["Problem"]) : {};
}

/** `17:2` is two pieces of item 17. */
function wanted(text: string): Schemas["NewItem"] {
  const [, id, quantity] = /^(.+):(\d+)$/.exec(text) ?? [];
  return id === undefined ? { id: text } : { id, quantity: Number(quantity) };
}

async function main(addresses: string, buyer: string, texts: string[]): Promise<number> {
  const shop = new Shop(addresses.split(","));
  const sale = process.env["SALE"] ?? (await shop.activeSale());
  const items = texts.length > 0 ? texts.map(wanted) : await shop.anyItems(sale, 2);
  if (items.length === 0) throw new Refusal(409, { code: "sale_sold_out", title: "the sale is sold out" });
  const purchase = await shop.collectAndBuy(buyer, sale, items);
  console.log(JSON.stringify(purchase));
  return purchase.pieces_bought > 0 ? 0 : 1;
}

const [addresses, buyer, ...texts] = process.argv.slice(2);
if (addresses === undefined || buyer === undefined) {
  console.error("usage: node buyer.ts ADDRESSES BUYER [ITEM[:QUANTITY]...]    SALE names a sale; default: the first of the open ones");
  process.exitCode = 2;
} else {
  try {
    process.exitCode = await main(addresses, buyer, texts);
  } catch (failure) {
    console.error(`not bought: ${String(failure)}`);
    for (const fault of failure instanceof Refusal ? (failure.details.errors ?? []) : []) {
      console.error(`  ${fault.pointer ?? fault.parameter ?? ""}: ${fault.detail}`);
    }
    process.exitCode = 1;
  }
}
