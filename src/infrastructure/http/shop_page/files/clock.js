// The server's clock, which opens and ends sales. The clock of this machine may be wrong, or be set while the page is open: only
// the time that has passed since a response is taken from it.

// A sample is used for this long, unless a better one comes: clocks drift.
const SAMPLE_MS = 60_000;

let offset = null;
let error = Infinity;
let takenAt = -Infinity;

// A response with the server's time, which took this many milliseconds.
export const observe = (serverTime, took) => {
  const time = Date.parse(serverTime ?? "");
  if (Number.isNaN(time)) return;
  const now = performance.now();
  if (took / 2 > error && now - takenAt < SAMPLE_MS) return;
  // The server read its clock somewhere within that time.
  offset = time + took / 2 - now;
  error = took / 2;
  takenAt = now;
};

// An event with the server's time: it was then, or is later now.
export const observeAtLeast = (serverTime) => {
  const time = Date.parse(serverTime ?? "");
  if (Number.isNaN(time)) return;
  const least = time - performance.now();
  if (offset === null || least > offset) offset = least;
};

// The server's time in milliseconds; `null` before the first sample.
export const serverNow = () => (offset === null ? null : offset + performance.now());
