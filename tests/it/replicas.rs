//! Replicas answer lists and reports, while they are recent copies of the primary.

#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

use std::time::{Duration, Instant};

use crate::harness::database::address_of;
use crate::harness::servers::PrivateServers;
use crate::harness::standby::Standby;
use crate::harness::{World, until};
use crate::proxy::{Proxy, Way, Ways};

/// A limit that no replica exceeds here, however long it is paused.
const NO_LIMIT: &str = "1h";
/// A name that items get on the primary alone.
const RENAME: &str = "UPDATE items SET name = 'renamed'";

/// A shop whose instances 1 and 2 have a replica; instance 0 has none.
struct Shop {
    world: World,
    standby: Standby,
    /// Between the instances and the replica.
    proxy: Proxy,
    sale: String,
}

impl Shop {
    async fn open(max_lag: &str) -> Self {
        Self::open_with(max_lag, &[]).await
    }

    async fn open_with(max_lag: &str, settings: &[(&str, &str)]) -> Self {
        let plan = World::plan(1).private_postgres().through_a_proxy().set_all(settings);
        let mut world = plan.set("database.replica_max_lag", max_lag).start().await;
        let sale = world.create_sale("--items 40 --stock 99").await;
        let primary = world.postgres_server.as_ref().unwrap();
        let standby = Standby::of(primary, |server| world.pool_on(server));
        standby.catches_up(world.pool()).await;
        let proxy = Proxy::before(address_of(&standby.url)).unwrap();
        let replica = world.url_through(proxy.address);
        world.program = world.program.clone().set("database.replicas", &replica);
        world.start(2).await;
        let shop = Self { world, standby, proxy, sale };
        shop.replica_is(1, true).await;
        shop.replica_is(2, true).await;
        shop
    }

    /// The label of the replica.
    fn replica(&self) -> String {
        self.proxy.address.to_string()
    }

    async fn replica_is(&self, instance: usize, up: bool) {
        until(&format!("instance {instance} reads from the replica: {up}"), async || {
            let metrics = self.world.metrics(instance).await;
            let up_now = metrics.sum("flash_sale_replica_up", &[&self.replica()]);
            up_now == f64::from(u8::from(up))
        })
        .await;
    }

    async fn shows_a_lag(&self, instance: usize) -> bool {
        let metrics = self.world.instances[instance].monitor.get("/metrics").await.is(200);
        metrics.body.contains("flash_sale_replica_lag_seconds{")
    }

    async fn reads_from(&self, instance: usize, server: &str) -> f64 {
        self.world.metrics(instance).await.sum("flash_sale_reads_total", &[server])
    }

    /// The name of the first item in the list of an instance.
    async fn listed_name(&self, instance: usize) -> String {
        let list = format!("/v2/sales/{}/items?limit=5", self.sale);
        let page = self.world.at(instance).get(&list).await.is(200);
        page.at("/data/0/name").as_str().unwrap().to_owned()
    }

    async fn rename_items(&self) {
        sqlx::raw_sql(RENAME).execute(self.world.pool()).await.unwrap();
    }

    /// How often an instance has logged that it does not read from the replica.
    fn warnings(&self, instance: usize) -> usize {
        let records = self.world.instances[instance].process.stderr.records();
        let is_one = |message: &str| message.starts_with("a replica is not read from");
        records.iter().filter(|record| record["message"].as_str().is_some_and(is_one)).count()
    }

