// The shop page: which sale it shows, the countdown, the stock, and who buys.

import { Problem, memory, newKey, read } from "./service.js";
import * as clock from "./clock.js";
import { follow } from "./live.js";
import { announce, byId, count, make, pieces, setText, show } from "./dom.js";
import { Items } from "./items.js";
import { buy, hasPending, resume } from "./buying.js";

// How often another sale is looked for while none is open.
const LOOK_MS = 10_000;
// The countdown is marked in the last minute.
const SOON_MS = 60_000;
// Pages of upcoming sales that are read to find the next one.
const MAX_LISTS = 5;
// Purchases that are shown.
const MAX_PURCHASES = 100;
const LABELS = { open: "Open now", upcoming: "Starts soon", ended: "Ended" };
const MODES = { live: "Live", polling: "Updated every few seconds", offline: "No connection: trying again" };

let sale = null;
let status = null;
let stopFollowing = () => {};
let bought = 0;
let lastState = null;
let isLooking = false;
let rereadAt = 0;
let isRereadDue = false;

// --- The buyer -------------------------------------------------------------------------------------------------------

const isBuyerId = (text) => /^[!-~]{1,128}$/.test(text);

const buyer = () => {
  const stored = memory.get("buyer");
  if (typeof stored === "string" && isBuyerId(stored)) return stored;
  const made = `guest-${newKey().slice(0, 8)}`;
  memory.set("buyer", made);
  return made;
};
let buyerId = buyer();

const showBuyer = () => {
  setText(byId("who-name"), buyerId);
  show(byId("who"), true);
};

byId("who").addEventListener("click", () => {
  byId("buyer-id").value = buyerId;
  setText(byId("buyer-error"), "");
  byId("buyer").showModal();
  byId("buyer-id").select();
});
byId("buyer-cancel").addEventListener("click", () => { byId("buyer").close(); });
byId("buyer-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("buyer-id").value.trim();
  if (!isBuyerId(text)) {
    setText(byId("buyer-error"), "Use 1 to 128 letters, digits and signs, without spaces and accents.");
    byId("buyer-id").focus();
    return;
  }
  buyerId = text;
  memory.set("buyer", text);
  byId("buyer").close();
  showBuyer();
  loadPurchases();
});

// --- The sale --------------------------------------------------------------------------------------------------------

// The state by the server's clock, which is ahead of the events by their delay.
const stateNow = () => {
  const now = clock.serverNow();
  if (now === null) return status?.state ?? "upcoming";
  if (now < Date.parse(sale.starts_at)) return "upcoming";
  return now < Date.parse(sale.ends_at) ? "open" : "ended";
};

const timeOf = (time) => {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  const format = isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(undefined, format).format(date);
};

const offer = () => {
  const state = stateNow();
  const most = Math.max(0, sale.buyer_limit - bought);
  if (state === "upcoming") return { isOpen: false, label: "Opens soon", most };
  if (state === "ended") return { isOpen: false, label: "Ended", most };
  return most === 0 ? { isOpen: false, label: "Limit reached", most } : { isOpen: true, label: "Buy", most };
};

const items = new Items({
  offer,
  onBuy: (item, quantity) => { buy({ sale: sale.id, buyer: buyerId, item, quantity }, settled); },
  onFailure: () => { notify("The items cannot be read at the moment. They are read again shortly."); },
});

// After an answer to a purchase.
const settled = () => {
  items.load();
  loadPurchases();
};

const notify = (text, action = null) => {
  setText(byId("notice-text"), text);
  show(byId("notice"), text !== "");
  show(byId("notice-action"), action !== null);
  if (action !== null) {
    setText(byId("notice-action"), action.label);
    byId("notice-action").onclick = action.work;
  }
};

const showStock = () => {
  const all = status.sold + status.remaining;
  show(byId("stock"), all > 0);
  setText(byId("stock-left"), status.remaining === 0 ? "Sold out" : `${count(status.remaining)} left`);
  setText(byId("stock-of"), status.remaining === 0 ? `all ${pieces(all)}` : `of ${pieces(all)}`);
  const meter = byId("stock-meter");
  meter.setAttribute("aria-valuemax", String(all));
  meter.setAttribute("aria-valuenow", String(status.remaining));
  byId("stock-fill").style.width = `${(100 * status.remaining) / Math.max(1, all)}%`;
};

