//! What endpoints of webhooks answer, and what the service then does: over TLS, later, or never again.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio_rustls::TlsAcceptor;

use crate::harness::endpoint::Endpoint;
use crate::harness::world::Plan;
use crate::harness::{World, eventually, until};

/// An instance that delivers, also to this machine.
fn plan() -> Plan {
    World::plan(1).set("jobs.enabled", "true").set("webhooks.allow_private", "true")
}

async fn shown(world: &World, id: &str) -> Value {
    world.program.run(&["webhook", "show", id]).await.succeeded().documents().remove(0)
}

/// A certificate of `localhost` that it has signed itself, and a server that has it.
fn localhost() -> (String, TlsAcceptor) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_over_tls_gets_events_if_its_authority_is_trusted() {
    let (trusted, acceptor) = localhost();
    let file = std::env::temp_dir().join(format!("ca-{}.pem", uuid::Uuid::now_v7().simple()));
    std::fs::write(&file, trusted).unwrap();
    let world = plan().set("webhooks.ssl_root_cert", file.to_str().unwrap()).start().await;
    let endpoint = Endpoint::start_over_tls(acceptor).await;
    let id = endpoint.is_added_by(&world.program).await;
    let stranger = Endpoint::start_over_tls(localhost().1).await;
    let unknown = stranger.is_added_by(&world.program).await;
    let sale = world.create_sale("--items 1").await;

    world.at(0).buys(&sale, "ann", "1").await;

    until("the purchase is told", async || {
        endpoint.received().iter().any(|event| event["data"]["buyer_id"] == "ann")
    })
    .await;
    assert_eq!(shown(&world, &id).await["failures"], 0);
    let ran = world.program.run(&["webhook", "test", &unknown]).await;
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stdout.contains("TLS failed"), "{ran}");
    until("its failure is shown", async || shown(&world, &unknown).await["failures"] != 0).await;
    assert_eq!(stranger.received(), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_asks_for_time_gets_it() {
    const ASKED: u16 = 4;
    let world = plan().start().await;
    let endpoint = Endpoint::start().await;
    endpoint.answer_with(429);
    endpoint.ask_for(ASKED);
    endpoint.is_added_by(&world.program).await;
    let sale = world.create_sale("--items 1").await;

    world.at(0).buys(&sale, "ann", "1").await;

    let first = eventually("it is tried", async || endpoint.tries().first().copied()).await;
    until("it has been tried again", async || {
        endpoint.tries().last().is_some_and(|at| *at - first > Duration::from_secs(1))
    })
    .await;
    endpoint.answer_with(204);
    until("the purchase is told", async || !endpoint.received().is_empty()).await;
    // Other events of the sale may have been on their way with the first one.
    let tries = endpoint.tries().into_iter().map(|at| at - first);
    let later: Vec<_> = tries.filter(|after| *after > Duration::from_secs(1)).collect();
    assert!(later.iter().all(|after| *after >= Duration::from_secs(ASKED.into())), "{later:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_disabled_and_gets_nothing_until_it_is_resumed() {
    let world = plan().start().await;
    let endpoint = Endpoint::start().await;
    endpoint.answer_with(410);
    let id = endpoint.is_added_by(&world.program).await;
    let sale = world.create_sale("--items 3").await;

    world.at(0).buys(&sale, "ann", "1").await;

    until("it is disabled", async || shown(&world, &id).await["state"] == "disabled").await;
    let reason = shown(&world, &id).await["reason"].clone();
    assert!(reason.as_str().unwrap().contains("410"), "{reason}");
    let tries = endpoint.tries().len();
    world.at(0).buys(&sale, "bob", "2").await;
    endpoint.answer_with(204);
    world.program.run(&["webhook", "resume", &id]).await.succeeded();
    world.at(0).buys(&sale, "carl", "3").await;
    until("the purchase after the resumption is told", async || {
        endpoint.received().iter().any(|event| event["data"]["buyer_id"] == "carl")
    })
    .await;
    assert!(endpoint.tries().len() > tries);
    world.verify().await;
}
