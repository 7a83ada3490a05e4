//! Old sales leave, while others sell: by a command and by the schedule, on real servers and several instances.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Answer, World, eventually, until};

/// Two instances that keep sales for a second.
async fn world() -> World {
    World::plan(2).set("jobs.enabled", "true").set("retention.keep", "1s").start().await
}

/// A sale in which ann has bought and bob has collected, and their codes. It has ended, and may be archived.
struct Old {
    sale: String,
    bought: String,
    collected: String,
}

impl Old {
    async fn of(world: &World) -> Self {
        let sale = world.create_sale("--items 3").await;
        let bought = world.at(0).buys(&sale, "ann", "1").await;
        let collected = world.at(1).collects(&sale, "bob", "2").await;
        let old = Self { sale, bought, collected };
        world.end(&old.sale).await;
        old.may_go(world).await;
        old
    }

    /// Waits until its report is made, and it is old enough.
    async fn may_go(&self, world: &World) {
        until("the old sale may go", async || {
            let preview = world.prints("retention run --dry-run").await;
            assert_eq!(preview["dry_run"], true);
            contains(&preview["archived"], &self.sale)
        })
        .await;
    }

    /// Everything that leads to it, in both versions.
    async fn asked_for(&self, world: &World, instance: usize) -> Vec<Answer> {
        let Self { sale, bought, collected } = self;
        let client = world.at(instance);
        let mut answers = Vec::new();
        for path in [
            format!("/sales/{sale}"),
            format!("/sales/{sale}/items"),
            format!("/sales/{sale}/items?available=true"),
            format!("/purchases/{bought}"),
            format!("/purchases/{collected}"),
            format!("/users/ann/purchases?sale_id={sale}"),
            format!("/v2/sales/{sale}"),
            format!("/v2/sales/{sale}/items"),
            format!("/v2/sales/{sale}/items?page=1"),
            format!("/v2/purchases/{bought}"),
            format!("/v2/checkouts/{bought}"),
            format!("/v2/checkouts/{collected}"),
            format!("/v2/buyers/ann/purchases?sale_id={sale}"),
        ] {
            answers.push(client.get(&path).await);
        }
        for path in [
            format!("/purchase?code={bought}"),
            format!("/purchase?code={collected}"),
            format!("/checkout?user_id=eve&item_id=3&sale_id={sale}"),
        ] {
            answers.push(client.post(&path).await);
        }
        answers
    }
}

fn contains(sales: &Value, sale: &str) -> bool {
    sales.as_array().unwrap().iter().any(|one| one["sale_id"] == sale)
}

/// The tables of the first hundred sales.
async fn tables(world: &World) -> i64 {
    let left = "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_from\\_0' AND relkind = 'r'";
    sqlx::query_scalar(left).fetch_one(world.pool()).await.unwrap()
}

