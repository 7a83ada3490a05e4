// The operators' page: reads what the routes below /admin answer, with the key that was typed in, and shows it as tables. Texts become
// text nodes, so that nothing in a name is markup.
"use strict";

// How often what is shown is read again.
const REFRESH_MS = 5000;

let key = "";
let shownSale = "";
let timer = 0;

const place = (id) => document.getElementById(id);

function say(text, isBad) {
  const state = place("state");
  if (state.textContent !== text) {
    state.textContent = text;
  }
  state.classList.toggle("bad", Boolean(isBad));
}

async function read(path) {
  const response = await fetch(path, { headers: { "X-Api-Key": key }, cache: "no-store" });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    const error = new Error(problem.title || `the service answers ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return response;
}

const list = async (path) => (await (await read(path)).json()).data;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) {
    made.textContent = String(text);
  }
  if (className) {
    made.className = className;
  }
  return made;
}

function time(value) {
  return value.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC");
}

const count = (value) => Number(value).toLocaleString("en");

// Members of an object, one a line.
function members(value) {
  const made = element("dl");
  for (const [name, member] of Object.entries(value)) {
    const text = typeof member === "string" ? member : JSON.stringify(member);
    made.append(element("dt", name), element("dd", text));
  }
  return made;
}

function content(value, kind) {
  if (value instanceof Node) {
    return value;
  }
  if (value === undefined || value === null || value === "") {
    return element("span", "–", "quiet");
  }
  if (typeof value === "object") {
    return members(value);
  }
  const text = { time: () => time(value), number: () => count(value) }[kind]?.() ?? value;
  return element("span", text, kind === "state" ? `badge ${value}` : "");
}

// On a narrow screen each cell shows its title itself.
function cell(title, value, kind) {
  const made = element("td", undefined, kind || "");
  made.dataset.title = title;
  made.append(content(value, kind));
  return made;
}

// Columns are [title, value of a row, kind]: time, number, state, or text, which may be long.
function table(id, caption, columns, rows, isChosen) {
  const around = element("div", undefined, "wide");
  around.tabIndex = 0;
  around.setAttribute("role", "group");
  around.setAttribute("aria-label", caption);
  const made = element("table");
  made.append(element("caption", rows.length ? caption : `${caption}: none`));
  if (rows.length) {
    const head = element("tr");
    for (const [title, , kind] of columns) {
      const name = element("th", title, kind === "number" ? "number" : "");
      name.scope = "col";
      head.append(name);
    }
    const thead = element("thead");
    thead.append(head);
    const body = element("tbody");
    for (const row of rows) {
      const line = element("tr");
      line.append(...columns.map(([title, value, kind]) => cell(title, value(row), kind)));
      line.classList.toggle("chosen", Boolean(isChosen?.(row)));
      body.append(line);
    }
    made.append(thead, body);
  }
  around.append(made);
  replace(id, around);
}

// Leaves what has not changed as it is, so that the focus stays where it is.
function replace(id, ...made) {
  const old = place(id);
  const text = made.map((one) => one.outerHTML).join("");
  if (old.dataset.shown !== text) {
    const focused = old.contains(document.activeElement) ? document.activeElement.dataset.name : "";
    old.replaceChildren(...made);
    old.dataset.shown = text;
    if (focused) {
      old.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus();
    }
  }
}

function choice(name, act) {
  const made = element("button", name);
  made.type = "button";
  made.dataset.name = name;
  made.addEventListener("click", act);
  return made;
}

async function showSales() {
  const sales = await list("sales?limit=20");
  if (!shownSale && sales.length) {
    shownSale = (sales.find((sale) => sale.state === "open") || sales[0]).sale_id;
  }
  const isShown = (sale) => sale.sale_id === shownSale;
  const open = (sale) => {
    const made = choice(sale.sale_id, () => {
      shownSale = sale.sale_id;
      refresh();
    });
    made.setAttribute("aria-pressed", String(isShown(sale)));
    return made;
  };
  table("sales-list", "Newest sales", [
    ["Sale", open],
    ["Name", (sale) => sale.name, "text"],
    ["State", (sale) => sale.state, "state"],
    ["Start", (sale) => sale.starts_at, "time"],
    ["End", (sale) => sale.ends_at, "time"],
    ["Sold", (sale) => sale.sold, "number"],
    ["Left", (sale) => sale.remaining, "number"],
  ], sales, isShown);
}

// What a sale has come to, as pairs of a name and a number.
function numbers(report) {
  const shown = {
    Sold: report.sold,
    Buyers: report.buyers,
    Checkouts: report.checkouts,
    Purchases: report.purchases,
    "Taken back": report.cancelled,
    "Most in a second": report.peak_sold_per_second,
    "Seconds to sell out": report.seconds_to_sell_out,
  };
  const made = element("dl", undefined, "numbers");
  for (const [name, value] of Object.entries(shown)) {
    if (value !== undefined && value !== null) {
      const one = element("div");
      one.append(element("dt", name), element("dd", count(value)));
      made.append(one);
    }
  }
  return made;
}

async function showSale() {
  if (!shownSale) {
    return;
  }
  const sale = encodeURIComponent(shownSale);
  const report = await (await read(`sales/${sale}/report`)).json();
  const drawing = await (await read(`sales/${sale}/report.svg`)).text();
  const picture = element("img", undefined, "curve");
  picture.alt = `How ${shownSale} has sold, second by second: ${report.sold} pieces to ${report.buyers} buyers`;
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(drawing)}`;
  const refusals = element("div");
  refusals.id = "refusals";
  if (!place("refusals")) {
    place("sale").append(refusals);
    const curve = element("div");
    curve.id = "curve";
    place("sale").prepend(curve);
  }
  replace("curve", element("h3", `${shownSale} ${report.name || ""}`), numbers(report), picture);
  const reasons = Object.entries(report.refusals || {}).sort((one, other) => other[1] - one[1]);
  table("refusals", `Refusals of ${shownSale} by reason`, [
    ["Reason", ([reason]) => reason],
    ["Times", ([, times]) => times, "number"],
  ], reasons);
}

async function showJobs() {
  const reads = ["jobs?state=dead&limit=20", "jobs?limit=20", "schedules"].map(list);
  const [dead, jobs, schedules] = await Promise.all(reads);
  table("jobs-dead", "Dead jobs", [
    ["Job", (job) => job.id, "number"],
    ["Type", (job) => job.type],
    ["Attempts", (job) => job.attempts, "number"],
    ["Ended", (job) => job.ended_at, "time"],
    ["Last error", (job) => job.last_error, "text"],
  ], dead);
  table("jobs-list", "Newest jobs", [
    ["Job", (job) => job.id, "number"],
    ["Type", (job) => job.type],
    ["State", (job) => job.state, "state"],
    ["Priority", (job) => job.priority],
    ["Attempts", (job) => `${job.attempts} of ${job.max_attempts}`],
    ["May run", (job) => job.run_at, "time"],
    ["Worker", (job) => job.worker],
  ], jobs);
  table("schedules", "Schedules", [
    ["Schedule", (one) => one.name],
    ["Type", (one) => one.type],
    ["Last run", (one) => one.last_run_at, "time"],
    ["Outcome", (one) => one.last_outcome],
    ["Next run", (one) => (one.paused ? "paused" : one.next_run_at), "time"],
  ], schedules);
}

async function showWebhooks() {
  const webhooks = await list("webhooks");
  table("webhooks-list", "Endpoints", [
    ["Endpoint", (one) => one.url, "text"],
    ["State", (one) => one.state, "state"],
    ["Because", (one) => one.reason, "text"],
    ["Retrying", (one) => one.retrying, "number"],
    ["Dead", (one) => one.dead, "number"],
  ], webhooks);
  const failing = webhooks.filter((one) => one.dead > 0).slice(0, 5);
  const shown = await Promise.all(
    failing.map(async (one) => (await read(`webhooks/${encodeURIComponent(one.id)}`)).json()),
  );
  const letters = shown.flatMap((one) => one.dead_letters.map((letter) => ({ ...letter, url: one.url })));
  table("letters", "Events that were given up", [
    ["Event", (letter) => letter.event_id, "text"],
    ["Type", (letter) => letter.type],
    ["Endpoint", (letter) => letter.url, "text"],
    ["Attempts", (letter) => letter.attempts, "number"],
    ["Last error", (letter) => letter.last_error, "text"],
  ], letters);
}

async function showAudit() {
  const entries = await list("audit?limit=50");
  table("audit-list", "Newest changes", [
    ["When", (entry) => entry.at, "time"],
    ["Who", (entry) => entry.actor],
    ["What", (entry) => entry.action],
    ["Of", (entry) => [entry.sale_id, entry.subject].filter(Boolean).join(", "), "text"],
    ["Before", (entry) => entry.before],
    ["After", (entry) => entry.after],
  ], entries);
}

function failed(error) {
  say(`Not up to date: ${error.message}`, true);
  if (error.status === 401 || error.status === 403) {
    leave();
    say(error.message, true);
  }
}

async function refresh() {
  clearTimeout(timer);
  const used = key;
  try {
    await showSales();
    await Promise.all([showSale(), showJobs(), showWebhooks(), showAudit()]);
    if (used === key) {
      say("");
      reveal(true);
    }
  } catch (error) {
    if (used === key) {
      failed(error);
    }
  }
  if (used === key && key) {
    timer = setTimeout(refresh, REFRESH_MS);
  }
}

function reveal(isIn) {
  for (const id of ["shown", "parts", "leave"]) {
    place(id).hidden = !isIn;
  }
  place("enter").hidden = isIn;
}

function leave() {
  clearTimeout(timer);
  key = "";
  shownSale = "";
  reveal(false);
  place("key").value = "";
  place("key").focus();
}

place("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  key = place("key").value.trim();
  // A header has ASCII alone.
  if (!/^[!-~]+$/.test(key)) {
    say("This is no key: it has other characters.", true);
    key = "";
    return;
  }
  place("key").value = "";
  say("Reading…");
  refresh();
});
place("leave").addEventListener("click", () => {
  leave();
  say("The key is forgotten.");
});
