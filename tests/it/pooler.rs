//! A pooler stands between an instance and PostgreSQL.

use crate::harness::database::address_of;
use crate::harness::{World, until};

/// What a settlement's session has set, as the server sees it.
const RECORD: &str = "
    CREATE TABLE seen (setting text, value text);
    CREATE FUNCTION record() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.seen
        SELECT name, current_setting(name)
        FROM unnest(ARRAY['synchronous_commit', 'search_path', 'lock_timeout', 'jit']) AS name;
        RETURN NULL;
    END $$;
    CREATE TRIGGER record AFTER INSERT ON purchases FOR EACH ROW EXECUTE FUNCTION record();
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
        EXECUTE format('ALTER DATABASE %I SET search_path = elsewhere', current_database());
        EXECUTE format('ALTER DATABASE %I SET lock_timeout = 0', current_database());
        EXECUTE format('ALTER DATABASE %I SET jit = on', current_database());
    END $$";

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_that_drops_options_every_setting_holds() {
    let world = World::plan(1).private_postgres().through_a_proxy().start().await;
    let Some((pooler, url)) = world.postgres_server.as_ref().unwrap().pooler() else {
        eprintln!("PgBouncer is not installed: nothing is tested behind it");
        return;
    };
    let sale = world.create_sale("--items 3 --stock 1").await;
    sqlx::raw_sql(RECORD).execute(world.pool()).await.unwrap();
    let way = world.proxy.as_ref().unwrap();
    way.move_to(address_of(&url));
    way.cut();
    until("it sells behind the pooler", async || {
        world.at(0).checkout(&sale, "ann", "1").await.status == 200
    })
    .await;

    world.at(0).buys(&sale, "ann", "1").await;

    let seen: Vec<(String, String)> =
        sqlx::query_as("SELECT setting, value FROM public.seen ORDER BY setting")
            .fetch_all(world.pool())
            .await
            .unwrap();
    let value = |setting: &str| seen.iter().find(|(name, _)| name == setting).unwrap().1.as_str();
    assert_eq!(value("synchronous_commit"), "on");
    assert_eq!(value("search_path"), "public");
    assert_eq!(value("jit"), "off");
    assert_ne!(value("lock_timeout"), "0");

    // The pooler dies, and the name leads to the server itself.
    drop(pooler);
    way.move_to(world.postgres_address());
    until("it sells without the pooler", async || {
        world.at(0).checkout(&sale, "bob", "2").await.status == 200
    })
    .await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_strict_pooler_in_session_mode_instances_sell_together_and_run_jobs() {
    let mut world = World::plan(0).private_postgres().start().await;
    let Some((_pooler, url)) = world.postgres_server.as_ref().unwrap().strict_pooler() else {
        eprintln!("PgBouncer is not installed: nothing is tested behind it");
        return;
    };
    let through = world.through(&url);
    let refused = world.program.clone().variable("DATABASE_URL", &through).run(&["migrate"]).await;
    assert!(refused.complaint().join(" ").contains("extra_float_digits"), "{refused}");
    world.program = world
        .program
        .clone()
        .variable("DATABASE_URL", &through)
        .set("database.pooler", "session")
        .set("jobs.enabled", "true");
    world.start(3).await;

    let sale = world.create_sale("--items 9 --stock 1").await;
    for item in 1..=9 {
        world.at(item % 3).buys(&sale, &format!("buyer-{item}"), &item.to_string()).await;
    }
    let job = world.prints("schedule run prune-jobs").await["id"].as_i64().unwrap();
    world.job_is(job, "done").await;

    world.sells_exactly(&sale, 9).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_is_refused_with_what_to_set() {
    let world = World::plan(0).private_postgres().start().await;
    let Some((_pooler, url)) = world.postgres_server.as_ref().unwrap().transaction_pooler() else {
        eprintln!("PgBouncer is not installed: nothing is tested behind it");
        return;
    };
    let through = world.through(&url);
    let program = world.program.clone().variable("DATABASE_URL", &through);

    let asked_for = program.clone().set("database.pooler", "transaction").run(&["serve"]).await;

    assert_eq!(asked_for.code, Some(2), "{asked_for}");
    let complaint = asked_for.complaint().join(" ");
    assert!(complaint.contains("set pool_mode = session"), "{complaint}");
    let session = program.clone().set("database.pooler", "session");
    let found = [
        program.run(&["serve"]).await,
        program.run(&["migrate"]).await,
        session.run(&["serve"]).await,
        session.run(&["worker"]).await,
        session.run(&["migrate"]).await,
    ];
    for ran in found {
        assert_eq!(ran.code, Some(1), "{ran}");
        let complaint = ran.complaint().join(" ");
        assert!(complaint.contains("set pool_mode = session"), "{complaint}");
    }
    let listed = session.run(&["job", "list"]).await;
    assert_eq!(listed.code, Some(2), "{listed}");
    assert!(listed.complaint().join(" ").contains("set pool_mode = session"), "{listed}");
}
