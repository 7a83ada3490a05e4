//! The operators' page in a browser: what an operator sees with a key, and that nothing in it becomes markup.

use std::net::SocketAddr;

use serde_json::json;
use thirtyfour::Key;

use crate::harness::browser::{AUDIT, Browser, Look};
use crate::harness::endpoint::Endpoint;
use crate::harness::{World, until};

/// Whatever runs changes the title of the page.
const SCRIPT: &str =
    "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>";

/// A browser at the page, without a key; `None`, said once a test, if there is none.
async fn at(port: SocketAddr) -> Option<Browser> {
    let Some(browser) = Browser::start().await else {
        eprintln!("no chromium with its driver is installed: the operators' page is not tested");
        return None;
    };
    browser.driver.goto(&format!("http://{port}/admin/")).await.unwrap();
    Some(browser)
}

/// Types a key, and sends it.
async fn enters(browser: &Browser, key: &str) {
    browser.click("#key").await;
    browser.press(key).await;
    browser.press(Key::Enter).await;
}

/// A shop with something of everything: sales, refusals, jobs, endpoints and what they did not get. Returns its port for operators, and
/// the sale whose names are scripts.
async fn busy() -> (World, SocketAddr, String) {
    let plan = World::plan(0)
        .set("jobs.enabled", "true")
        .set("jobs.max_attempts", "1")
        .set("webhooks.allow_private", "true");
    let (world, ports) = World::planned_with_admin(plan, 1).await;
    let endpoint = Endpoint::start().await;
    endpoint.answer_with(500);
    endpoint.is_added_by(&world.program).await;
    world.printed(&["sale", "create", "--items", "3", "--name", "Autumn"]).await;
    let create = ["sale", "create", "--items", "60", "--stock", "1", "--name", SCRIPT];
    let created = world.printed(&create).await;
    let sale = created["sale_id"].as_str().unwrap().to_owned();
    for number in 1..=12 {
        world.at(0).buys(&sale, &format!("buyer-{number}"), &number.to_string()).await;
        world.at(0).checkout(&sale, "late", "1").await.refuses(409, "item_sold_out");
    }
    let payload = json!({ "fail": SCRIPT }).to_string();
    world.printed(&["job", "enqueue", "noop", "--payload", &payload]).await;
    world.printed(&["job", "enqueue", "noop", "--in", "1h", "--priority", "low"]).await;
    world.printed(&["sale", "restock", &sale, "17", "--pieces", "5"]).await;
    // As after the last retry, which comes late.
    until("a delivery has failed", async || {
        let give_up = sqlx::query("UPDATE webhook_deliveries SET is_dead = true");
        give_up.execute(world.pool()).await.unwrap().rows_affected() > 0
    })
    .await;
    (world, ports[0].address, sale)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_the_shop_and_a_script_in_a_name_is_text() {
    let (world, port, sale) = busy().await;
    let (_, key) = world.create_key(SCRIPT, "--scopes read").await;
    let Some(browser) = at(port).await else { return };
    browser.shows("h1", "Operators").await;
    browser.pictures("operators-enter").await;

    enters(&browser, &key).await;

    browser.shows("#sales-list", &sale).await;
    browser.shows("#sales-list .chosen", SCRIPT).await;
    browser.shows("#sale h3", SCRIPT).await;
    browser.shows(".numbers", "12").await;
    until("the curve is drawn", async || {
        let script = "const curve = document.querySelector('.curve'); return curve !== null && curve.naturalWidth > 0;";
        browser.run(script).await == json!(true)
    })
    .await;
    browser.shows("#refusals", "item_sold_out").await;
    browser.shows("#jobs-dead", SCRIPT).await;
    browser.shows("#jobs-list", "scheduled").await;
    browser.shows("#schedules", "close-sales").await;
    browser.shows("#webhooks-list", "active").await;
    browser.shows("#letters", "flash_sale.purchase.settled.v1").await;
    browser.shows("#audit-list", "restocked").await;
    browser.shows("#audit-list", "key_created").await;
    let found = "return [document.title, document.querySelectorAll('main script, main img[src=x]').length];";
    assert_eq!(browser.run(found).await, json!(["Operators \u{b7} flash-sale", 0]));
    for look in Look::ALL {
        browser.look(look).await;
        assert_eq!(browser.run(AUDIT).await, json!([]), "{look:?}");
    }
    browser.whole_pictures("operators").await;

    // Another sale is one click away, and what happens is seen without one.
    browser.click("#sales-list tr:not(.chosen) button").await;
    browser.shows("#sale h3", "Autumn").await;
    world.printed(&["sale", "create", "--items", "2", "--name", "Surprise"]).await;
    browser.shows("#sales-list", "Surprise").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_read_shows_nothing_and_a_revoked_one_no_more() {
    let (world, ports) = World::with_admin(1).await;
    world.create_sale("--items 3 --name Secret").await;
    let (_, seller) = world.create_key("shop", "--scopes sell").await;
    let (id, reader) = world.create_key("eve", "--scopes read").await;
    let Some(browser) = at(ports[0].address).await else { return };
    let shows_nothing = async || {
        let shown = "return document.getElementById('shown').hidden && document.getElementById('key').value === '';";
        assert_eq!(browser.run(shown).await, json!(true));
    };

    for (key, complaint) in [("fsk_nonsense", "credentials"), (&*seller, "scope")] {
        enters(&browser, key).await;
        browser.shows("#state.bad", complaint).await;
        shows_nothing().await;
    }
    browser.picture("operators-refused").await;
    enters(&browser, &reader).await;
    browser.shows("#sales-list", "Secret").await;
    let kept = "return [document.cookie, location.href.includes('fsk_'), localStorage.length + sessionStorage.length];";
    assert_eq!(browser.run(kept).await, json!(["", false, 0]));
    world.printed(&["key", "revoke", &id]).await;
    browser.shows("#state.bad", "credentials").await;
    shows_nothing().await;
    browser.quit().await;
}
