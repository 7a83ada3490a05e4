//! PostgreSQL fails over to a standby.

use std::collections::HashSet;
use std::net::TcpListener;

use futures_util::future::join_all;

use crate::harness::database::address_of;
use crate::harness::standby::Standby;
use crate::harness::{World, until};

fn standby_of(world: &World) -> Standby {
    Standby::of(world.postgres_server.as_ref().unwrap(), |server| world.pool_on(server))
}

/// Makes it the primary, and leads the instances to it.
fn takes_over(standby: &Standby, world: &World) {
    standby.servers.run("promote-postgres");
    world.proxy.as_ref().unwrap().move_to(address_of(&standby.url));
}

async fn everybody_is_ready(world: &World) {
    for instance in &world.instances {
        instance.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_loses_commits_gives_no_code_twice_and_sells_what_is_left() {
    let mut world = World::plan(2).private_postgres().through_a_proxy().start().await;
    let sale = world.create_sale("--items 20 --stock 1").await;
    let kept = world.at(0).buys(&sale, "early", "20").await;
    let before = world.at(1).collects(&sale, "early", "19").await;
    let standby = standby_of(&world);
    standby.catches_up(world.pool()).await;
    standby.is_cut_off().await;

    // Lost: a block of attempt numbers, the code of ann from it, and the sale of item 1, which all instances know to be sold out.
    world.start(1).await;
    let lost = world.at(2).collects(&sale, "ann", "2").await;
    let lost_purchase = world.at(1).buys(&sale, "bob", "1").await;
    for instance in &world.instances {
        until("item 1 is sold out", async || {
            instance.client.checkout(&sale, "late", "1").await.status == 409
        })
        .await;
    }
    let attempts = "SELECT array_agg(id ORDER BY user_id) FROM checkout_attempts WHERE user_id IN ('ann', 'bob')";
    let attempts: Vec<i64> = sqlx::query_scalar(attempts).fetch_one(world.pool()).await.unwrap();
    let [anns, bobs] = attempts[..] else { panic!("{attempts:?}") };
    world.postgres_server.as_ref().unwrap().run("kill-postgres");
    takes_over(&standby, &world);
    everybody_is_ready(&world).await;
    // The first block that the new primary gives is the one that was lost.
    world.start(1).await;

    let mut codes = HashSet::from([lost.clone(), lost_purchase.clone(), kept.clone(), before]);
    let known = codes.len();
    for (number, instance) in world.instances.iter().enumerate() {
        for buyer in 0..3 {
            let buyer = format!("carl-{number}-{buyer}");
            codes.insert(instance.client.collects(&sale, &buyer, "3").await);
        }
    }
    assert_eq!(
        codes.len(),
        known + 3 * world.instances.len(),
        "a code names two buyers: {codes:?}"
    );
    for instance in &world.instances {
        instance.client.purchase(&lost).await.refuses(404, "code_not_found");
        instance.client.purchase(&lost_purchase).await.refuses(404, "code_not_found");
        instance.client.get(&format!("/purchases/{kept}")).await.is(200);
    }
    // Whichever instance is asked: item 1 is unsold again.
    for (number, instance) in world.instances.iter().enumerate() {
        instance.client.collects(&sale, &format!("dora-{number}"), "1").await;
    }
    world.at(0).buys(&sale, "dora-0", "1").await;
    // Each instance looks for what it has acknowledged in the new history.
    until("what is lost is named", async || {
        let audit = world.program.run(&["verify"]).await;
        audit.code == Some(1)
            && audit.stdout.contains(&format!("attempt {anns}: its checkout is not in epoch"))
            && audit.stdout.contains(&format!("attempt {bobs}: its purchase is not in epoch"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_a_new_epoch_is_genuine_at_an_instance_that_has_not_noticed_it() {
    let mut world = World::of(1).await;
    let sale = world.create_sale("--items 5 --stock 9").await;
    let old = world.at(0).collects(&sale, "ann", "1").await;
    // As after a failover: a new instance notices it when it connects, the one that has its connections does not.
    sqlx::raw_sql("UPDATE epochs SET timeline = timeline - 1").execute(world.pool()).await.unwrap();
    world.start(1).await;

    let new = world.at(1).collects(&sale, "bob", "1").await;

    world.at(0).purchase(&new).await.is(200);
    world.at(0).purchase(&old).await.is(200);
    let forged = new.replace(&sale, "S-999");
    world.at(0).purchase(&forged).await.refuses(404, "code_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_new_epochs_are_genuine_at_once_however_many_ask() {
    const BUYERS: usize = 30;
    let mut world = World::of(2).await;
    let sale = world.create_sale("--items 1 --stock 9999").await;
    for round in 0..3 {
        let next = "UPDATE epochs SET timeline = timeline - 1
                    WHERE number = (SELECT max(number) FROM epochs)";
        sqlx::raw_sql(next).execute(world.pool()).await.unwrap();
        world.start(1).await;
        let (older, newest) = world.instances.split_at(world.instances.len() - 1);
        let buying = (0..BUYERS).map(|buyer| {
            let (newest, older) = (&newest[0].client, &older[buyer % older.len()].client);
            let (sale, buyer) = (&sale, format!("buyer-{round}-{buyer}"));
            async move {
                let code = newest.collects(sale, &buyer, "1").await;
                let bought = older.purchase(&code).await.is(200);
                older.purchase(&code).await.is(200);
                newest.get(&format!("/purchases/{code}")).await.is(200);
                bought
            }
        });
        join_all(buying).await;
    }
    world.sells_exactly(&sale, 3 * BUYERS).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_serves_nothing_and_its_successor_is_found_when_the_name_moves() {
    let world = World::plan(1).private_postgres().through_a_proxy().start().await;
    let sale = world.create_sale("--items 3 --stock 1").await;
    let standby = standby_of(&world);
    standby.catches_up(world.pool()).await;
    let primary = world.postgres_server.as_ref().unwrap();

    // In a quiet hour the roles change, and for a while the name leads to the old primary.
    standby.servers.run("promote-postgres");
    primary.follow(&standby.servers);
    world.instances[0].readiness_is(503).await;
    until("no request is served from the standby", async || {
        world.at(0).get("/sales/active").await.status == 503
    })
    .await;
    until("the reason is named", async || {
        world.instances[0].monitor.get("/healthz").await.body.contains("the server is a standby")
    })
    .await;
    world.proxy.as_ref().unwrap().move_to(address_of(&standby.url));

    // Nothing is written meanwhile that would show the error.
    world.instances[0].ready().await;
    world.at(0).buys(&sale, "ann", "1").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn among_several_servers_the_next_primary_is_found_without_a_restart() {
    let mut world = World::plan(0).private_postgres().start().await;
    let standby = standby_of(&world);
    // It accepts connections and never answers, as a machine does that hangs.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = hanging.local_addr().unwrap();
    let (primary, next) = (world.postgres_address(), address_of(&standby.url));
    let several = world.url_through(primary);
    let several = several.replace(&format!("@{primary}"), &format!("@{silent},{next},{primary}"));
    world.program = world.program.clone().variable("DATABASE_URL", &several);
    world.program = world.program.clone().set("jobs.enabled", "true");
    world.start(2).await;
    let sale = world.create_sale("--items 4 --stock 1").await;
    world.at(0).buys(&sale, "ann", "1").await;
    standby.catches_up(world.pool()).await;

    world.postgres_server.as_ref().unwrap().run("kill-postgres");
    for instance in &world.instances {
        until("no server accepts writes", async || {
            let health = instance.monitor.get("/healthz").await.body;
            health.contains("no server accepts writes") || health.contains("no answer within")
        })
        .await;
    }
    standby.servers.run("promote-postgres");

    everybody_is_ready(&world).await;
    world.at(0).buys(&sale, "bob", "2").await;
    world.at(1).buys(&sale, "carl", "3").await;
    // Workers have connections of their own.
    let job = world.prints("schedule run prune-jobs").await["id"].as_i64().unwrap();
    until("the job is done on the new primary", async || {
        world.prints(&format!("job show {job}")).await["state"] == "done"
    })
    .await;
    world.verify().await;
    drop(hanging);
}
