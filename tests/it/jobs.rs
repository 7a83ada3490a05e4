//! Jobs: enqueued from the command line, run by `flash-sale worker` and by `serve`, on real servers.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::commands::Ran;
use crate::harness::process::Process;
use crate::harness::{World, eventually, until, wrong_clock};
use crate::proxy::{Proxy, Way, Ways};

/// A job that runs until it is ended.
const LONG: &[&str] = &["--payload", r#"{"seconds":3600}"#];
/// A job that fails.
const FAILING: &[&str] = &["--payload", r#"{"fail":"no luck"}"#];

async fn run(world: &World, arguments: &[&str]) -> Ran {
    world.program.run(arguments).await
}

/// Waits until this worker runs a job that another one ran before it.
async fn runs_next(world: &World, job: i64, worker: &str) {
    until("the other worker runs the job", async || {
        let by = "SELECT attempted_by[2] FROM river_job WHERE id = $1 AND state = 'running'";
        let by: Option<Option<String>> =
            sqlx::query_scalar(by).bind(job).fetch_optional(world.pool()).await.unwrap();
        by.flatten().as_deref() == Some(worker)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enqueued_job_is_run_and_shown() {
    let world = World::of(1).await;

    let enqueued = world.printed(&["job", "enqueue", "noop", "--priority", "high"]).await;

    let id = enqueued["id"].as_i64().unwrap();
    let expected = json!({ "type": "noop", "priority": "high", "state": "waiting", "attempts": 0,
        "max_attempts": 12, "last_error": null, "payload": {}, "is_new": true });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&enqueued[field], value, "{field} of {enqueued}");
    }
    assert!(enqueued["run_at"].is_string() && enqueued["created_at"].is_string(), "{enqueued}");
    let worker = world.worker().await;
    let done = world.job_is(id, "done").await;
    assert_eq!((&done["attempts"], &done["worker"]), (&json!(1), &json!(worker.name)));
    let ran = worker.metrics().await;
    let labels = ["type=\"noop\"", "outcome=\"succeeded\""];
    assert!((ran.sum("flash_sale_job_runs_total", &labels) - 1.0).abs() < f64::EPSILON);
    worker.monitor.get("/healthz").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_serves_runs_jobs_too() {
    let world = World::plan(1).set("jobs.enabled", "true").start().await;
    let sale = world.create_sale("--items 3").await;

    let noop = world.enqueue("noop", &[]).await;
    let payload = json!({ "sale_id": sale }).to_string();
    let rebuild = world.enqueue("rebuild_filter", &["--payload", &payload]).await;
    let unknown = world.enqueue("rebuild_filter", &["--payload", r#"{"sale_id":"S-99"}"#]).await;

    world.job_is(noop, "done").await;
    world.job_is(rebuild, "done").await;
    // No attempt would mend that.
    let dead = world.job_is(unknown, "dead").await;
    assert_eq!((&dead["attempts"], &dead["last_error"]), (&json!(1), &json!("S-99 is not open")));
    world.at(0).buys(&sale, "ann", "1").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_of_a_killed_worker_is_run_by_another() {
    let world = World::of(0).await;
    world.program.run(&["migrate"]).await.succeeded();
    let mut victim = world.worker().await;
    let id = world.enqueue("noop", LONG).await;
    assert_eq!(world.job_is(id, "running").await["worker"], victim.name);
    let other = world.worker().await;

    victim.process.signal(Signal::SIGKILL);
    victim.process.exit().await;

    let taken = eventually("the other worker runs the job", async || {
        let worker = "SELECT attempted_by[2] FROM river_job WHERE id = $1 AND state = 'running'";
        let worker: Option<Option<String>> =
            sqlx::query_scalar(worker).bind(id).fetch_optional(world.pool()).await.unwrap();
        worker.flatten()
    })
    .await;
    assert_eq!(taken, other.name);
    let job = world.prints(&format!("job show {id}")).await;
    assert_eq!(job["attempts"], 2);
    assert_eq!(job["last_error"], format!("its worker {} died", victim.name));
    until("it is counted", async || {
        let taken = other.metrics().await.sum("flash_sale_jobs_taken_over_total", &[]);
        (taken - 1.0).abs() < f64::EPSILON
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_cut_off_leaves_the_job_that_another_one_has_taken_over() {
    let world = World::of(0).await;
    let link = Proxy::before(world.postgres_address()).unwrap();
    let url = world.url_through(link.address);
    let cut_off = world.worker_with(&[("DATABASE_URL", url.as_str())]).await;
    let id = world.enqueue("noop", LONG).await;
    assert_eq!(world.job_is(id, "running").await["worker"], cut_off.name);
    let other = world.worker().await;

    link.lead(Ways::both(Way::Lossy));
    runs_next(&world, id, &other.name).await;
    link.cut();
    link.lead(Ways::both(Way::Clear));

    // It writes the ends of its jobs in their order, so that of the long one was written before.
    until("the worker that was cut off knows, and has done another job", async || {
        let knows = |record: &Value| record["message"] == "a job is another worker's now";
        let knows = cut_off.process.stderr.records().iter().any(knows);
        let next = world.enqueue("noop", &[]).await;
        let next = world.job_is(next, "done").await;
        knows && next["worker"] == cut_off.name
    })
    .await;
    let job = world.prints(&format!("job show {id}")).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("running"), &json!(2)));
    assert_eq!(job["worker"], other.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_its_workers_is_dead_in_the_end_and_reported() {
    let world = World::plan(0).set("jobs.max_attempts", "2").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let add = ["schedule", "add", "killer", "--cron", "0 0 0 1 1 *", "--type", "noop"];
    world.printed(&[&add, LONG].concat()).await;
    let id = world.prints("schedule run killer").await["id"].as_i64().unwrap();

    for _ in 0..2 {
        let mut worker = world.worker().await;
        until("the worker runs the job", async || {
            let by = "SELECT attempted_by[array_upper(attempted_by, 1)] FROM river_job
                      WHERE id = $1 AND state = 'running'";
            let by: Option<String> =
                sqlx::query_scalar(by).bind(id).fetch_optional(world.pool()).await.unwrap();
            by.as_ref() == Some(&worker.name)
        })
        .await;
        worker.process.signal(Signal::SIGKILL);
        worker.process.exit().await;
    }
    let last = world.worker().await;

    assert_eq!(world.job_is(id, "dead").await["attempts"], 2);
    until("it is reported", async || {
        let is_line = |record: &Value| record["message"] == "a job is dead" && record["job"] == id;
        let died = ["name=\"killer\"", "outcome=\"dead\""];
        let died = last.metrics().await.sum("flash_sale_schedule_runs_total", &died);
        last.process.stderr.records().iter().any(is_line) && (died - 1.0).abs() < f64::EPSILON
    })
    .await;
    let schedules = world.prints("schedule list").await;
    let schedules = schedules["data"].as_array().unwrap();
    let killer = schedules.iter().find(|schedule| schedule["name"] == "killer").unwrap();
    assert_eq!(killer["last_outcome"], "dead", "{killer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_alive_keeps_its_job() {
    let world = World::of(0).await;
    world.program.run(&["migrate"]).await.succeeded();
    let (first, second) = (world.worker().await, world.worker().await);
    let id = world.enqueue("noop", LONG).await;
    world.job_is(id, "running").await;

    // Longer than a lease.
    until("the job has run for five seconds", async || {
        let runs = "SELECT clock_timestamp() - attempted_at > interval '5 seconds' FROM river_job WHERE id = $1";
        sqlx::query_scalar(runs).bind(id).fetch_one(world.pool()).await.unwrap()
    })
    .await;

    let job = world.prints(&format!("job show {id}")).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("running"), &json!(1)));
    for worker in [first, second] {
        let taken = worker.metrics().await.sum("flash_sale_jobs_taken_over_total", &[]);
        assert!(taken.abs() < f64::EPSILON, "{taken}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_whose_clocks_are_an_hour_off_run_each_job_once_and_when_it_is_time() {
    let (Some(ahead), Some(behind)) = (wrong_clock("+3600s"), wrong_clock("-3600s")) else {
        eprintln!("libfaketime is not installed, so no clock is off");
        return;
    };
    let world = World::of(0).await;
    world.program.run(&["migrate"]).await.succeeded();
    let right = world.worker().await;
    let long = world.enqueue("noop", LONG).await;
    world.job_is(long, "running").await;
    let wrong = [world.worker_with(&ahead).await, world.worker_with(&behind).await];
    let delayed = world.enqueue("noop", &["--in", "10m"]).await;
    world.printed(&["schedule", "add", "seconds", "--cron", "* * * * * *", "--type", "noop"]).await;

    // Longer than a lease, and while each of them is the one that looks at the schedules now and then.
    let mut jobs = Vec::new();
    until("the schedule has run eight times", async || {
        jobs.push(world.enqueue("noop", &[]).await);
        let runs = "SELECT count(*) FROM river_job WHERE metadata->>'schedule' = 'seconds'";
        sqlx::query_scalar::<_, i64>(runs).fetch_one(world.pool()).await.unwrap() >= 8
    })
    .await;

    for job in &jobs {
        assert_eq!(world.job_is(*job, "done").await["attempts"], 1);
    }
    world.job_is(delayed, "scheduled").await;
    let job = world.job_is(long, "running").await;
    assert_eq!((&job["worker"], &job["attempts"]), (&json!(right.name), &json!(1)));
    let twice = "SELECT metadata->>'schedule' FROM river_job
                 WHERE metadata->>'schedule' = 'seconds'
                   AND created_at >= (SELECT min(created_at) + interval '1 second' FROM river_job
                                      WHERE metadata->>'schedule' = 'seconds')
                 GROUP BY 1, date_trunc('second', created_at) HAVING count(*) > 1";
    let twice: Vec<String> = sqlx::query_scalar(twice).fetch_all(world.pool()).await.unwrap();
    assert_eq!(twice, [""; 0]);
    let next = "SELECT next_run_at - clock_timestamp() BETWEEN interval '-5 seconds' AND interval '5 seconds'
                FROM schedules WHERE name = 'seconds'";
    assert!(sqlx::query_scalar::<_, bool>(next).fetch_one(world.pool()).await.unwrap());
    for worker in wrong {
        let taken = worker.metrics().await.sum("flash_sale_jobs_taken_over_total", &[]);
        assert!(taken.abs() < f64::EPSILON, "{taken}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_job_is_retried_dies_and_can_be_put_back_and_discarded() {
    let world = World::plan(0).set("jobs.max_attempts", "2").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let worker = world.worker().await;
    let id = world.enqueue("noop", FAILING).await;

    let dead = world.job_is(id, "dead").await;

    assert_eq!((&dead["attempts"], &dead["last_error"]), (&json!(2), &json!("no luck")));
    assert_eq!(ids(&world.prints("job list --state dead --type noop").await), [id]);
    let lines = eventually("its death is logged", async || {
        let records = worker.process.stderr.records();
        let of_job = records.into_iter().filter(|record| record["job"] == id);
        let lines: Vec<Value> = of_job.map(|record| record["message"].clone()).collect();
        lines.contains(&json!("a job is dead")).then_some(lines)
    })
    .await;
    assert_eq!(lines, ["a job failed and is retried", "a job is dead"]);
    let again = world.prints(&format!("job retry {id}")).await;
    assert_eq!((&again["state"], &again["attempts"]), (&json!("waiting"), &json!(0)));
    world.job_is(id, "dead").await;
    assert_eq!(world.prints("job retry --dead").await, json!({ "retried": 1, "left": 0 }));
    world.job_is(id, "dead").await;
    assert_eq!(world.prints(&format!("job discard {id}")).await["id"], id);
    let gone = run(&world, &["job", "show", &id.to_string()]).await;
    assert_eq!(gone.code, Some(1), "{gone}");
    assert_eq!(gone.complaint().len(), 1, "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_too_long_is_ended_and_one_that_runs_is_not_discarded() {
    let world =
        World::plan(0).set("jobs.timeout", "2s").set("jobs.max_attempts", "1").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let worker = world.worker().await;
    let id = world.enqueue("noop", LONG).await;
    until("the job runs", async || {
        let runs = "SELECT state = 'running' FROM river_job WHERE id = $1";
        sqlx::query_scalar(runs).bind(id).fetch_one(world.pool()).await.unwrap()
    })
    .await;

    let refused = run(&world, &["job", "discard", &id.to_string()]).await;
    let dead = world.job_is(id, "dead").await;

    // Where the command was slower than the job, it was right to discard.
    assert_eq!(refused.code, Some(1), "{refused}");
    assert_eq!(dead["last_error"], "it took longer than 2s");
    let timed_out = ["type=\"noop\"", "outcome=\"timed_out\""];
    let timed_out = worker.metrics().await.sum("flash_sale_job_runs_total", &timed_out);
    assert!((timed_out - 1.0).abs() < f64::EPSILON, "{timed_out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_has_one_job_until_that_is_dead() {
    let world = World::of(0).await;
    world.program.run(&["migrate"]).await.succeeded();

    let command = ["job", "enqueue", "noop", "--key", "once"];
    let processes: Vec<Process> = (0..6).map(|_| world.program.start(&command)).collect();
    let mut jobs = Vec::new();
    for mut process in processes {
        assert_eq!(process.exit().await, Some(0), "{}", process.stderr.text());
        jobs.push(serde_json::from_str::<Value>(&process.stdout.text()).unwrap());
    }

    assert!(jobs.iter().all(|job| job["id"] == jobs[0]["id"]), "{jobs:?}");
    assert_eq!(jobs.iter().filter(|job| job["is_new"] == true).count(), 1, "{jobs:?}");
    let id = jobs[0]["id"].as_i64().unwrap();
    let _worker = world.worker().await;
    world.job_is(id, "done").await;
    assert_eq!(world.enqueue("noop", &["--key", "once"]).await, id);
    assert_ne!(world.enqueue("noop", &["--key", "twice"]).await, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_more_urgent_job_runs_first_and_a_delayed_one_when_it_is_time() {
    let world = World::plan(0).set("jobs.workers", "1").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let mut expected = Vec::new();
    let delayed = world.enqueue("noop", &["--priority", "critical", "--in", "1h"]).await;
    for priority in ["low", "normal", "high", "critical"] {
        let options = ["--priority", priority, "--payload", r#"{"seconds":1}"#];
        expected.insert(0, world.enqueue("noop", &options).await);
    }

    let _worker = world.worker().await;

    for id in &expected {
        world.job_is(*id, "done").await;
    }
    // In the one slot each ends a second after the one before; when they were claimed says nothing.
    let order = "SELECT array_agg(id ORDER BY finalized_at) FROM river_job WHERE state = 'completed' AND kind = 'noop'";
    let order: Vec<i64> = sqlx::query_scalar(order).fetch_one(world.pool()).await.unwrap();
    assert_eq!(order, expected);
    world.job_is(delayed, "scheduled").await;
    let due =
        "UPDATE river_job SET scheduled_at = clock_timestamp() + interval '1 second' WHERE id = $1";
    sqlx::query(due).bind(delayed).execute(world.pool()).await.unwrap();
    world.job_is(delayed, "done").await;
    let early = "SELECT attempted_at < scheduled_at FROM river_job WHERE id = $1";
    let early: bool =
        sqlx::query_scalar(early).bind(delayed).fetch_one(world.pool()).await.unwrap();
    assert!(!early);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_were_claimed_ahead_and_get_no_slot_are_given_back_and_all_run_once() {
    const SHORT: i32 = 400;
    const SLOW: i32 = 8;
    let world = World::plan(0).set("jobs.workers", "2").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    // A slow one takes longer than one that was claimed ahead waits for a slot.
    let insert = r#"INSERT INTO river_job (kind, args, max_attempts, priority)
                    SELECT 'noop', jsonb_build_object('version', 1, 'payload',
                               CASE WHEN n > $1 THEN '{"seconds":2}' ELSE '{}' END::jsonb), 3, 3
                    FROM generate_series(1, $1 + $2) AS n
                    ORDER BY n"#;
    sqlx::query(insert).bind(SHORT).bind(SLOW).execute(world.pool()).await.unwrap();

    let worker = world.worker().await;

    until("all are done", async || {
        let left = "SELECT count(*) FROM river_job WHERE kind = 'noop' AND state <> 'completed'";
        sqlx::query_scalar::<_, i64>(left).fetch_one(world.pool()).await.unwrap() == 0
    })
    .await;
    let ran = worker.metrics().await;
    let ran = |outcome: &str| {
        let labels = ["type=\"noop\"", &format!("outcome=\"{outcome}\"")];
        ran.sum("flash_sale_job_runs_total", &labels)
    };
    assert!(ran("no_slot") > 0.0, "no job was claimed ahead and given back");
    assert!((ran("succeeded") - f64::from(SHORT + SLOW)).abs() < f64::EPSILON);
    let counted = "SELECT count(*) FROM river_job WHERE kind = 'noop' AND (attempt <> 1 OR errors IS NOT NULL)";
    let counted: i64 = sqlx::query_scalar(counted).fetch_one(world.pool()).await.unwrap();
    assert_eq!(counted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_lets_jobs_finish_and_gives_long_ones_back() {
    let world = World::plan(0).set("shutdown.drain", "20s").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let mut worker = world.worker().await;
    let short = world.enqueue("noop", &["--payload", r#"{"seconds":3}"#]).await;
    let long = world.enqueue("noop", LONG).await;
    world.job_is(short, "running").await;
    world.job_is(long, "running").await;

    worker.process.signal(Signal::SIGTERM);
    let code = worker.process.exit().await;

    assert_eq!(code, Some(0));
    assert_eq!(world.job_is(short, "done").await["attempts"], 1);
    // The attempt does not count.
    assert_eq!(world.job_is(long, "waiting").await["attempts"], 0);
    let seen = "SELECT count(*) FROM job_workers";
    let seen: i64 = sqlx::query_scalar(seen).fetch_one(world.pool()).await.unwrap();
    assert_eq!(seen, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_stopping_worker_gives_back_is_run_at_once_by_another_one() {
    let world = World::plan(0).set("shutdown.drain", "2s").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let mut stopping = world.worker().await;
    let long = world.enqueue("noop", LONG).await;
    assert_eq!(world.job_is(long, "running").await["worker"], stopping.name);
    let other = world.worker().await;
    // Every state of the job, by the clock of the server.
    let watch = "CREATE TABLE changes (at timestamptz DEFAULT clock_timestamp(), state text, attempt int);
         CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO changes (state, attempt) VALUES (NEW.state, NEW.attempt); RETURN NULL; END $$;
         CREATE TRIGGER watch AFTER UPDATE ON river_job FOR EACH ROW WHEN (NEW.kind = 'noop')
             EXECUTE FUNCTION watch()";
    sqlx::raw_sql(watch).execute(world.pool()).await.unwrap();

    stopping.process.signal(Signal::SIGTERM);
    assert_eq!(stopping.process.exit().await, Some(0));

    runs_next(&world, long, &other.name).await;
    let changes = "SELECT array_agg(state || ' ' || attempt ORDER BY at) FROM changes";
    let changes: Vec<String> = sqlx::query_scalar(changes).fetch_one(world.pool()).await.unwrap();
    assert_eq!(changes, ["available 0", "running 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_enqueued_is_refused_with_what_can() {
    let world = World::of(0).await;
    world.program.run(&["migrate"]).await.succeeded();

    let unknown = run(&world, &["job", "enqueue", "rebuild"]).await;
    let wrong = ["job", "enqueue", "rebuild_filter", "--payload", r#"{"sale":"S-1"}"#];
    let wrong = run(&world, &wrong).await;
    let broken = run(&world, &["job", "enqueue", "noop", "--payload", "{"]).await;

    for (refused, named) in [(unknown, "prune_keys"), (wrong, "sale_id"), (broken, "seconds")] {
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused}");
        assert_eq!(refused.complaint().len(), 1, "{refused}");
        assert!(refused.stderr.contains(named), "{refused}");
    }
    for arguments in [
        "job enqueue noop --priority urgent",
        "job enqueue noop --in soon",
        "job show x",
        "job list --state lost",
        "job retry",
        "job retry 1 --dead",
        "job retry --type noop",
        "job discard 0",
    ] {
        let ran = run(&world, &arguments.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(ran.code, Some(2), "{arguments}: {ran}");
    }
    for arguments in [["job", "retry", "9"], ["job", "discard", "9"], ["job", "show", "9"]] {
        assert_eq!(run(&world, &arguments).await.code, Some(1));
    }
    let nowhere = world.program.clone().variable("DATABASE_URL", "postgres://127.0.0.1:1/none");
    let nowhere = nowhere.set("database.connect_timeout", "1s").run(&["job", "list"]).await;
    assert_eq!(nowhere.code, Some(2), "{nowhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_no_release_understands_kills_its_job_and_a_newer_one_waits_for_a_newer_worker()
 {
    let world = World::of(0).await;
    world.program.run(&["migrate"]).await.succeeded();
    let insert = "INSERT INTO river_job (kind, args, max_attempts, priority)
                  VALUES ('noop', '{\"version\":1,\"payload\":{\"colour\":\"red\"}}', 5, 3),
                         ('noop', '{\"version\":9,\"payload\":{}}', 5, 3),
                         ('of_a_newer_release', '{\"version\":1,\"payload\":{}}', 5, 3)
                  RETURNING id";
    let ids: Vec<i64> = sqlx::query_scalar(insert).fetch_all(world.pool()).await.unwrap();

    let _worker = world.worker().await;

    let wrong = world.job_is(ids[0], "dead").await;
    assert_eq!(wrong["attempts"], 1);
    assert!(wrong["last_error"].as_str().unwrap().contains("colour"), "{wrong}");
    let newer = world.job_is(ids[1], "retrying").await;
    assert!(newer["last_error"].as_str().unwrap().contains("version 9"), "{newer}");
    assert_eq!(world.job_is(ids[2], "waiting").await["attempts"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_dead_jobs_are_listed_by_pages_and_put_back_in_steps() {
    const DEAD: i64 = 2_500;
    let world = World::of(0).await;
    world.program.run(&["migrate"]).await.succeeded();
    let insert = "INSERT INTO river_job (kind, args, max_attempts, priority, state, attempt, finalized_at)
                  SELECT CASE n % 5 WHEN 0 THEN 'prune_keys' ELSE 'noop' END, '{\"version\":1,\"payload\":{}}',
                         3, 3, 'discarded', 3, now()
                  FROM generate_series(1, $1) AS n";
    sqlx::query(insert).bind(DEAD).execute(world.pool()).await.unwrap();

    let first = world.prints("job list --state dead --limit 1000").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second =
        world.prints(&format!("job list --state dead --limit 1000 --cursor {cursor}")).await;
    let of_type = world.prints("job retry --dead --type prune_keys").await;
    let rest = world.prints("job retry --dead").await;

    let (first, second) = (ids(&first), ids(&second));
    assert_eq!((first.len(), second.len()), (1_000, 1_000));
    assert!(first.iter().chain(&second).is_sorted_by(|one, other| one > other));
    assert_eq!(of_type, json!({ "retried": DEAD / 5, "left": 0 }));
    assert_eq!(rest, json!({ "retried": DEAD - DEAD / 5, "left": 0 }));
    assert_eq!(
        world.prints("job list --state dead").await,
        json!({ "data": [], "next_cursor": null })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_of_postgresql_a_worker_goes_on_and_has_logged_it_once() {
    let world = World::plan(0).private_postgres().start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let worker = world.worker().await;
    let long = world.enqueue("noop", LONG).await;
    world.job_is(long, "running").await;
    let postgres = world.postgres_server.as_ref().unwrap();

    postgres.run("kill-postgres");
    until("the worker has given its job up", async || {
        let lost = ["type=\"noop\"", "outcome=\"lease_lost\""];
        worker.metrics().await.sum("flash_sale_job_runs_total", &lost) > 0.0
    })
    .await;
    postgres.run("start-postgres");

    until("the job runs again", async || {
        let again = "SELECT attempt = 2 AND state = 'running' FROM river_job WHERE id = $1";
        let again = sqlx::query_scalar(again).bind(long).fetch_one(world.pool()).await;
        again.unwrap_or(false)
    })
    .await;
    let id = world.enqueue("noop", &[]).await;
    world.job_is(id, "done").await;
    let records = worker.process.stderr.records();
    let lines = |text: &str| records.iter().filter(|record| record["message"] == text).count();
    assert_eq!(lines("this worker has lost touch with postgresql"), 1);
    assert_eq!(lines("this worker is in touch with postgresql again"), 1);
}

/// The numbers of the listed jobs.
fn ids(list: &Value) -> Vec<i64> {
    list["data"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect()
}