const showState = () => {
  const state = stateNow();
  const isSoldOut = state === "open" && status !== null && status.remaining === 0 && status.sold > 0;
  const shown = isSoldOut ? "sold-out" : state;
  byId("state").className = `badge ${shown}`;
  setText(byId("state"), isSoldOut ? "Sold out" : LABELS[state]);
  const terms = `at most ${pieces(sale.buyer_limit)} a buyer`;
  const when = { upcoming: `Starts ${timeOf(sale.starts_at)}`, open: `Ends ${timeOf(sale.ends_at)}`, ended: `Ended ${timeOf(sale.ends_at)}` };
  setText(byId("terms"), `${when[state]} · ${count(sale.items)} ${sale.items === 1 ? "item" : "items"} · ${terms}`);
  if (lastState !== null && lastState !== shown) {
    announce({ open: "The sale is open.", ended: "The sale has ended.", "sold-out": "Everything is sold out.", upcoming: "" }[shown]);
    items.load();
  }
  if (state === "ended") show(byId("mode"), false);
  lastState = shown;
  items.update();
};

const showCountdown = () => {
  if (sale === null) return;
  const [now, state] = [clock.serverNow(), stateNow()];
  const hasEnd = state !== "ended" && now !== null;
  show(byId("clock"), hasEnd);
  if (hasEnd) {
    const rest = Math.max(0, Date.parse(state === "open" ? sale.ends_at : sale.starts_at) - now);
    const seconds = Math.ceil(rest / 1000);
    const two = (number) => String(number).padStart(2, "0");
    setText(byId("clock-label"), state === "open" ? "Ends in" : "Starts in");
    show(byId("clock-days-tile"), seconds >= 86_400);
    setText(byId("clock-days"), count(Math.floor(seconds / 86_400)));
    setText(byId("clock-hours"), two(Math.floor(seconds / 3600) % 24));
    setText(byId("clock-minutes"), two(Math.floor(seconds / 60) % 60));
    setText(byId("clock-seconds"), two(seconds % 60));
    byId("clock").classList.toggle("soon", rest < SOON_MS);
  }
  const shown = lastState === "sold-out" ? "open" : lastState;
  if (shown !== state) showState();
};

const onStatus = (next) => {
  const hasSold = status !== null && (next.sold !== status.sold || next.remaining !== status.remaining);
  const isRestocked = status !== null && status.remaining === 0 && next.remaining > 0;
  status = next;
  showStock();
  // The sale was moved, or this machine's clock was: its times are read again.
  if (next.state !== stateNow()) rereadSoon();
  showState();
  if (isRestocked) items.load();
  else if (hasSold) items.touch();
};

const onMode = (mode) => {
  show(byId("mode"), stateNow() !== "ended");
  byId("mode").className = `mode ${mode}`;
  setText(byId("mode-text"), MODES[mode]);
};

const readSale = async (id) => {
  const { body, took, serverTime } = await read(`v2/sales/${encodeURIComponent(id)}`);
  clock.observe(serverTime, took);
  return body;
};

const reread = async () => {
  try {
    const again = await readSale(sale.id);
    if (again.id === sale.id) {
      sale = again;
      showState();
    }
  } catch {
    // The next event asks again.
  }
};

// Not more often than every two seconds. What is due earlier waits and is not left out: no event comes after that of the end.
const rereadSoon = () => {
  if (isRereadDue) return;
  isRereadDue = true;
  setTimeout(async () => {
    isRereadDue = false;
    rereadAt = performance.now() + 2_000;
    await reread();
    if (status?.state === "ended" && stateNow() !== "ended") rereadSoon();
  }, Math.max(0, rereadAt - performance.now()));
};

const select = async (id) => {
  stopFollowing();
  const chosen = await readSale(id);
  [sale, lastState, status] = [chosen, null, { state: chosen.state, sold: chosen.pieces.sold, remaining: chosen.pieces.remaining }];
  document.title = `${sale.name} · Flash sale`;
  setText(byId("sale-name"), sale.name);
  byId("hero").setAttribute("aria-busy", "false");
  show(byId("items"), true);
  notify("");
  showState();
  showStock();
  showCountdown();
  stopFollowing = stateNow() === "ended" ? () => {} : follow(sale.id, { onState: onStatus, onMode });
  show(byId("mode"), false);
  await Promise.all([items.of(sale.id), loadPurchases()]);
};

// --- Which sale ------------------------------------------------------------------------------------------------------

const link = (id) => `?sale=${encodeURIComponent(id)}`;

