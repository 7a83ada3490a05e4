//! The page on which people buy: what it is made of, and what a person can do on it.

use std::io::Write;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use thirtyfour::Key;

use crate::harness::browser::{AUDIT, Browser, Look};
use crate::harness::{Answer, World, until};

/// What browsers accept.
const BROWSER: (&str, &str) =
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

async fn shop() -> World {
    World::plan(1).set("shop_page.enabled", "true").start().await
}

async fn page(world: &World, path: &str) -> Answer {
    world.at(0).send(Method::GET, path, &[BROWSER]).await
}

async fn server_time(world: &World, sale: &str) -> DateTime<Utc> {
    let read = world.at(0).get(&format!("/v2/sales/{sale}")).await.is(200);
    read.header("server-time").unwrap().parse().unwrap()
}

/// A browser at the page of a sale; `None`, said once a test, if there is none.
async fn at(world: &World, sale: &str) -> Option<Browser> {
    let Some(browser) = Browser::start().await else {
        eprintln!("no chromium with its driver is installed: the shop page is not tested");
        return None;
    };
    let url = format!("http://{}/?sale={sale}", world.at(0).address);
    browser.driver.goto(&url).await.unwrap();
    Some(browser)
}

/// A new sale of items with these names, imported from JSON lines.
async fn sale_of(world: &World, names: &[&str], options: &[&str]) -> String {
    let file = std::env::temp_dir().join(format!("items-{}.jsonl", uuid::Uuid::now_v7().simple()));
    let mut lines = std::fs::File::create(&file).unwrap();
    for (number, name) in names.iter().enumerate() {
        let line = json!({ "id": format!("item/{number} %"), "name": name, "stock": 3,
                           "image_url": "javascript:document.title='hit'" });
        writeln!(lines, "{line}").unwrap();
    }
    let path = file.to_str().unwrap().to_owned();
    let mut arguments = vec!["sale", "import", &path];
    arguments.extend(options);
    let imported = world.program.run(&arguments).await.succeeded();
    std::fs::remove_file(&file).unwrap();
    imported.documents()[0]["sale_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_page_is_the_shop_only_where_it_is_enabled() {
    let (shop, links) = (shop().await, World::of(1).await);

    let front = page(&shop, "/").await.is(200);
    assert!(front.body.contains("<script type=\"module\" src=\"shop/shop.js\">"));
    assert!(page(&links, "/").await.is(200).body.contains("API reference"));
    for world in [&shop, &links] {
        assert!(page(world, "/start").await.is(200).body.contains("API reference"));
        world.at(0).get("/").await.refuses(404, "route_not_found");
        world.at(0).send(Method::POST, "/", &[BROWSER]).await.refuses(404, "route_not_found");
    }
    page(&links, "/shop/shop.js").await.refuses(404, "route_not_found");
    for file in ["nothing.js", "page.html", "..%2Fmod.rs"] {
        page(&shop, &format!("/shop/{file}")).await.refuses(404, "route_not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_its_files_are_the_services_own_under_a_strict_policy() {
    let world = shop().await;
    let files = ["shop.css", "shop.js", "buying.js", "clock.js", "dom.js", "items.js", "live.js"];
    let files = files.into_iter().chain(["service.js"]).map(|file| format!("/shop/{file}"));

    for path in files.chain(["/".to_owned()]) {
        let answer = page(&world, &path).await.is(200);
        let policy = answer.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(policy.contains("require-trusted-types-for 'script'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
        for inline in [" style=", "<style", " onclick", "<script>", "innerHTML", "http:", "eval("] {
            assert!(!answer.body.contains(inline), "{path} has {inline}");
        }
        let known = [BROWSER, ("if-none-match", answer.header("etag").unwrap())];
        world.at(0).send(Method::GET, &path, &known).await.is(304);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_buys_and_sees_what_others_buy() {
    let world = shop().await;
    let sale = world.create_sale("--items 60 --stock 4 --name Autumn").await;
    let Some(browser) = at(&world, &sale).await else { return };

    browser.shows("#state", "Open now").await;
    browser.shows("#sale-name", "Autumn").await;
    browser.shows("#stock-left", "240 left").await;
    browser.shows("#mode", "Live").await;
    browser.shows("#page-text", "Page 1 of 3").await;
    browser.pictures("open").await;
    world.at(0).buys(&sale, "zoe", "60").await;
    browser.shows("#stock-left", "239 left").await;

    browser.run("document.querySelector('.card select').value = '2';").await;
    browser.click(".card .buy").await;
    browser.shows("#answer-title", "Bought").await;
    browser.shows("#receipt-pieces", "2").await;
    browser.pictures("bought").await;
    browser.click("#answer-close").await;

    browser.shows("#stock-left", "237 left").await;
    browser.shows("#allowance", "2 of the 10 pieces").await;
    browser.shows(".card .left", "2 of 4 left").await;
    browser.shows("#receipts", "Item 1").await;
    browser.click("#next").await;
    browser.shows("#page-text", "Page 2 of 3").await;
    browser.shows(".card h3", "Item 25").await;
    browser.quit().await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sold_out_cannot_be_bought_and_the_loser_of_a_race_is_told() {
    let world = shop().await;
    let sale = world.create_sale("--items 2 --stock 1 --buyer-limit 1").await;
    let Some(browser) = at(&world, &sale).await else { return };
    browser.shows(".card .buy", "Buy").await;

    world.at(0).buys(&sale, "faster", "1").await;
    browser.click(".card .buy").await;
    browser.shows("#answer-title", "Sold out").await;
    browser.shows("#answer-text", "Nothing was bought").await;
    browser.pictures("too-late").await;
    browser.click("#answer-close").await;
    browser.shows(".card.gone .buy", "Sold out").await;
    world.at(0).buys(&sale, "another", "2").await;

    browser.shows("#state", "Sold out").await;
    until("every button is off", async || {
        let script = "return document.querySelectorAll('.buy:not(:disabled)').length;";
        browser.run(script).await == json!(0)
    })
    .await;
    browser.pictures("sold-out").await;
    world.program.run(&["sale", "restock", &sale, "2", "--pieces", "3"]).await.succeeded();
    browser.shows("#state", "Open now").await;
    browser.shows("#stock-left", "3 left").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_before_and_after_a_sale_says_so_and_follows_it() {
    let world = shop().await;
    let sale = world.create_sale("--items 3 --starts-in 1h --duration 1h --name Soon").await;
    let Some(browser) = at(&world, &sale).await else { return };

    browser.shows("#state", "Starts soon").await;
    browser.shows("#clock-label", "Starts in").await;
    browser.shows(".buy", "Opens soon").await;
    browser.pictures("upcoming").await;
    // It is moved under the page.
    let pace = world.seconds(5).await;
    let pace: i64 = pace.trim_end_matches("ms").parse().unwrap();
    let start = server_time(&world, &sale).await + chrono::Duration::milliseconds(pace);
    let change = ["sale", "change", &sale, "--starts-at", &start.to_rfc3339()];
    world.program.run(&change).await.succeeded();
    browser.shows("#state", "Open now").await;
    browser.shows(".buy", "Buy").await;
    browser.click(".buy").await;
    browser.shows("#answer-title", "Bought").await;
    browser.click("#answer-close").await;
    world.program.run(&["sale", "end", &sale]).await.succeeded();
    browser.shows("#state", "Ended").await;
    browser.shows(".card:nth-child(2) .buy", "Ended").await;
    browser.pictures("ended").await;
    // Nothing is followed any more.
    until("the stream is closed", async || {
        world.metrics(0).await.sum("flash_sale_live_listeners", &[]) < 0.5
    })
    .await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_sale_waits_for_one() {
    let plan = World::plan(1).set("shop_page.enabled", "true").set("schedule.enabled", "false");
    let world = plan.start().await;
    let Some(browser) = at(&world, "S-ZZZZZZ").await else { return };

    browser.shows("#sale-name", "No sale at the moment").await;
    browser.pictures("none").await;
    world.create_sale("--items 3 --name Surprise").await;
    browser.shows("#sale-name", "Surprise").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_in_a_name_is_text() {
    let world = shop().await;
    let names = [
        "<script>document.title='hit'</script>",
        "<img src=x onerror=\"document.title='hit'\">",
        "</li></ul><h1 id=evil>Free</h1>",
        "\"><svg onload=\"document.title='hit'\">",
    ];
    let name = "<b onmouseover=\"document.title='hit'\">Sale</b>";
    let other = world.create_sale("--items 1").await;
    let now = server_time(&world, &other).await.to_rfc3339();
    let terms = ["--starts-at", &*now, "--duration", "1h", "--name", name];
    let sale = sale_of(&world, &names, &terms).await;
    let Some(browser) = at(&world, &sale).await else { return };

    browser.shows("#grid", names[2]).await;
    browser.click(".card .buy").await;
    browser.shows("#answer-title", "Bought").await;
    browser.shows("#receipt-item", names[0]).await;
    browser.click("#answer-close").await;
    browser.shows("#receipts", names[0]).await;

    let found = "return [document.title, document.querySelectorAll('#evil, #grid script, #grid svg, #sale-name b').length];";
    let seen = browser.run(found).await;
    assert_eq!(seen[0], json!(format!("{name} · Flash sale")));
    assert_eq!(seen[1], json!(0));
    browser.picture("script-in-a-name").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_gets_no_answer_is_repeated_and_buys_once() {
    let world = shop().await;
    let sale = world.create_sale("--items 3 --stock 5").await;
    let Some(browser) = at(&world, &sale).await else { return };
    browser.shows("#state", "Open now").await;
    browser.command("Network.enable", json!({})).await;
    let block = async |patterns: Value| {
        browser.command("Network.setBlockedURLs", json!({ "urls": patterns })).await;
    };

    block(json!(["*/purchase"])).await;
    browser.click(".card .buy").await;
    browser.shows("#answer-text", "nothing is bought twice").await;
    browser.pictures("no-answer").await;
    // The page is opened again, and finishes what it had begun.
    block(json!([])).await;
    browser.driver.refresh().await.unwrap();
    browser.shows("#answer-title", "Bought").await;
    browser.click("#answer-close").await;

    browser.shows("#allowance", "1 of the 10 pieces").await;
    world.sells_exactly(&sale, 1).await;
    browser.driver.refresh().await.unwrap();
    browser.shows("#allowance", "1 of the 10 pieces").await;
    assert_eq!(browser.run("return document.getElementById('answer').open;").await, json!(false));
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_gets_no_events_polls() {
    let world = World::plan(1)
        .set("shop_page.enabled", "true")
        .set("live.max_listeners", "1")
        .start()
        .await;
    let sale = world.create_sale("--items 3 --stock 5").await;
    let _other = crate::harness::events::Events::of(world.at(0), &sale, &[]).await;
    let Some(browser) = at(&world, &sale).await else { return };

    browser.shows("#mode", "Updated every few seconds").await;
    world.at(0).buys(&sale, "ann", "1").await;
    browser.shows("#stock-left", "14 left").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_with_other_items_is_not_bought_unasked() {
    let world = shop().await;
    let sale = world.create_sale("--items 3 --stock 5").await;
    let Some(browser) = at(&world, &sale).await else { return };
    browser.click("#who").await;
    browser.run("document.getElementById('buyer-id').value = '';").await;
    browser.press("two words").await;
    browser.press(Key::Enter).await;
    browser.shows("#buyer-error", "without spaces").await;
    browser.run("document.getElementById('buyer-id').value = 'ann';").await;
    browser.press(Key::Enter).await;
    browser.shows("#who-name", "ann").await;
    world.at(0).collects(&sale, "ann", "3").await;

    browser.click(".card .buy").await;
    browser.shows("#answer-title", "Your checkout has more").await;
    browser.shows("#answer-text", "Item 3").await;
    world.sells_exactly(&sale, 0).await;
    browser.click("#answer-again").await;
    browser.shows("#answer-title", "Bought").await;
    browser.shows("#receipt-item", "Item 3").await;
    world.sells_exactly(&sale, 2).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_use_the_page() {
    let world = shop().await;
    let sale = world.create_sale("--items 30 --stock 4 --name Everybody").await;
    world.at(0).buys(&sale, "others", "30").await;
    let Some(browser) = at(&world, &sale).await else { return };
    browser.shows("#state", "Open now").await;

    // The first stop leads to the items, the next button behind it buys. Escape closes the answer, and the focus is back.
    browser.press(Key::Tab).await;
    assert_eq!(browser.run("return document.activeElement.className;").await, json!("skip"));
    browser.press(Key::Enter).await;
    until("the items are there", async || {
        let script = "return document.querySelector('.card .buy') !== null;";
        browser.run(script).await == json!(true)
    })
    .await;
    browser.run("document.querySelector('.card .buy').focus();").await;
    browser.press(Key::Enter).await;
    browser.shows("#answer-title", "Bought").await;
    assert_eq!(browser.run("return document.activeElement.id;").await, json!("answer-title"));
    for look in Look::ALL {
        browser.look(look).await;
        assert_eq!(browser.run(AUDIT).await, json!([]), "the answer, {look:?}");
    }
    browser.press(Key::Escape).await;
    until("the focus is back", async || {
        let script = "return document.activeElement.matches('.card .buy');";
        browser.run(script).await == json!(true)
    })
    .await;
    browser.shows("#receipts", "Item 1").await;
    browser.run("document.getElementById('yours').scrollIntoView({ block: 'end' });").await;
    for look in Look::ALL {
        browser.look(look).await;
        assert_eq!(browser.run(AUDIT).await, json!([]), "the page, {look:?}");
    }
    browser.pictures("purchases").await;
    browser.quit().await;
}
