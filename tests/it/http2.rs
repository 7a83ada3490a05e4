//! HTTP/2 in the clear, and connections that abuse it.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Version;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, World, until};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM_AND_HEADERS: u8 = 0x5;
/// `GET /health` of this service, in HPACK.
const GET: &[u8] = b"\x82\x86\x04\x07/health\x41\x04shop";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A connection that has said hello.
async fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// Sends frames as long as the other side takes them, reading what it says; kinds of what it said until it hung up, or for so
/// long.
async fn abuse(
    stream: TcpStream,
    frames: impl Iterator<Item = Vec<u8>>,
    listen: Duration,
) -> Vec<u8> {
    let (mut reader, mut writer) = stream.into_split();
    let hearing = async {
        let mut heard = Vec::new();
        let mut header = [0; 9];
        while reader.read_exact(&mut header).await.is_ok() {
            heard.push(header[3]);
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if reader.read_exact(&mut payload).await.is_err() {
                break;
            }
        }
        heard
    };
    let sending = async {
        for frame in frames {
            if writer.write_all(&frame).await.is_err() {
                break;
            }
        }
        tokio::time::sleep(listen).await;
        drop(writer);
    };
    tokio::time::timeout(Duration::from_mins(1), async { tokio::join!(hearing, sending).0 })
        .await
        .unwrap()
}

