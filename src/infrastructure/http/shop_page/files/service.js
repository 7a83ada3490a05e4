// Requests to the service: problems become errors, and what is safe to repeat is repeated.

// The service, also behind a gateway that serves it below a path.
export const root = new URL("..", import.meta.url);

// Waits between two tries, in milliseconds: the last one stays.
const PAUSES = [250, 500, 1000, 2000, 4000];
// A request that has no response after this time is repeated.
const TIMEOUT_MS = 15_000;
// Codes of problems that are gone after a while.
const PASSING = new Set(["idempotency_key_in_use", "purchase_in_progress"]);

// A response that is not a success. `problem` has the members of its body (RFC 9457).
export class Problem extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.title ?? `status ${status}`);
    Object.assign(this, { status, problem, retryAfter, code: problem.code ?? "" });
  }

  // Whether the same request may succeed later.
  get isPassing() {
    return this.status >= 500 || this.status === 429 || PASSING.has(this.code);
  }
}

// No response has come: the request may have been executed.
export class Unreachable extends Error {}

// A UUID of version 4. `crypto.randomUUID` exists only over HTTPS and on localhost.
export const newKey = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
};

export const wait = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

// Sends one request. Returns the JSON body and the response, or throws a `Problem` or `Unreachable`.
const send = async (path, { method = "GET", key, body } = {}) => {
  const headers = {};
  if (key !== undefined) headers["Idempotency-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const content = body === undefined ? undefined : JSON.stringify(body);
  let response;
  let text;
  const sentAt = performance.now();
  try {
    response = await fetch(new URL(path, root), { method, headers, body: content, signal: AbortSignal.timeout(TIMEOUT_MS) });
    text = await response.text();
  } catch (error) {
    throw new Unreachable("there is no response", { cause: error });
  }
  const took = performance.now() - sentAt;
  let json;
  try {
    json = text === "" ? null : JSON.parse(text);
  } catch {
    json = null;
  }
  if (!response.ok) throw new Problem(response.status, json ?? {}, Number(response.headers.get("Retry-After")) || 0);
  // A proxy has answered with a page of its own.
  if (json === null) throw new Unreachable("the response is not the service's");
  return { body: json, took, serverTime: response.headers.get("Server-Time"), replayed: response.headers.has("Idempotent-Replayed") };
};

// Reads.
export const read = (path) => send(path);

// Sends a request with an idempotency key, and repeats it with the same key until it has an answer: it takes effect once. `onRepeat`
// is called before each repeat. Gives up after `tries`, and may then be called again with the same key.
export const write = async (path, { method = "POST", key, body, tries = 8, onRepeat = () => {} }) => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send(path, { method, key, body });
    } catch (error) {
      const isPassing = error instanceof Unreachable || (error instanceof Problem && error.isPassing);
      if (!isPassing || attempt >= tries) throw error;
      const pause = PAUSES[Math.min(attempt, PAUSES.length) - 1];
      onRepeat(attempt);
      // Clients that failed together must not come back together.
      await wait(Math.max(pause, (error.retryAfter ?? 0) * 1000) * (0.75 + Math.random() / 2));
    }
  }
};

// Memory of this browser, which may be switched off.
export const memory = {
  get: (name) => {
    try {
      return JSON.parse(localStorage.getItem(`flash-sale.${name}`));
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      if (value === null) localStorage.removeItem(`flash-sale.${name}`);
      else localStorage.setItem(`flash-sale.${name}`, JSON.stringify(value));
    } catch {
      // Then it lasts as long as the page.
    }
  },
};
