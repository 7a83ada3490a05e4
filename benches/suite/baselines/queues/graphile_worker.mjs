// graphile-worker runs COUNT jobs that do nothing, ten at a time, and prints how many it ran a second.
//
//   node graphile_worker.mjs DATABASE_URL COUNT
//
// With what its page on performance advises for many short jobs: jobs are fetched and completed in batches.

import { Logger, run, runMigrations } from "graphile-worker";
import pg from "pg";

const [connectionString, text] = process.argv.slice(2);
const count = Number(text);
const concurrentJobs = 10;
const jobs = "graphile_worker._private_jobs";

await runMigrations({ connectionString });
const pool = new pg.Pool({ connectionString });
await pool.query("SELECT graphile_worker.add_job('noop', '{}'::json)");
await pool.query(
  `INSERT INTO ${jobs} (task_id, payload) SELECT task_id, payload FROM ${jobs}, generate_series(2, $1::int)`,
  [count],
);
await pool.query("ANALYZE");

let since;
let ran = 0;
let allRan;
const all = new Promise((resolve) => (allRan = resolve));
const runner = await run({
  noHandleSignals: true,
  logger: new Logger(() => () => {}),
  preset: {
    worker: {
      connectionString,
      concurrentJobs,
      maxPoolSize: concurrentJobs + 1,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
  taskList: {
    noop: () => {
      since ??= performance.now();
      ran += 1;
      if (ran === count) allRan();
    },
  },
});
await all;
// A job counts once it is recorded as done, which is to say deleted.
while ((await pool.query(`SELECT 1 FROM ${jobs} LIMIT 1`)).rowCount > 0);
console.log((1000 * count) / (performance.now() - since));
await runner.stop();
await pool.end();
