//! HTTP/2 without TLS, and connections that abuse it.

use std::future::pending;
use std::net::SocketAddr;

use futures_util::future::join_all;
use reqwest::Version;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::client::builder;
use crate::harness::locks::{hold_buyer, waiting};
use crate::harness::{Client, PATIENCE, World, until};

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

/// A connection that has sent its preface and settings.
async fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// Sends frames as long as the server reads them. Returns the kinds of the frames that the server sent until it closed the
/// connection, or until it sent this many of these kinds.
async fn abuse(
    stream: TcpStream,
    frames: impl Iterator<Item = Vec<u8>>,
    (kinds, times): (&[u8], usize),
) -> Vec<u8> {
    let (mut reader, mut writer) = stream.into_split();
    let receiving = async {
        let (mut received, mut found) = (Vec::new(), 0);
        let mut header = [0; 9];
        while found < times && reader.read_exact(&mut header).await.is_ok() {
            received.push(header[3]);
            found += usize::from(kinds.contains(&header[3]));
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if reader.read_exact(&mut payload).await.is_err() {
                break;
            }
        }
        received
    };
    let sending = async {
        for frame in frames {
            if writer.write_all(&frame).await.is_err() {
                break;
            }
        }
        // The connection stays open: only the server may end it.
        pending().await
    };
    let received = async {
        tokio::select! { received = receiving => received, never = sending => never }
    };
    tokio::time::timeout(PATIENCE, received).await.unwrap()
}

fn count(received: &[u8], kind: u8) -> usize {
    received.iter().map(|received| usize::from(*received == kind)).sum()
}

fn client() -> reqwest::Client {
    builder().http2_prior_knowledge().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_purchase_works_over_one_http2_connection() {
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

    // More than may run at a time: the others wait.
    let sales = (0..500).map(|_| client.get(format!("{base}/v2/sales/{sale}")).send());
    for answer in join_all(sales).await {
        assert_eq!(answer.unwrap().status().as_u16(), 200);
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_over_http2_as_well() {
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
async fn ten_thousand_streams_on_one_connection_and_rapid_resets_do_not_disturb_buyers() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9 --stock 99999").await;
    let address = world.at(0).address;
    let memory = async || world.metrics(0).await.sum("process_resident_memory_bytes", &[]);
    let before = memory().await;

    // All at once: the server resets streams beyond its limit, or ends the connection.
    let many = (0..10_000).map(|n| frame(HEADERS, END_STREAM_AND_HEADERS, 2 * n + 1, GET));
    let flood = abuse(connect(address).await, many, (&[HEADERS, RST_STREAM], 10_000));
    // Opened and reset at once (CVE-2023-44487).
    let reset = (0..10_000).flat_map(|n| {
        let stream = 2 * n + 1;
        let cancel = 8_u32.to_be_bytes();
        [frame(HEADERS, END_STREAM_AND_HEADERS, stream, GET), frame(RST_STREAM, 0, stream, &cancel)]
    });
    let resets = abuse(connect(address).await, reset, (&[GOAWAY], 1));
    // Headers without an end (CVE-2024-27316).
    let endless = std::iter::once(frame(HEADERS, 0, 1, GET))
        .chain((0..10_000).map(|_| frame(CONTINUATION, 0, 1, &[b'\x40'; 1_000])));
    let endless = abuse(connect(address).await, endless, (&[GOAWAY, RST_STREAM], 1));
    // Settings without an end (CVE-2019-9515), each of which must be acknowledged.
    let settings = (0..100_000).map(|_| frame(SETTINGS, 0, 0, &[]));
    let settings = abuse(connect(address).await, settings, (&[SETTINGS], 100_000));
    let buying = async {
        for buyer in 0..50 {
            world.at(0).buys(&sale, &format!("buyer-{buyer}"), "1").await;
        }
    };
    let (flood, resets, endless, _, ()) = tokio::join!(flood, resets, endless, settings, buying);

    assert!(
        count(&flood, HEADERS) + count(&flood, RST_STREAM) >= 10_000 || count(&flood, GOAWAY) > 0
    );
    assert!(count(&resets, GOAWAY) > 0, "rapid resets did not end the connection");
    assert!(
        count(&endless, GOAWAY) + count(&endless, RST_STREAM) > 0,
        "headers without an end were read"
    );
    let grown = memory().await - before;
    assert!(grown < 100e6, "memory grew by {grown} bytes");
    world.verify().await;
}

/// A world with this value of these settings, and a sale in which ann has a checkout.
async fn with_checkout(keys: &[&str], value: &str) -> (World, String) {
    let world = keys.iter().fold(World::plan(1), |plan, key| plan.set(key, value)).start().await;
    let sale = world.create_sale("--items 9").await;
    world.at(0).collects(&sale, "ann", "1").await;
    (world, sale)
}

/// Adds an item to ann's checkout over HTTP/2. Returns the status.
async fn collect(address: SocketAddr, sale: &str) -> u16 {
    let body = json!({ "buyer_id": "ann", "sale_id": sale, "items": [{ "id": "2" }] });
    let url = format!("http://{address}/v2/checkouts");
    let request = client().post(url).header("idempotency-key", "a").json(&body).send();
    request.await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_ends_and_a_busy_one_does_not() {
    let (world, sale) =
        with_checkout(&["http.header_read_timeout", "http.idle_timeout"], "1s").await;
    let address = world.at(0).address;
    let hold = hold_buyer(world.pool(), "ann").await;

    let (status, ()) = tokio::join!(collect(address, &sale), async {
        waiting(world.pool(), 1).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(&PREFACE[..10]).await.unwrap();

        let mut rest = Vec::new();
        silent.read_to_end(&mut rest).await.unwrap();
        // The server closes it with unread bytes, which may be a reset.
        let _ = half.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        // One after the other, so that the busy one has been open for longer than an idle one may be.
        for _ in 0..2 {
            let idle = connect(address).await;
            let received = abuse(idle, std::iter::empty(), (&[GOAWAY], 1)).await;
            assert!(count(&received, GOAWAY) > 0, "{received:?}");
        }
        hold.rollback().await.unwrap();
    });

    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_finishes_requests_over_http2() {
    let (mut world, sale) = with_checkout(&["shutdown.grace"], "0s").await;
    let client: Client = world.at(0).clone();
    let hold = hold_buyer(world.pool(), "ann").await;

    let (status, ()) = tokio::join!(collect(client.address, &sale), async {
        waiting(world.pool(), 1).await;
        world.instances[0].process.signal(nix::sys::signal::Signal::SIGTERM);
        until("the port is closed", async || client.status("/health").await.is_none()).await;
        hold.rollback().await.unwrap();
    });

    assert_eq!(status, 200);
    assert_eq!(world.instances[0].process.exit().await, Some(0));
}