fn count(heard: &[u8], kind: u8) -> usize {
    heard.iter().map(|heard| usize::from(*heard == kind)).sum()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_works_over_http2_and_on_one_connection() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9 --stock 999").await;
    let client = client();
    let base = format!("http://{}", world.at(0).address);

    let v1 = format!("{base}/checkout?user_id=ann&item_id=1&sale_id={sale}");
    let code = client.post(v1).send().await.unwrap();
    assert_eq!((code.version(), code.status().as_u16()), (Version::HTTP_2, 200));
    let body =
        json!({ "buyer_id": "bob", "sale_id": sale, "items": [{ "id": "1" }, { "id": "2" }] });
    let new =
        client.post(format!("{base}/v2/checkouts")).header("idempotency-key", "a").json(&body);
    let new = new.send().await.unwrap();
    assert_eq!(new.status().as_u16(), 201);
    let code = new.json::<serde_json::Value>().await.unwrap()["code"].as_str().unwrap().to_owned();
    let buy =
        client.post(format!("{base}/v2/checkouts/{code}/purchase")).header("idempotency-key", "b");
    assert_eq!(buy.send().await.unwrap().status().as_u16(), 200);

    // More than run at a time: they wait their turn.
    let sales = (0..500).map(|_| client.get(format!("{base}/v2/sales/{sale}")).send());
    for answer in join_all(sales).await {
        assert_eq!(answer.unwrap().status().as_u16(), 200);
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_hold_over_http2_as_well() {
    let world = World::of(1).await;
    let client = client();
    let url = format!("http://{}/v2/checkouts", world.at(0).address);
    let post = || {
        client.post(&url).header("idempotency-key", "k").header("content-type", "application/json")
    };

    let large = post().body(vec![b' '; 200_000]).send().await.unwrap();
    assert_eq!(large.status().as_u16(), 413);
    let cut = post().body("{").send().await.unwrap();
    assert_eq!(cut.status().as_u16(), 400);
    let long = client.get(format!("{url}/{}", "x".repeat(20_000))).send().await.unwrap();
    assert_eq!(long.status().as_u16(), 414);
    let heavy = post().header("x-heavy", "x".repeat(40_000)).send().await;
    assert!(heavy.is_err() || heavy.unwrap().status().as_u16() == 431);
    world.at(0).get("/v2/sales").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_streams_on_one_connection_and_rapid_resets_leave_others_in_peace() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9 --stock 99999").await;
    let address = world.at(0).address;
    let memory = async || world.metrics(0).await.sum("process_resident_memory_bytes", &[]);
    let before = memory().await;

    // All at once, whatever the other side's bound: what goes beyond it is reset, or the connection ends.
    let many = (0..10_000).map(|n| frame(HEADERS, END_STREAM_AND_HEADERS, 2 * n + 1, GET));
    let flood = abuse(connect(address).await, many, Duration::from_secs(1));
    // Opened and taken back at once (CVE-2023-44487).
    let reset = (0..10_000).flat_map(|n| {
        let stream = 2 * n + 1;
        let cancel = 8_u32.to_be_bytes();
        [frame(HEADERS, END_STREAM_AND_HEADERS, stream, GET), frame(RST_STREAM, 0, stream, &cancel)]
    });
    let resets = abuse(connect(address).await, reset, Duration::from_secs(1));
    // A head without an end (CVE-2024-27316).
    let endless = std::iter::once(frame(HEADERS, 0, 1, GET))
        .chain((0..10_000).map(|_| frame(CONTINUATION, 0, 1, &[b'\x40'; 1_000])));
    let endless = abuse(connect(address).await, endless, Duration::from_secs(1));
    // Settings without an end (CVE-2019-9515): each must be acknowledged.
    let settings = (0..100_000).map(|_| frame(SETTINGS, 0, 0, &[]));
    let settings = abuse(connect(address).await, settings, Duration::from_secs(1));
    let buying = async {
        for buyer in 0..50 {
            world.at(0).buys(&sale, &format!("buyer-{buyer}"), "1").await;
        }
    };
    let (flood, resets, endless, _, ()) = tokio::join!(flood, resets, endless, settings, buying);

    assert!(
        count(&flood, HEADERS) + count(&flood, RST_STREAM) >= 10_000 || count(&flood, GOAWAY) > 0
    );
    assert!(count(&resets, GOAWAY) > 0, "rapid resets went on");
    assert!(
        count(&endless, GOAWAY) + count(&endless, RST_STREAM) > 0,
        "a head without an end was read"
    );
    let grown = memory().await - before;
    assert!(grown < 100e6, "memory grew by {grown} bytes");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_ends_and_one_that_is_at_work_does_not() {
    let world = World::plan(1).set("http.header_read_timeout", "300ms").start().await;
    let mut silent = TcpStream::connect(world.at(0).address).await.unwrap();
    let mut half = TcpStream::connect(world.at(0).address).await.unwrap();
    half.write_all(&PREFACE[..10]).await.unwrap();
    let idle = connect(world.at(0).address).await;

    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
    // What it began with was never taken: its end may be a reset.
    let _ = half.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    let heard = abuse(idle, std::iter::empty(), Duration::from_secs(5)).await;
    assert!(count(&heard, GOAWAY) > 0, "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_what_was_begun_over_http2() {
    let mut world = World::plan(1)
        .set("shutdown.grace", "0s")
        .set("database.lock_timeout", "10s")
        .set("database.statement_timeout", "20s")
        .start()
        .await;
    let sale = world.create_sale("--items 9").await;
    world.at(0).collects(&sale, "ann", "1").await;
    let mut holder = world.pool().begin().await.unwrap();
    let hold = "SELECT FROM buyers WHERE user_id = 'ann' FOR NO KEY UPDATE";
    sqlx::query(hold).execute(&mut *holder).await.unwrap();
    let body = json!({ "buyer_id": "ann", "sale_id": sale, "items": [{ "id": "2" }] });
    let url = format!("http://{}/v2/checkouts", world.at(0).address);
    let request = client().post(url).header("idempotency-key", "a").json(&body).send();

    let client: Client = world.at(0).clone();
    let (answer, ()) = tokio::join!(request, async {
        until("the checkout waits", async || {
            let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event_type = 'Lock')";
            sqlx::query_scalar::<_, bool>(waits).fetch_one(world.pool()).await.unwrap()
        })
        .await;
        world.instances[0].process.signal(nix::sys::signal::Signal::SIGTERM);
        until("nobody is accepted any more", async || client.status("/health").await.is_none())
            .await;
        holder.rollback().await.unwrap();
    });

    assert_eq!(answer.unwrap().status().as_u16(), 200);
    assert_eq!(world.instances[0].process.exit().await, Some(0));
}
