// Buying an item: a checkout with one line, then its purchase. Both are repeated with the same keys and the same code until there is an
// answer, also after the page was closed meanwhile: each takes effect once.

import { Problem, memory, newKey, read, write } from "./service.js";
import { byId, count, pieces, setText, show } from "./dom.js";

const PENDING = "pending";

const dialog = byId("answer");
let isBusy = false;
let onAgain = null;

dialog.addEventListener("cancel", (event) => { if (isBusy) event.preventDefault(); });
byId("answer-close").addEventListener("click", () => { dialog.close(); });
byId("answer-again").addEventListener("click", () => { onAgain?.(); });

// Shows how the purchase stands. `tone` is "busy", "good" or "bad".
const answer = (tone, title, text, { receipt = null, again = null } = {}) => {
  isBusy = tone === "busy";
  byId("answer-icon").className = `answer-icon ${tone}`;
  setText(byId("answer-title"), title);
  setText(byId("answer-text"), text);
  show(byId("answer-receipt"), receipt !== null);
  if (receipt !== null) {
    setText(byId("receipt-item"), receipt.name);
    setText(byId("receipt-pieces"), count(receipt.quantity));
    setText(byId("receipt-code"), receipt.code);
  }
  show(byId("answer-actions"), !isBusy);
  show(byId("answer-again"), again !== null);
  onAgain = again?.work ?? null;
  if (again !== null) setText(byId("answer-again"), again.label);
  if (!dialog.open) dialog.showModal();
  // Not a button: what was typed ahead must not close the answer unread.
  byId("answer-title").focus();
};

const limitText = ({ limit, bought, collected }) => {
  if (limit === undefined) return "With this, you would have more pieces than the sale allows one buyer.";
  const had = bought > 0 ? ` You have bought ${count(bought)}.` : "";
  const waiting = collected > 0 ? ` Your checkout has ${count(collected)}.` : "";
  return `A buyer can have ${pieces(limit)} of this sale.${had}${waiting}`;
};

// What a refusal means to a buyer: title and text.
const explain = ({ status, code, problem }, { name }) => {
  switch (code) {
    case "item_sold_out":
    case "items_already_sold":
      return ["Sold out", `Another buyer was faster: ${name} is sold out. Nothing was bought.`];
    case "sale_sold_out":
      return ["Sold out", "Every item of this sale is sold. Nothing was bought."];
    case "user_limit_exceeded":
      return ["That is more than the limit", limitText(problem)];
    case "sale_not_started":
      return ["Not open yet", "The sale has not started. Nothing was bought."];
    case "sale_ended":
      return ["The sale has ended", "Your request came after the end. Nothing was bought."];
    case "item_not_found":
      return ["No such item", "The item is not part of this sale any more."];
    case "validation_failed":
      return ["Not accepted", "The shop cannot read this request. Check your buyer id, and try again."];
    default:
      return status === 401 || status === 403
        ? ["Not signed in", "This shop sells only to buyers who are signed in, which this page cannot do."]
        : ["Not bought", problem.title ?? `The shop has answered with status ${status}.`];
  }
};

const repeats = (title) => ({
  onRepeat: (attempt) => { answer("busy", title, `The shop is busy or out of reach. Try ${count(attempt + 1)}: this is safe, nothing is bought twice.`); },
});

const collect = async (pending) => {
  const items = [{ id: pending.id, quantity: pending.quantity }];
  const body = { buyer_id: pending.buyer, sale_id: pending.sale, items };
  const collected = await write("v2/checkouts", { key: pending.collectKey, body, ...repeats("Getting in line …") });
  pending.code = collected.body.code;
  memory.set(PENDING, pending);
};

const purchase = async (pending) => {
  const expected = pending.isWhole ? {} : { expected: [{ id: pending.id, quantity: pending.quantity }] };
  const path = `v2/checkouts/${encodeURIComponent(pending.code)}/purchase`;
  const { body } = await write(path, { key: pending.buyKey, body: expected, ...repeats("Buying …") });
  return body;
};

const succeed = (pending, bought) => {
  const sold = bought.items.filter((item) => item.outcome === "sold");
  const missed = bought.items.length - sold.length;
  const name = sold.map((item) => item.name).join(", ") || pending.name;
  const text = missed > 0 ? `${count(missed)} of the items could not be bought.` : "It is yours. Keep the code: it proves your purchase.";
  answer("good", "Bought", text, { receipt: { name, quantity: bought.pieces_bought, code: bought.code } });
};

// The checkout has items that this page has not collected: another tab, or an earlier visit.
const askAboutOthers = async (pending, finish) => {
  let names = "";
  try {
    const { body } = await read(`v2/checkouts/${encodeURIComponent(pending.code)}`);
    names = body.items.map((item) => `${item.name} × ${count(item.quantity)}`).join(", ");
  } catch {
    // The names only help.
  }
  memory.set(PENDING, null);
  const work = () => finish({ ...pending, isWhole: true, buyKey: newKey() });
  const text = `Your checkout has other items too${names === "" ? "." : `: ${names}.`} Nothing was bought.`;
  answer("bad", "Your checkout has more", text, { again: { label: "Buy all of it", work } });
};

// Buys what is pending, and shows the answer. `onSettled` is called when the stock may have changed.
const finish = async (pending, onSettled) => {
  memory.set(PENDING, pending);
  answer("busy", "Buying …", `${pieces(pending.quantity)} of ${pending.name}`);
  try {
    if (pending.code === null) await collect(pending);
    const bought = await purchase(pending);
    memory.set(PENDING, null);
    succeed(pending, bought);
  } catch (error) {
    const isFinal = error instanceof Problem && !error.isPassing;
    const retry = (next) => finish(next, onSettled);
    if (isFinal && error.code === "checkout_changed") {
      await askAboutOthers(pending, retry);
    } else if (isFinal) {
      memory.set(PENDING, null);
      answer("bad", ...explain(error, pending));
    } else {
      // What is pending stays in memory: it is finished now or when the page is opened again.
      const text = "The shop does not answer. Your purchase may have gone through. Trying again is safe: nothing is bought twice.";
      answer("bad", "No answer yet", text, { again: { label: "Try again", work: () => retry(pending) } });
    }
  }
  onSettled();
};

// Whether a purchase has no answer yet.
export const hasPending = () => memory.get(PENDING) !== null;

// Finishes the purchase that has no answer yet.
export const resume = (onSettled) => finish(memory.get(PENDING), onSettled);

// Buys pieces of an item for a buyer.
export const buy = ({ sale, buyer, item, quantity }, onSettled) => {
  if (isBusy) return;
  // The one before has to be settled first.
  if (hasPending()) {
    resume(onSettled);
    return;
  }
  const { id, name } = item;
  finish({ sale, buyer, id, name, quantity, code: null, isWhole: false, collectKey: newKey(), buyKey: newKey() }, onSettled);
};
