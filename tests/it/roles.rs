//! The database role of the service under compose may read and write rows, and define nothing. What gives it its rights may be
//! repeated at any time.

use reqwest::Url;
use sqlx::AssertSqlSafe;

use crate::harness::{World, until};

/// The script that Compose runs at every start.
const ROLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/postgres/roles.sh");

/// What PostgreSQL has stored of the passwords.
const PASSWORDS: &str = "SELECT string_agg(rolpassword, ' ' ORDER BY rolname) FROM pg_authid \
                         WHERE rolname IN ('flash_sale', 'flash_sale_owner')";

#[tokio::test(flavor = "multi_thread")]
async fn the_service_sells_and_opens_sales_without_the_right_to_define_anything() {
    let mut world = World::plan(0).private_postgres().start().await;
    let database: String = scalar(&world, "SELECT current_database()").await;
    set_roles(&world, &database, "first").await;
    let url = world.program.value("DATABASE_URL").to_owned();

    let owner = world.program.clone().variable("DATABASE_URL", &as_role(&url, "flash_sale_owner"));
    owner.run(&["migrate"]).await.succeeded();
    world.program = world
        .program
        .clone()
        .variable("DATABASE_URL", &as_role(&url, "flash_sale"))
        .set("database.migrate_on_start", "false")
        .set("jobs.enabled", "true")
        .set("schedule.enabled", "true")
        .set("schedule.items", "50")
        .set("retention.keep", "1s");
    world.start(1).await;

    let active = world.at(0).get("/sales/active").await.is(200);
    let scheduled = active.at("/data/0/sale_id").as_str().unwrap().to_owned();
    world.at(0).buys(&scheduled, "ann", "1").await;
    let created = world.create_sale("--items 3").await;
    world.at(0).buys(&created, "ann", "2").await;
    let job = world.prints("schedule run prune-jobs").await["id"].as_i64().unwrap();
    world.job_is(job, "done").await;
    world.verify().await;
    old_tables_are_dropped(&world).await;

    // Again, while the service sells: the password changes, and nothing else does.
    let before = scalar(&world, PASSWORDS).await;
    set_roles(&world, &database, "second").await;
    assert_ne!(scalar(&world, PASSWORDS).await, before);
    world.at(0).buys(&created, "bob", "3").await;

    for forbidden in ["CREATE TABLE public.mine ()", "DROP TABLE sales", "TRUNCATE purchases"] {
        let attempt = format!("SET ROLE flash_sale; {forbidden}");
        let refused = sqlx::raw_sql(AssertSqlSafe(attempt)).execute(world.pool()).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("permission denied") || error.contains("must be owner"), "{error}");
        sqlx::raw_sql("RESET ROLE").execute(world.pool()).await.unwrap();
    }
}

/// The tables of a sale that has ended leave, though the service may drop nothing by itself.
async fn old_tables_are_dropped(world: &World) {
    let next = "SELECT setval('sale_ids', $1)";
    sqlx::query(next).bind(200_i64).execute(world.pool()).await.unwrap();
    let old = world.create_sale("--items 3").await;
    world.at(0).buys(&old, "ann", "1").await;
    world.end(&old).await;
    sqlx::query(next).bind(300_i64).execute(world.pool()).await.unwrap();
    until("the old tables are gone", async || {
        let job = world.prints("schedule run drop-sales").await["id"].as_i64().unwrap();
        world.job_is(job, "done").await;
        let left =
            "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_from\\_200' AND relkind = 'r'";
        sqlx::query_scalar::<_, i64>(left).fetch_one(world.pool()).await.unwrap() == 0
    })
    .await;
    // An instance knows within a second.
    let archived = async || world.at(0).get(&format!("/sales/{old}")).await.status == 410;
    until("it is archived", archived).await;
    world.verify().await;
}

async fn set_roles(world: &World, database: &str, password: &str) {
    let statements = AssertSqlSafe(roles(database, password));
    sqlx::raw_sql(statements).execute(world.pool()).await.unwrap();
}

/// The statements of the script, with `psql`'s variables replaced.
fn roles(database: &str, password: &str) -> String {
    let script = std::fs::read_to_string(ROLES).unwrap();
    let (_, statements) = script.split_once("<<'SQL'\n").unwrap();
    let (statements, _) = statements.split_once("\nSQL\n").unwrap();
    let lines = statements.lines().filter(|line| !line.starts_with('\\'));
    let statements: Vec<_> = lines.collect();
    statements
        .join("\n")
        .replace(":'postgres_password'", &format!("'{password} superuser'"))
        .replace(":'owner_password'", &format!("'{password} owner'"))
        .replace(":'service_password'", &format!("'{password} service'"))
        .replace(":\"DBNAME\"", &format!("\"{database}\""))
}

fn as_role(url: &str, role: &str) -> String {
    let mut url = Url::parse(url).unwrap();
    url.set_username(role).unwrap();
    url.to_string()
}

async fn scalar(world: &World, sql: &'static str) -> String {
    sqlx::query_scalar(sql).fetch_one(world.pool()).await.unwrap()
}
