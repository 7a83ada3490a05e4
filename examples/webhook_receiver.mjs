// Receives the events of a shop.
//
//     npm install standardwebhooks
//     WEBHOOK_SECRET=whsec_… node webhook_receiver.mjs [PORT]
//
// Prints each event once, as a line of JSON. A real receiver stores it before it answers.

import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

// An event is one purchase, or one fact about a sale: far smaller than this.
const MAX_BODY = 1 << 20;
// Ids that are remembered. A database with a unique key needs no such bound.
const MAX_IDS = 100_000;

const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const received = new Set();

// Deliveries are repeated until one is accepted, so an event may come twice: its id is the same.
function isNew(id) {
  if (received.has(id)) return false;
  received.add(id);
  if (received.size > MAX_IDS) received.delete(received.values().next().value);
  return true;
}

async function read(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > MAX_BODY) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const server = createServer(async (request, response) => {
  const body = request.method === "POST" ? await read(request).catch(() => undefined) : undefined;
  if (body === undefined) {
    response.writeHead(request.method === "POST" ? 413 : 405, { connection: "close" }).end();
    return;
  }
  let event;
  try {
    // Before anything else, on the bytes as they came. It also refuses what is older than five minutes.
    event = webhook.verify(body, request.headers);
  } catch (error) {
    console.error(`refused: ${error.message}`);
    response.writeHead(401).end();
    return;
  }
  if (isNew(event.id)) console.log(JSON.stringify(event));
  response.writeHead(204).end();
});

server.listen(Number(process.argv[2] ?? 8000), "127.0.0.1", () => {
  console.error(`listening on http://127.0.0.1:${server.address().port}/`);
});
