// The items of a sale, a page at a time.

import { read } from "./service.js";
import { byId, count, make, setText, show } from "./dom.js";

const PAGE = 24;
// From here on an item is marked as scarce.
const FEW = 5;
// Longest choice of pieces.
const MAX_CHOICE = 10;
const HUES = 8;
// What other buyers have bought is read at most this often: thousands of pages that read at each sale would slow the sale.
const REFRESH_MS = 10_000;

const hueOf = (id) => {
  let hash = 0;
  for (const char of id) hash = (hash * 31 + char.codePointAt(0)) % 65_521;
  return hash % HUES;
};

// What stands in the place of a picture: the number at the end of the name, or its initials.
const plateOf = (name) => {
  const number = /(\d{1,5})\s*$/.exec(name)?.[1];
  if (number !== undefined) return number;
  const words = name.split(/\s+/).filter((word) => /^[\p{L}\p{N}]/u.test(word));
  const initials = words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
  return initials === "" ? /[\p{L}\p{N}]/u.exec(name)?.[0].toUpperCase() ?? "" : initials;
};

// Whether the policy of the page allows the picture.
const isPicture = (text) => {
  try {
    const url = new URL(text, document.baseURI);
    return url.protocol === "https:" || url.origin === location.origin;
  } catch {
    return false;
  }
};

// The grid of a sale. `offer` says what can be bought: `{isOpen, label, most}`. `onBuy` gets an item and a number of pieces.
export class Items {
  #sale = null;
  #page = 1;
  #shown = [];
  #cards = new Map();
  #pagination = null;
  #timer = null;
  #number = 0;

  constructor({ offer, onBuy, onFailure }) {
    Object.assign(this, { offer, onBuy, onFailure });
    byId("previous").addEventListener("click", () => { this.#turn(-1); });
    byId("next").addEventListener("click", () => { this.#turn(1); });
    byId("only-available").addEventListener("change", () => {
      this.#page = 1;
      this.load();
    });
  }

  of(sale) {
    if (sale !== this.#sale) [this.#sale, this.#page, this.#shown] = [sale, 1, []];
    return this.load();
  }

  // Something was sold: reads the page again after a while, if it is looked at.
  touch() {
    if (this.#timer !== null || document.hidden) return;
    this.#timer = setTimeout(() => { this.load(); }, REFRESH_MS * (0.75 + Math.random() / 2));
  }

  async load() {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#sale === null) return;
    const available = byId("only-available").checked;
    const query = `page=${this.#page}&limit=${PAGE}${available ? "&available=true" : ""}`;
    // The last request wins, whatever the order of the responses.
    const number = this.#number += 1;
    try {
      const { body } = await read(`v2/sales/${encodeURIComponent(this.#sale)}/items?${query}`);
      if (number !== this.#number) return;
      this.#pagination = body.pagination;
      if (body.data.length === 0 && this.#page > 1 && body.pagination.total_pages > 0) {
        this.#page = body.pagination.total_pages;
        await this.load();
        return;
      }
      this.#show(body.data);
    } catch (error) {
      if (number !== this.#number) return;
      this.onFailure(error);
      this.touch();
    }
  }

  // Shows what can be bought now.
  update() {
    const { isOpen, label, most } = this.offer();
    for (const item of this.#shown) {
      const { card, left, buy, choice, select } = this.#cards.get(item.id);
      const { stock, remaining } = item.pieces;
      const isGone = remaining === 0;
      card.classList.toggle("gone", isGone);
      left.classList.toggle("few", !isGone && stock > FEW && remaining <= FEW);
      setText(left, isGone ? "None left" : stock === 1 ? "One of a kind" : `${count(remaining)} of ${count(stock)} left`);
      const limit = Math.min(remaining, most, MAX_CHOICE);
      show(choice, isOpen && limit > 1);
      if (select.options.length !== limit && limit > 1) {
        const chosen = Number(select.value) || 1;
        select.replaceChildren(...Array.from({ length: limit }, (_, at) => new Option(String(at + 1))));
        select.value = String(Math.min(chosen, limit));
      }
      buy.disabled = !isOpen || limit < 1;
      setText(buy, isGone ? "Sold out" : label);
      buy.setAttribute("aria-label", `${buy.textContent}: ${item.name}`);
    }
  }

  #turn(by) {
    this.#page += by;
    this.load().then(() => { byId("items").focus({ preventScroll: true }); byId("items").scrollIntoView({ block: "start" }); });
  }

  #show(items) {
    const isSame = items.length === this.#shown.length && items.every((item, at) => item.id === this.#shown[at].id);
    this.#shown = items;
    if (!isSame) {
      this.#cards = new Map(items.map((item) => [item.id, this.#card(item)]));
      byId("grid").replaceChildren(...items.map((item) => this.#cards.get(item.id).card));
    }
    const { page, total_pages: all, has_next: hasNext, has_previous: hasPrevious } = this.#pagination;
    show(byId("pages"), all > 1);
    setText(byId("page-text"), `Page ${count(page)} of ${count(all)}`);
    byId("previous").disabled = !hasPrevious;
    byId("next").disabled = !hasNext;
    const isEmpty = items.length === 0;
    show(byId("grid-empty"), isEmpty);
    if (isEmpty) setText(byId("grid-empty"), byId("only-available").checked ? "Everything is sold." : "This sale has no items.");
    this.update();
  }

  #card(item) {
    const card = byId("card").content.firstElementChild.cloneNode(true);
    const [plate, picture] = [card.querySelector(".plate"), card.querySelector(".picture")];
    setText(plate, plateOf(item.name));
    plate.classList.add(`h${hueOf(item.id)}`);
    if (isPicture(item.image_url)) {
      const image = make("img");
      Object.assign(image, { alt: "", loading: "lazy", decoding: "async", referrerPolicy: "no-referrer" });
      image.addEventListener("load", () => { image.classList.add("shown"); });
      image.addEventListener("error", () => { image.remove(); });
      image.src = item.image_url;
      picture.append(image);
    }
    setText(card.querySelector("h3"), item.name);
    const [choice, select] = [card.querySelector(".quantity"), card.querySelector("select")];
    choice.querySelector(".sr").append(item.name);
    const buy = card.querySelector(".buy");
    const { id, name } = item;
    buy.addEventListener("click", () => { this.onBuy({ id, name }, choice.hidden ? 1 : Number(select.value) || 1); });
    return { card, left: card.querySelector(".left"), buy, choice, select };
  }
}