/// The next sale gets a number of the second hundred.
async fn leave_the_first_hundred(world: &World) {
    sqlx::query("SELECT setval('sale_ids', 100)").execute(world.pool()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_sale_is_gone_on_every_instance_and_its_neighbour_sells_on() {
    let world = world().await;
    let old = Old::of(&world).await;
    let kept = world.create_sale("--items 5").await;
    let code = world.at(0).buys(&kept, "ann", "1").await;
    // A preview changes nothing.
    world.at(1).get(&format!("/sales/{}", old.sale)).await.is(200);
    world.at(1).get(&format!("/purchases/{}", old.bought)).await.is(200);

    let done = world.prints("retention run").await;

    assert!(
        contains(&done["archived"], &old.sale) && !contains(&done["archived"], &kept),
        "{done}"
    );
    assert_eq!((&done["keep"], &done["dropped"]), (&json!("1s"), &json!([])));
    for instance in [0, 1] {
        for answer in old.asked_for(&world, instance).await {
            let refusal = (410, "sale_archived".to_owned());
            assert_eq!(answer.status_and_code(), refusal, "{}", answer.body);
        }
        let client = world.at(instance);
        client.get(&format!("/sales/{kept}")).await.is(200);
        client.get(&format!("/purchases/{code}")).await.is(200);
        client.get("/sales/S-99").await.refuses(404, "sale_not_found");
        let forged = format!("/purchases/{}", forged(&old.bought));
        client.get(&forged).await.refuses(404, "code_not_found");
        let history = client.get("/users/ann/purchases").await.is(200);
        assert_eq!(history.at("/pagination/total_items"), 1, "{}", history.body);
        assert_eq!(history.at("/data/0/sale_id"), kept.as_str());
        let listed = client.get("/v2/sales").await.is(200);
        assert!(!listed.body.contains(&format!("\"{}\"", old.sale)), "{}", listed.body);
    }
    world.at(1).buys(&kept, "bob", "2").await;
    let listed = world.prints("sale list").await;
    assert!(!contains(&listed, &old.sale) && contains(&listed, &kept), "{listed}");
    assert_eq!(world.prints(&format!("sale report {}", old.sale)).await["sold"], 1);
    let verify = world.program.run(&["verify", "--sale", &old.sale]).await;
    assert!(verify.complaint().join(" ").contains("was archived"), "{verify}");
    let audit = world.prints(&format!("audit list --sale {}", old.sale)).await;
    let archived = &audit["data"][0];
    assert_eq!(
        (&archived["action"], &archived["after"]["keep"]),
        (&json!("archived"), &json!("1s"))
    );
    assert!(archived["actor"].as_str().is_some_and(|actor| !actor.is_empty()), "{audit}");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_of_an_archived_sale_is_gone_although_it_is_cached() {
    let world = World::plan(2)
        .set("jobs.enabled", "true")
        .set("retention.keep", "1s")
        .set("cache.enabled", "true")
        .set("cache.purchases_ttl", "30m")
        .start()
        .await;
    let old = Old::of(&world).await;
    let histories =
        ["/users", "/v2/buyers"].map(|list| format!("{list}/ann/purchases?sale_id={}", old.sale));
    for instance in [0, 1] {
        for history in &histories {
            let history = world.at(instance).get(history).await.is(200);
            assert_eq!(history.at("/data/0/code"), old.bought.as_str(), "{}", history.body);
        }
    }

    world.prints("retention run").await;

    for instance in [0, 1] {
        for history in &histories {
            let answer = world.at(instance).get(history).await;
            assert_eq!(answer.status_and_code(), (410, "sale_archived".to_owned()), "{history}");
        }
    }
}

/// The code with another MAC.
fn forged(code: &str) -> String {
    let last = if code.ends_with('A') { "B" } else { "A" };
    format!("{}{last}", &code[..code.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_between_detach_and_drop_is_finished_by_the_next_while_others_sell() {
    let world = world().await;
    let old = Old::of(&world).await;
    leave_the_first_hundred(&world).await;
    let kept = world.create_sale("--items 20").await;
    // It cannot drop this table, and goes on trying.
    let mut reader = world.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM purchases_from_0").execute(&mut *reader).await.unwrap();

    let mut run = world.program.start(&["retention", "run"]);
    until("all other tables are gone", async || tables(&world).await == 1).await;
    run.signal(Signal::SIGKILL);
    run.exit().await;

    world.verify().await;
    world.at(0).buys(&kept, "ann", "1").await;
    for answer in old.asked_for(&world, 1).await {
        assert_eq!(answer.status_and_code(), (410, "sale_archived".to_owned()), "{}", answer.body);
    }
    reader.rollback().await.unwrap();
    let done = world.prints("retention run").await;
    assert_eq!(done["dropped"], json!([{ "first": 0, "last": 99 }]), "{done}");
    assert_eq!(tables(&world).await, 0);
    world.at(1).buys(&kept, "bob", "2").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buyers_never_wait_for_a_table_that_cannot_be_dropped() {
    let world = world().await;
    Old::of(&world).await;
    leave_the_first_hundred(&world).await;
    let kept = world.create_sale("--items 50").await;
    let mut reader = world.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM purchases").execute(&mut *reader).await.unwrap();
    let mut run = world.program.start(&["retention", "run"]);
    eventually("it waits for the table", async || {
        let waits = "SELECT true FROM pg_stat_activity WHERE datname = current_database()
                     AND wait_event_type = 'Lock' AND query LIKE '%purchases%'";
        sqlx::query_scalar::<_, bool>(waits).fetch_optional(world.pool()).await.unwrap()
    })
    .await;

    let mut bought = 0;
    while !run.has_ended() && bought < 50 {
        bought += 1;
        let buyer = format!("buyer-{bought}");
        world.at(bought % 2).buys(&kept, &buyer, &bought.to_string()).await;
    }

    assert!(bought > 1, "it ended before a buyer bought");
    assert_eq!(run.exit().await, Some(0));
    reader.rollback().await.unwrap();
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_drops_old_sales_and_nothing_is_dropped_without_it() {
    let mut world = World::plan(1).set("jobs.enabled", "true").start().await;
    let sale = world.create_sale("--items 3").await;
    let code = world.at(0).buys(&sale, "ann", "1").await;
    world.end(&sale).await;
    until("the sale is closed", async || {
        world.prints(&format!("sale report {sale}")).await["final"] == true
    })
    .await;

    let job = world.prints("schedule run drop-sales").await["id"].as_i64().unwrap();
    world.job_is(job, "done").await;
    let nothing = world.prints("retention run").await;
    assert_eq!((&nothing["keep"], &nothing["archived"]), (&Value::Null, &json!([])));
    world.at(0).get(&format!("/purchases/{code}")).await.is(200);

    world.program = world.program.clone().set("retention.keep", "1s");
    world.restart().await;
    until("it is archived", async || {
        let job = world.prints("schedule run drop-sales").await["id"].as_i64().unwrap();
        world.job_is(job, "done").await;
        world.at(0).get(&format!("/sales/{sale}")).await.status == 410
    })
    .await;
    until("its tables are gone", async || tables(&world).await == 0).await;
    world.at(0).get(&format!("/purchases/{code}")).await.refuses(410, "sale_archived");
    let audit = world.prints(&format!("audit list --sale {sale}")).await;
    let actor = audit["data"][0]["actor"].as_str().unwrap().to_owned();
    assert!(actor.starts_with("drop_sales@"), "{actor}");
    let next = world.create_sale("--items 3").await;
    world.at(0).buys(&next, "bob", "1").await;
    world.verify().await;
}
