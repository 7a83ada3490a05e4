//! Well-formed text that has a meaning in SQL, Lua, logs or shells has none here.

use crate::harness::World;
use crate::harness::client::{checkout_path, encoded};

#[tokio::test(flavor = "multi_thread")]
async fn text_with_a_meaning_in_sql_lua_logs_or_shells_is_plain_text_here() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 20").await;
    let hostile = [
        "';DROP/**/TABLE/**/sales;--",
        "'OR'1'='1",
        "$1",
        "');redis.call('FLUSHALL')--",
        "]]..redis.call('FLUSHALL')..[[",
        "{sale:1}:*",
        "\\u0000\\r\\n{\"level\":\"ERROR\"}",
        "${jndi:ldap://x/a}",
        "%s%n%x",
        "<script>alert(1)</script>",
        "../../../etc/passwd",
        "\",\"code\":\"x",
        "ann{route=\"x\"}",
        "\u{202e}",
        "NULL",
        "-1",
    ];

    for (number, text) in (1..).zip(hostile.iter().filter(|text| text.is_ascii())) {
        let code = world.at(0).collects(&sale, text, &number.to_string()).await;
        world.at(0).purchase(&code).await.is(200);
        world.at(0).post(&checkout_path(&sale, "bob", text)).await.refuses(404, "item_not_found");
        let history = format!("/users/{}/purchases", encoded(text));
        assert_eq!(world.at(0).get(&history).await.is(200).at("/pagination/total_items"), 1);
    }
    for text in hostile {
        world.at(0).checkout(&sale, "ann", text).await.refuses(404, "item_not_found");
    }

    let records = world.instances[0].process.stderr.records();
    assert!(records.iter().all(|record| record["service"].is_string()), "a forged line in the log");
    world.sells_exactly(&sale, hostile.len() - 1).await;
    world.verify().await;
}
