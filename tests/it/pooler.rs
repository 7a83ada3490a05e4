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