    async fn healthz(&self, instance: usize) -> serde_json::Value {
        self.world.instances[instance].monitor.get("/healthz").await.is(200).json()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_items_come_from_the_replica_and_no_read_reaches_the_primary() {
    const PAGES: u16 = 50;
    let shop = Shop::open(NO_LIMIT).await;
    // From now on the two differ, so that a page shows where it is from.
    shop.standby.is_paused().await;
    shop.rename_items().await;
    let at_primary = async || {
        let read = ["statement=\"read\""];
        let metrics = shop.world.metrics(1).await;
        metrics.sum("flash_sale_db_query_duration_seconds_count", &read)
    };
    let (before, replica) = (at_primary().await, shop.reads_from(1, "replica").await);

    for _ in 0..PAGES {
        assert_ne!(shop.listed_name(1).await, "renamed");
    }

    assert_eq!(at_primary().await, before);
    assert_eq!(shop.reads_from(1, "replica").await, replica + f64::from(PAGES));
    assert_eq!(shop.listed_name(0).await, "renamed");
    assert_eq!(shop.reads_from(0, "primary").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_who_has_just_bought_sees_the_purchase_at_every_instance() {
    let shop = Shop::open(NO_LIMIT).await;
    let sees = async |instance: usize, buyer: &str, code: &str| {
        for list in ["/v2/buyers", "/users"] {
            let list = format!("{list}/{buyer}/purchases");
            let list = shop.world.at(instance).get(&list).await.is(200);
            assert_eq!(list.at("/data/0/code"), code, "instance {instance}: {}", list.body);
        }
    };
    for round in 0..20 {
        let buyer = format!("quick-{round}");
        let code = shop.world.at(round % 3).buys(&shop.sale, &buyer, "1").await;
        sees((round + 1) % 3, &buyer, &code).await;
    }
    assert!(shop.reads_from(1, "replica").await > 0.0);

    // However far the replica is behind.
    shop.standby.is_paused().await;
    let code = shop.world.at(0).buys(&shop.sale, "ann", "1").await;
    for instance in 0..3 {
        sees(instance, "ann", &code).await;
    }
    let metrics = shop.world.metrics(1).await;
    assert!(metrics.sum("flash_sale_replica_fallbacks_total", &["behind"]) > 0.0);
    until("the sum of the sale has the purchase", async || {
        let sale = shop.world.at(1).get(&format!("/sales/{}", shop.sale)).await.is(200);
        sale.at("/sold") == 21
    })
    .await;
    // So do commands.
    let report = shop.world.printed(&["sale", "report", &shop.sale]).await;
    assert_eq!(report["sold"], 21, "{report}");
    let listed = shop.world.program.run(&["sale", "list"]).await.succeeded().documents();
    assert_eq!(listed[0]["sold"], 21, "{listed:?}");
    shop.world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_sees_a_purchase_that_a_replica_had_before_it_crashed_and_has_no_more() {
    let shop = Shop::open(NO_LIMIT).await;
    // Here it begins again after the crash.
    sqlx::raw_sql("CHECKPOINT").execute(shop.world.pool()).await.unwrap();
    shop.standby.catches_up(shop.world.pool()).await;
    shop.standby.execute("CHECKPOINT").await;
    let code = shop.world.at(0).buys(&shop.sale, "ann", "1").await;
    shop.standby.catches_up(shop.world.pool()).await;
    let sees = async || {
        let list = shop.world.at(1).get("/v2/buyers/ann/purchases").await.is(200);
        assert_eq!(list.at("/data/0/code"), code, "{}", list.body);
    };
    let before = shop.reads_from(1, "replica").await;
    until("the replica has answered with the purchase", async || {
        sees().await;
        shop.reads_from(1, "replica").await > before
    })
    .await;

    // From its next start on it holds purchases back.
    shop.standby.execute("ALTER SYSTEM SET recovery_min_apply_delay = '1d'").await;
    shop.standby.servers.run("kill-postgres");
    shop.replica_is(1, false).await;
    shop.standby.servers.run("start-postgres");
    shop.replica_is(1, true).await;

    for _ in 0..5 {
        sees().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_who_do_not_wait_for_a_slow_replica_cause_no_log_in() {
    // Longer than a reader waits, and shorter than an examination.
    const SLOW: Way = Way::Delayed(Duration::from_millis(150));
    let shop = Shop::open(NO_LIMIT).await;
    let standby = shop.world.pool_on(&shop.standby.url);
    // Those of the two instances, and perhaps one that is being opened for a read.
    let examinations = async || -> Vec<i32> {
        let asked_last = "SELECT pid FROM pg_stat_activity
                          WHERE query LIKE '%pg_control_system%' AND pid <> pg_backend_pid()";
        sqlx::query_scalar(asked_last).fetch_all(&standby).await.unwrap()
    };
    let before = examinations().await;
    assert_eq!(before.len(), 2);

    shop.proxy.lead(Ways { there: Way::Clear, back: SLOW });
    for round in 0..10 {
        let buyer = format!("patient-{round}");
        let code = shop.world.at(0).buys(&shop.sale, &buyer, "1").await;
        let list = format!("/v2/buyers/{buyer}/purchases");
        let list = shop.world.at(1).get(&list).await.is(200);
        assert_eq!(list.at("/data/0/code"), code, "{}", list.body);
    }

    let metrics = shop.world.metrics(1).await;
    assert!(metrics.sum("flash_sale_replica_fallbacks_total", &["behind"]) > 0.0);
    let after = examinations().await;
    assert!(before.iter().all(|pid| after.contains(pid)), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_is_not_read_from_and_is_again_when_it_has_caught_up() {
    let shop = Shop::open("2s").await;
    let before = shop.warnings(1);

    shop.standby.is_paused().await;
    shop.rename_items().await;
    shop.replica_is(1, false).await;

    assert_eq!(shop.listed_name(1).await, "renamed");
    until("the lag is shown", async || {
        let lag = shop.world.metrics(1).await.sum("flash_sale_replica_lag_seconds", &[]);
        lag > 4.0
    })
    .await;
    assert_eq!(shop.warnings(1), before + 1);
    let health = shop.healthz(1).await;
    let named = &health["checks"][format!("replica {}", shop.replica())];
    assert_eq!((&health["status"], &named["status"]), (&"degraded".into(), &"degraded".into()));
    assert!(named["message"].as_str().unwrap().contains("lags"), "{health}");

    shop.standby.goes_on().await;
    shop.replica_is(1, true).await;
    let replica = shop.reads_from(1, "replica").await;
    assert_eq!(shop.listed_name(1).await, "renamed");
    until("the replica is read from again", async || {
        shop.listed_name(1).await;
        shop.reads_from(1, "replica").await > replica
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_cached_after_a_purchase_has_it_however_far_the_replica_is_behind() {
    let cached = [("cache.enabled", "true"), ("cache.items_ttl", "30m")];
    let shop = Shop::open_with(NO_LIMIT, &cached).await;
    let list = format!("/v2/sales/{}/items?limit=5", shop.sale);
    let remaining = async |instance: usize| {
        shop.world.at(instance).get(&list).await.is(200).at("/data/0/pieces/remaining")
    };
    for instance in [1, 2] {
        assert_eq!(remaining(instance).await, 99);
    }

    shop.standby.is_paused().await;
    shop.world.at(1).buys(&shop.sale, "ann", "1").await;

    assert_eq!(remaining(1).await, 98);
    // Who hears of it later finds the page in Redis or reads it.
    until("the other instance shows the purchase", async || remaining(2).await == 98).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_kept_a_minute_behind_is_not_read_from_and_is_when_it_follows_at_once() {
    let shop = Shop::open("2s").await;
    shop.standby.execute("ALTER SYSTEM SET recovery_min_apply_delay = '1min'").await;
    shop.standby.execute("SELECT pg_reload_conf()").await;

    // Something is sold all the time, and the replica has it a minute later.
    until("the replica is not read from", async || {
        shop.rename_items().await;
        let up = shop.world.metrics(1).await.sum("flash_sale_replica_up", &[&shop.replica()]);
        up == 0.0
    })
    .await;
    shop.replica_is(2, false).await;
    let code = shop.world.at(1).buys(&shop.sale, "ann", "1").await;
    for instance in [1, 2] {
        assert_eq!(shop.listed_name(instance).await, "renamed");
        let list = shop.world.at(instance).get("/v2/buyers/ann/purchases").await.is(200);
        assert_eq!(list.at("/data/0/code"), code);
    }
    let lag = shop.world.metrics(1).await.sum("flash_sale_replica_lag_seconds", &[&shop.replica()]);
    assert!(lag > 2.0, "{lag}");

    shop.standby.execute("ALTER SYSTEM RESET recovery_min_apply_delay").await;
    shop.standby.execute("SELECT pg_reload_conf()").await;
    for instance in [1, 2] {
        shop.replica_is(instance, true).await;
    }
    shop.world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_writes_nothing_makes_no_replica_look_old() {
    const LIMIT: Duration = Duration::from_millis(500);
    let shop = Shop::open("500ms").await;
    let position = async || {
        let position = "SELECT pg_current_wal_lsn()::text";
        sqlx::query_scalar::<_, String>(position).fetch_one(shop.world.pool()).await.unwrap()
    };
    let (mut since, mut known) = (Instant::now(), position().await);

    // Several times as long as the limit without a write.
    until("the primary writes nothing for a while", async || {
        let now = position().await;
        if now != known {
            (since, known) = (Instant::now(), now);
        }
        since.elapsed() > LIMIT * 4
    })
    .await;

    shop.replica_is(1, true).await;
    let lag = shop.world.metrics(1).await.sum("flash_sale_replica_lag_seconds", &[]);
    assert!(lag < LIMIT.as_secs_f64(), "{lag}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_is_never_read_from() {
    let shop = Shop::open(NO_LIMIT).await;

    shop.standby.servers.run("promote-postgres");
    shop.standby.execute("SELECT 1").await;
    let fork = World::pool_on(&shop.world, &shop.standby.url);
    sqlx::raw_sql("UPDATE items SET name = 'forked'").execute(&fork).await.unwrap();
    for _ in 0..30 {
        assert_ne!(shop.listed_name(1).await, "forked");
    }

    shop.replica_is(1, false).await;
    let health = shop.healthz(1).await.to_string();
    assert!(health.contains("promoted"), "{health}");
    for _ in 0..30 {
        assert_ne!(shop.listed_name(1).await, "forked");
    }
    shop.world.at(1).buys(&shop.sale, "ann", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_answered_while_a_replica_is_killed_hangs_and_comes_back() {
    let shop = Shop::open("1s").await;

    shop.standby.servers.run("kill-postgres");
    for _ in 0..10 {
        shop.listed_name(1).await;
    }
    shop.replica_is(1, false).await;
    // What is not known is not shown.
    assert!(!shop.shows_a_lag(1).await);
    assert!(!shop.healthz(1).await.to_string().contains("lag_ms"));
    shop.standby.servers.run("start-postgres");
    shop.replica_is(1, true).await;
    assert!(shop.shows_a_lag(1).await);

    // A host that vanishes answers nothing, and a list waits for it for a bounded time.
    shop.proxy.stall(true);
    let asked = Instant::now();
    shop.listed_name(1).await;
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    shop.replica_is(1, false).await;
    shop.proxy.stall(false);
    shop.replica_is(1, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_copy_is_not_read_from_and_the_reason_is_named() {
    let mut world = World::of(1).await;
    let sale = world.create_sale("--items 3").await;
    let (_other, url) = PrivateServers::postgres();
    let address = address_of(&url);
    let other = format!("postgres://postgres@{address}/postgres?sslmode=disable");
    world.program = world.program.clone().set("database.replicas", &other);
    world.start(1).await;

    world.at(1).get(&format!("/v2/sales/{sale}/items")).await.is(200);

    let metrics = world.metrics(1).await;
    assert_eq!(metrics.sum("flash_sale_reads_total", &["primary"]), 1.0);
    assert_eq!(metrics.sum("flash_sale_replica_fallbacks_total", &["none_fresh"]), 1.0);
    let health = world.instances[1].monitor.get("/healthz").await.is(200);
    assert!(health.body.contains("it is no copy of the database"), "{}", health.body);
    let public = world.at(1).get("/health").await.is(200);
    assert!(!public.body.contains(&address.to_string()), "{}", public.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_a_replica_that_was_left_behind_is_not_read_from_until_it_follows() {
    let shop = Shop::open(NO_LIMIT).await;
    let primary = shop.world.postgres_server.as_ref().unwrap();
    let next = Standby::of(primary, |server| shop.world.pool_on(server));
    // A replica that has received more than the next primary could not follow it.
    shop.standby.is_cut_off().await;
    next.catches_up(shop.world.pool()).await;

    primary.run("kill-postgres");
    next.servers.run("promote-postgres");
    shop.world.proxy.as_ref().unwrap().move_to(address_of(&next.url));
    for instance in &shop.world.instances {
        instance.ready().await;
    }
    shop.replica_is(1, false).await;
    let renamed = shop.world.pool_on(&next.url);
    sqlx::raw_sql(RENAME).execute(&renamed).await.unwrap();
    until("lists are those of the new primary", async || shop.listed_name(1).await == "renamed")
        .await;

    shop.standby.servers.follow(&next.servers);
    shop.replica_is(1, true).await;
    assert_eq!(shop.listed_name(1).await, "renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_cannot_be_meant_stop_the_start_without_a_password() {
    let world = World::of(1).await;
    for (replicas, complaint) in [
        ("localhost:5433", "must be URLs of one replica each"),
        ("postgres://a:secret@one:1,two:2/shop", "must be URLs of one replica each"),
        ("postgres://a:secret@one:x/shop", "number 1 is not a PostgreSQL URL"),
        ("postgres://a:secret@one:1/shop,postgres://b:secret@one:1/shop", "names one:1 twice"),
    ] {
        let ran = world.program.clone().set("database.replicas", replicas).run(&["serve"]).await;

        assert!(ran.code.is_some_and(|code| code != 0), "{replicas}: {ran}");
        assert!(ran.stderr.contains(complaint), "{replicas}: {ran}");
        assert!(!ran.to_string().contains("secret"), "{replicas}: {ran}");
    }
}
