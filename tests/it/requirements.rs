//! Databases as others have them: what works, what is refused before anything is written, and that every failure names its
//! cause.

use reqwest::Url;
use sqlx::AssertSqlSafe;

use crate::harness::process::Process;
use crate::harness::{World, until};

async fn execute(world: &World, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(world.pool()).await.unwrap();
}

async fn scalar<T>(world: &World, sql: &'static str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(sql).fetch_one(world.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_path_of_the_database_or_of_the_role_changes_nothing() {
    for whose in ["DATABASE", "ROLE CURRENT_USER IN DATABASE"] {
        let mut world = World::plan(0).start().await;
        let database: String = scalar(&world, "SELECT current_database()").await;
        execute(&world, "CREATE SCHEMA shop".to_owned()).await;
        execute(&world, format!("ALTER {whose} {database} SET search_path = shop, public")).await;

        world.program.run(&["migrate"]).await.succeeded();
        world.start(1).await;

        let sale = world.create_sale("--items 5").await;
        world.at(0).buys(&sale, "ann", "1").await;
        world.verify().await;
        let elsewhere = "SELECT count(*) FROM pg_class WHERE relnamespace = 'shop'::regnamespace";
        assert_eq!(scalar::<i64>(&world, elsewhere).await, 0, "{whose}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_utf8_is_refused_before_anything_is_written() {
    let world = World::plan(0).start().await;
    let database: String = scalar(&world, "SELECT current_database()").await;
    let latin = format!("{database}_latin");
    let create = format!("CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    execute(&world, create).await;
    let mut url = Url::parse(world.program.value("DATABASE_URL")).unwrap();
    url.set_path(&latin);
    let program = world.program.clone().variable("DATABASE_URL", url.as_str());

    let mut refusals = Vec::new();
    for command in ["migrate", "serve"] {
        refusals.push(program.run(&[command]).await);
    }

    let pool = sqlx::PgPool::connect(url.as_str()).await.unwrap();
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&pool).await.unwrap();
    pool.close().await;
    execute(&world, format!("DROP DATABASE {latin} WITH (FORCE)")).await;
    assert_eq!(tables, 0);
    for refused in refusals {
        assert_eq!(refused.code, Some(1), "{refused}");
        let last = refused.stderr.lines().last().unwrap_or_default();
        assert!(last.contains("LATIN1") && last.contains("ENCODING 'UTF8'"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_a_new_sale_is_named_by_the_command_and_by_the_schedule() {
    const CAUSE: &str = "no_more_sales";
    let mut world = World::plan(0).set("schedule.enabled", "true").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let forbid = format!("ALTER TABLE sales ADD CONSTRAINT {CAUSE} CHECK (false)");
    execute(&world, forbid).await;

    let refused = world.program.run(&["sale", "create", "--items", "5"]).await;
    world.start(1).await;

    assert_eq!(refused.code, Some(1), "{refused}");
    let [complaint] = refused.complaint()[..] else { panic!("{refused}") };
    assert!(complaint.contains("the new sale failed: ") && complaint.contains(CAUSE), "{refused}");
    let log = &world.instances[0].process;
    for message in ["cannot open the scheduled sale yet", "background task fails"] {
        until(message, async || is_explained(log, message, CAUSE)).await;
    }
}

/// Whether a warning with this message names the cause.
fn is_explained(log: &Process, message: &str, cause: &str) -> bool {
    let explains = |record: &serde_json::Value| {
        record["level"] == "WARN"
            && record["message"] == message
            && record["error"].as_str().is_some_and(|error| error.contains(cause))
    };
    log.stderr.records().iter().any(explains)
}
