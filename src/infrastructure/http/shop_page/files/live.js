// Follows a sale: by its events, and by polling while those do not arrive.

import { read } from "./service.js";
import * as clock from "./clock.js";

// A stream sends something every 15 seconds, and an event source comes back by itself within about three.
const SILENCE_MS = 8_000;
const POLL_MS = 3_000;
// Events are tried again after this time.
const AGAIN_MS = 20_000;

const jittered = (milliseconds) => milliseconds * (0.75 + Math.random() / 2);

// Calls `onState` with `{state, sold, remaining}`, and `onMode` with "live", "polling" or "offline". Returns a function that ends it.
export const follow = (sale, { onState, onMode }) => {
  const path = `v2/sales/${encodeURIComponent(sale)}`;
  let source = null;
  let timers = [];
  let isOver = false;
  let mode = null;

  const tell = (next) => {
    if (mode !== next) onMode(mode = next);
  };
  const later = (work, milliseconds) => {
    timers.push(setTimeout(work, milliseconds));
  };
  const stop = () => {
    timers.forEach(clearTimeout);
    timers = [];
    source?.close();
    source = null;
  };

  const receive = (status) => {
    onState(status);
    // The service ends the stream; nothing more will come.
    if (status.state === "ended") {
      isOver = true;
      // Purchases that were under way at the end are counted shortly after it.
      later(() => { stop(); }, 3_000);
    }
  };

  const poll = async () => {
    try {
      const { body, took, serverTime } = await read(path);
      if (source?.readyState === EventSource.OPEN) return;
      clock.observe(serverTime, took);
      tell("polling");
      receive({ state: body.state, sold: body.pieces.sold, remaining: body.pieces.remaining });
    } catch {
      tell("offline");
    }
    if (!isOver && source?.readyState !== EventSource.OPEN) later(poll, jittered(POLL_MS));
  };

  const listen = () => {
    stop();
    // Polls meanwhile if nothing arrives in time.
    later(() => { if (source?.readyState !== EventSource.OPEN) poll(); }, SILENCE_MS);
    const opened = new EventSource(new URL(`${path}/events`, new URL("..", import.meta.url)));
    source = opened;
    opened.addEventListener("open", () => { tell("live"); });
    opened.addEventListener("state", (event) => {
      const status = JSON.parse(event.data);
      clock.observeAtLeast(status.server_time);
      tell("live");
      receive(status);
    });
    opened.addEventListener("error", () => {
      if (isOver || source !== opened) return;
      // A status other than 200 closes it for good: too many listeners, or a proxy without an instance.
      if (opened.readyState === EventSource.CLOSED) {
        stop();
        poll();
        later(listen, jittered(AGAIN_MS));
      } else {
        // It comes back by itself. If that takes long, the page polls.
        later(() => { if (source === opened && opened.readyState !== EventSource.OPEN) poll(); }, SILENCE_MS);
      }
    });
  };

  // A page that is not shown holds no connection: browsers allow few for each host.
  const onVisibility = () => {
    if (isOver) return;
    if (document.hidden) stop();
    else listen();
  };
  document.addEventListener("visibilitychange", onVisibility);
  if (!document.hidden) listen();
  return () => {
    isOver = true;
    document.removeEventListener("visibilitychange", onVisibility);
    stop();
  };
};
