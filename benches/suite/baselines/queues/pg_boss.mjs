// pg-boss runs COUNT jobs that do nothing, ten batches at a time, and prints how many it ran a second.
//
//   node pg_boss.mjs DATABASE_URL COUNT
//
// With what its documentation has for many short jobs: batches of a hundred, fetched without a pause while they are full.

import { PgBoss } from "pg-boss";

const [connectionString, text] = process.argv.slice(2);
const count = Number(text);
const workers = 10;
const inserted = 10_000;

const boss = new PgBoss({ connectionString, max: workers + 1 });
boss.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
await boss.start();
await boss.createQueue("noop");
for (let first = 0; first < count; first += inserted) {
  const length = Math.min(inserted, count - first);
  await boss.insert("noop", Array.from({ length }, () => ({ data: {} })));
}

let since;
let ran = 0;
let allRan;
const all = new Promise((resolve) => (allRan = resolve));
const options = { batchSize: 100, localConcurrency: workers, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
await boss.work("noop", options, async (jobs) => {
  since ??= performance.now();
  ran += jobs.length;
  if (ran >= count) allRan();
});
await all;
console.log((1000 * count) / (performance.now() - since));
await boss.stop();