const showSales = (open) => {
  const links = open.map((other) => {
    const anchor = make("a", { text: other.name });
    anchor.href = link(other.id);
    if (other.id === sale?.id) anchor.setAttribute("aria-current", "page");
    return anchor;
  });
  byId("sales").replaceChildren(...links);
  show(byId("sales"), open.length > 1);
};

// The sale that starts next. Lists are newest first, so it is the last one.
const nextSale = async () => {
  let path = "v2/sales?state=upcoming&limit=100";
  let next = null;
  for (let list = 0; list < MAX_LISTS; list += 1) {
    const { body } = await read(path);
    next = body.data.at(-1) ?? next;
    if (body.next_cursor === null) break;
    path = `v2/sales?state=upcoming&limit=100&cursor=${encodeURIComponent(body.next_cursor)}`;
  }
  return next;
};

const lastSale = async () => (await read("v2/sales?state=ended&limit=1")).body.data[0] ?? null;

const showNone = () => {
  byId("hero").setAttribute("aria-busy", "false");
  byId("state").className = "badge";
  setText(byId("state"), "No sale");
  setText(byId("sale-name"), "No sale at the moment");
  setText(byId("terms"), "The next one appears here by itself.");
};

const openSales = async () => {
  const { body, took, serverTime } = await read("v2/sales/active");
  clock.observe(serverTime, took);
  return body.data;
};

// Shows the sale that the address names, else the open one, else the next one, else the last one.
const choose = async () => {
  const named = new URL(location.href).searchParams.get("sale");
  const open = await openSales();
  let missing = false;
  if (named !== null) {
    try {
      await select(named);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error;
      missing = true;
    }
  }
  if (sale === null) {
    const found = open[0] ?? await nextSale() ?? await lastSale();
    if (found === null) showNone();
    else await select(found.id);
  }
  showSales(open);
  if (missing) notify(sale === null ? "There is no such sale." : "There is no such sale: this is the current one.");
};

// While the sale of the page is not open, another one may be.
const look = async () => {
  if (isLooking || document.hidden || (sale !== null && stateNow() === "open")) return;
  isLooking = true;
  try {
    const open = await openSales();
    const next = open.find((other) => other.id !== sale?.id);
    if (sale === null && (next ?? null) !== null) await select(next.id);
    else if (sale !== null && stateNow() === "ended" && open.some((other) => other.id === sale.id)) await select(sale.id);
    else if (sale === null) await choose();
    else if (next !== undefined && stateNow() === "ended") {
      notify("Another sale is open:", { label: next.name, work: () => { location.href = link(next.id); } });
    }
    showSales(open);
  } catch {
    // Looked for again.
  }
  isLooking = false;
};

// --- Purchases -------------------------------------------------------------------------------------------------------

const receiptOf = (purchase) => {
  const sold = purchase.items.filter((item) => item.outcome === "sold");
  return sold.map((item) => {
    const time = make("time", { text: timeOf(purchase.purchased_at) });
    time.dateTime = purchase.purchased_at;
    return make("li", {}, make("strong", { text: item.name }), make("span", { className: "count", text: pieces(item.quantity) }),
      time, make("code", { text: purchase.code }));
  });
};

const loadPurchases = async () => {
  if (sale === null) return;
  const [of, by] = [sale.id, buyerId];
  try {
    const query = `sale_id=${encodeURIComponent(of)}&limit=${MAX_PURCHASES}`;
    const { body } = await read(`v2/buyers/${encodeURIComponent(by)}/purchases?${query}`);
    if (of !== sale.id || by !== buyerId) return;
    const receipts = body.data.flatMap(receiptOf);
    bought = body.data.reduce((sum, purchase) => sum + purchase.pieces_bought, 0);
    byId("receipts").replaceChildren(...receipts);
    show(byId("yours"), receipts.length > 0);
    setText(byId("allowance"), `You have bought ${count(bought)} of the ${pieces(sale.buyer_limit)} that one buyer can have.`);
    items.update();
  } catch {
    // They are read again after the next purchase.
  }
};

// --- Start -----------------------------------------------------------------------------------------------------------

const start = async () => {
  showBuyer();
  try {
    await choose();
  } catch {
    notify("The shop cannot be reached at the moment. This page tries again by itself.");
    setTimeout(start, 3_000);
    return;
  }
  if (hasPending()) resume(settled);
  setInterval(showCountdown, 250);
  setInterval(look, LOOK_MS);
};

start();
