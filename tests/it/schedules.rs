//! Schedules of jobs: listed, changed while workers run, and each run once.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{World, eventually, until};

/// A world without instances whose schema is there.
async fn migrated() -> World {
    let world = World::of(0).await;
    world.program.run(&["migrate"]).await.succeeded();
    world
}

/// Adds a schedule of `noop`.
async fn add(world: &World, name: &str, cron: &str) -> Value {
    world.printed(&["schedule", "add", name, "--cron", cron, "--type", "noop"]).await
}

async fn listed(world: &World, name: &str) -> Option<Value> {
    let list = world.prints("schedule list").await;
    assert_eq!(list["next_cursor"], Value::Null);
    list["data"].as_array().unwrap().iter().find(|schedule| schedule["name"] == name).cloned()
}

/// The times of the runs of a schedule so far, as they stand in the keys, which are unique.
async fn runs(world: &World, name: &str) -> i64 {
    let runs = "SELECT count(*) FROM river_job WHERE metadata->>'schedule' = $1";
    sqlx::query_scalar(runs).bind(name).fetch_one(world.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_run_a_schedule_of_every_second_once_a_second() {
    let world = migrated().await;
    add(&world, "seconds", "* * * * * *").await;

    let workers = [world.worker().await, world.worker().await];
    until("it has run five times", async || runs(&world, "seconds").await >= 5).await;

    let after = "SELECT count(*) FROM river_job WHERE metadata->>'schedule' = 'seconds'
                 AND created_at >= (SELECT min(created_at) + interval '1 second' FROM river_job
                                    WHERE metadata->>'schedule' = 'seconds')
                 GROUP BY date_trunc('second', created_at) HAVING count(*) > 1";
    let twice: Vec<i64> = sqlx::query_scalar(after).fetch_all(world.pool()).await.unwrap();
    assert_eq!(twice, Vec::<i64>::new());
    until("its last job has succeeded", async || {
        listed(&world, "seconds").await.unwrap()["last_outcome"] == "succeeded"
    })
    .await;
    let mut counted = 0.0;
    for worker in &workers {
        let ran = ["name=\"seconds\"", "outcome=\"succeeded\""];
        counted += worker.metrics().await.sum("flash_sale_schedule_runs_total", &ran);
    }
    assert!(counted >= 1.0, "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_added_paused_resumed_run_and_removed_while_a_worker_runs() {
    let world = migrated().await;
    let _worker = world.worker().await;

    let added = add(&world, "nightly", "0 30 4 * * *").await;

    let expected = json!({ "name": "nightly", "cron": "0 30 4 * * *", "time_zone": "UTC",
        "type": "noop", "paused": false, "last_run_at": null, "last_outcome": null });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&added[field], value, "{field} of {added}");
    }
    assert!(added["next_run_at"].as_str().unwrap().ends_with("T04:30:00Z"), "{added}");
    let paused = world.prints("schedule pause nightly").await;
    assert_eq!((&paused["paused"], &paused["next_run_at"]), (&json!(true), &Value::Null));
    // Also a paused one runs when an operator says so.
    let job = world.prints("schedule run nightly").await;
    assert_eq!(job["schedule"], "nightly");
    world.job_is(job["id"].as_i64().unwrap(), "done").await;
    let ran = eventually("the outcome is recorded", async || {
        let ran = listed(&world, "nightly").await?;
        (ran["last_outcome"] == "succeeded").then_some(ran)
    })
    .await;
    assert!(ran["last_run_at"].is_string(), "{ran}");
    let resumed = world.prints("schedule resume nightly").await;
    assert_eq!(
        (&resumed["paused"], &resumed["next_run_at"]),
        (&json!(false), &added["next_run_at"])
    );
    let removed = world.prints("schedule remove nightly").await;
    assert_eq!(removed["name"], "nightly");
    assert_eq!(listed(&world, "nightly").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_runs_are_made_up_for_once() {
    let world = migrated().await;
    add(&world, "minutes", "0 * * * * *").await;
    let late = "UPDATE schedules SET next_run_at = date_trunc('minute', now()) - interval '1 hour' WHERE name = 'minutes'";
    sqlx::query(late).execute(world.pool()).await.unwrap();

    let worker = world.worker().await;
    until("it has run", async || runs(&world, "minutes").await > 0).await;
    until("its next run is ahead", async || {
        let ahead = "SELECT next_run_at > clock_timestamp() FROM schedules WHERE name = 'minutes'";
        sqlx::query_scalar(ahead).fetch_one(world.pool()).await.unwrap()
    })
    .await;

    // One more if a minute began meanwhile.
    assert!(runs(&world, "minutes").await <= 2);
    // Counted a moment after the commit.
    let missed = eventually("missed runs are counted", async || {
        let missed = ["name=\"minutes\"", "outcome=\"missed\""];
        let missed = worker.metrics().await.sum("flash_sale_schedule_runs_total", &missed);
        (missed > 0.0).then_some(missed)
    })
    .await;
    assert!((59.0..=61.0).contains(&missed), "{missed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_has_paused_or_removed_stays_so_after_a_restart() {
    let mut world = World::plan(1).set("jobs.enabled", "true").start().await;
    assert!(listed(&world, "prune-keys").await.is_some());
    assert!(listed(&world, "prune-jobs").await.is_some());
    world.prints("schedule remove prune-keys").await;
    world.prints("schedule pause prune-jobs").await;

    world.restart().await;
    world.program.run(&["migrate"]).await.succeeded();

    assert_eq!(listed(&world, "prune-keys").await, None);
    assert_eq!(listed(&world, "prune-jobs").await.unwrap()["paused"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_cannot_run_is_refused_and_one_that_fails_says_so() {
    let world = World::plan(0).set("jobs.max_attempts", "1").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    add(&world, "taken", "0 0 0 * * *").await;
    let refused: [&[&str]; 7] = [
        &["taken", "--cron", "0 0 0 * * *", "--type", "noop"],
        &["a", "--cron", "0 0 * * *", "--type", "noop"],
        &["a", "--cron", "soon", "--type", "noop"],
        &["a", "--cron", "0 0 0 30 2 *", "--type", "noop"],
        &["a", "--cron", "0 0 0 * * *", "--type", "rebuild"],
        &["a", "--cron", "0 0 0 * * *", "--type", "noop", "--payload", "[1]"],
        &["a", "--cron", "0 0 0 * * *", "--type", "noop", "--time-zone", "Mars/Base"],
    ];
    for arguments in refused {
        let ran = world.program.run(&[&["schedule", "add"], arguments].concat()).await;
        assert_eq!((ran.code, ran.complaint().len()), (Some(1), 1), "{arguments:?}: {ran}");
    }
    for command in ["pause", "resume", "run", "remove"] {
        let ran = world.program.run(&["schedule", command, "nobody"]).await;
        assert_eq!(ran.code, Some(1), "{ran}");
        let bad = world.program.run(&["schedule", command, "No Name"]).await;
        assert_eq!(bad.code, Some(2), "{bad}");
    }
    let fails =
        ["schedule", "add", "fails", "--cron", "* * * * * *", "--type", "noop", "--payload"];
    world.printed(&[&fails[..], &[r#"{"fail":"no luck"}"#]].concat()).await;

    let mut worker = world.worker().await;

    until("its outcome is known", async || {
        listed(&world, "fails").await.unwrap()["last_outcome"] == "dead"
    })
    .await;
    let dead = ["name=\"fails\"", "outcome=\"dead\""];
    let dead = worker.metrics().await.sum("flash_sale_schedule_runs_total", &dead);
    assert!(dead >= 1.0, "{dead}");
    worker.process.signal(Signal::SIGTERM);
    assert_eq!(worker.process.exit().await, Some(0));
}
