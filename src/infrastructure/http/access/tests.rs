//! Whom the gate lets in, and as whom.

#![cfg(test)]

use std::collections::HashSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use hmac::{Hmac, KeyInit, Mac};
use prometheus::Registry;
use sha2::{Digest, Sha256};

use super::address::ClientAddresses;
use super::caller::{Caller, Principal};
use super::gate::{Access, AccessPorts, Arrival};
use super::metrics::AccessMetrics;
use crate::application::ports::{
    InvalidToken, NonceStore, PortError, ServiceKey, ServiceKeys, TokenVerifier,
};
use crate::config::{ForwardedHeader, LimitsConfig};
use crate::domain::ids::BuyerId;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::middleware::auth_metrics::AuthMetrics;
use crate::testing::builders::{at, buyer};
use crate::testing::fakes::FakeClock;

const NOW: i64 = 1_767_225_600;
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const TARGET: &str = "/checkout?user_id=ann&item_id=1";

/// Two keys: one may buy, one may not.
struct Keys;

fn key(id: &str) -> Option<ServiceKey> {
    let may_sell = id == "seller";
    ["seller", "reader"].contains(&id).then(|| ServiceKey { id: id.to_owned(), may_sell })
}

#[async_trait]
impl ServiceKeys for Keys {
    async fn verify(&self, presented: &str) -> Result<Option<ServiceKey>, PortError> {
        Ok(presented.strip_prefix("fsk_").and_then(key))
    }

    async fn signing_key(&self, id: &str) -> Result<Option<(ServiceKey, Arc<str>)>, PortError> {
        Ok(key(id).map(|key| (key, format!("fsk_{id}").into())))
    }

    async fn signed(&self, _: &str) {}
}

/// Tokens that are the names of their buyers. Ann's is remembered.
struct Tokens;

#[async_trait]
impl TokenVerifier for Tokens {
    fn remembered(&self, token: &str) -> Option<BuyerId> {
        (token == "token-of-ann").then(|| buyer("ann"))
    }

    async fn verify(&self, token: &str) -> Result<BuyerId, InvalidToken> {
        let name = token.strip_prefix("token-of-").ok_or(InvalidToken::Invalid)?;
        Ok(buyer(name))
    }
}

#[derive(Default)]
struct Nonces(Mutex<HashSet<String>>);

#[async_trait]
impl NonceStore for Nonces {
    async fn is_first_use(&self, key: &str, nonce: &str) -> Result<bool, PortError> {
        Ok(self.0.lock().unwrap().insert(format!("{key} {nonce}")))
    }
}

fn gate(has_tokens: bool, has_signatures: bool) -> Access {
    let ports = AccessPorts {
        tokens: if has_tokens { Some(Arc::new(Tokens)) } else { None },
        keys: Arc::new(Keys),
        nonces: if has_signatures { Some(Arc::<Nonces>::default()) } else { None },
        limiter: None,
        clock: FakeClock::at(at(NOW)),
    };
    let limits = LimitsConfig {
        buyer: None,
        address: None,
        api_key: None,
        routes: Vec::new(),
        local_share: 50,
        trusted_proxies: Vec::new(),
        forwarded_header: ForwardedHeader::Auto,
    };
    let registry = Registry::new();
    let auth = Arc::new(AuthMetrics::register(&registry).unwrap());
    let metrics = AccessMetrics::register(&registry, auth).unwrap();
    Access::new(ports, ClientAddresses::new(&limits), metrics).unwrap()
}

fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
    let header = |(name, value): &(&'static str, String)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(header).collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The headers of a request that this key signs.
fn signed(key: &str, seconds: i64, nonce: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    let hash = hex(&Sha256::digest(body));
    let mut mac = Hmac::<Sha256>::new_from_slice(format!("fsk_{key}").as_bytes()).unwrap();
    mac.update(format!("{seconds}.{nonce}.POST.{TARGET}.{hash}").as_bytes());
    let mac = hex(&mac.finalize().into_bytes());
    vec![
        ("signature-key", key.to_owned()),
        ("signature-timestamp", seconds.to_string()),
        ("signature-nonce", nonce.to_owned()),
        ("signature", format!("v1={mac}")),
    ]
}

/// As whom a request with these headers is let in, or the status of the refusal.
async fn let_in(
    gate: &Access,
    pairs: &[(&'static str, String)],
    body: &[u8],
) -> Result<Principal, StatusCode> {
    let (target, headers) = (TARGET.parse().unwrap(), headers(pairs));
    principal(gate.let_in(&arrival(&target, &headers, body)).await)
}

/// The same without I/O; `None` if that cannot tell.
fn let_in_at_once(
    gate: &Access,
    pairs: &[(&'static str, String)],
) -> Option<Result<Principal, StatusCode>> {
    let (target, headers) = (TARGET.parse().unwrap(), headers(pairs));
    gate.let_in_at_once(&arrival(&target, &headers, b"")).map(principal)
}

fn arrival<'r>(target: &'r Uri, headers: &'r HeaderMap, body: &'r [u8]) -> Arrival<'r> {
    let (method, route) = (&Method::POST, Some("/checkout"));
    Arrival { peer: PEER, method, target, headers, body, route, is_of_buyer: true }
}

fn principal(
    (mut caller, result): (Caller, Result<(), ApiError>),
) -> Result<Principal, StatusCode> {
    result.map(|()| caller.parts().0.clone()).map_err(|error| error.entry().status)
}

fn service() -> Principal {
    Principal::Service("seller".to_owned())
}

const REFUSED: Result<Principal, StatusCode> = Err(StatusCode::UNAUTHORIZED);

#[tokio::test]
async fn a_token_is_a_buyer_and_a_key_that_may_buy_is_a_service() {
    let gate = gate(true, false);
    let token = |token: &str| ("authorization", format!("Bearer {token}"));
    let key = |key: &str| ("x-api-key", key.to_owned());
    let ann = Ok(Principal::Buyer(buyer("ann")));

    assert_eq!(let_in(&gate, &[token("token-of-ann")], b"").await, ann);
    assert_eq!(let_in(&gate, &[key("fsk_seller")], b"").await, Ok(service()));
    assert_eq!(let_in(&gate, &[key("fsk_reader")], b"").await, Err(StatusCode::FORBIDDEN));
    for refused in [
        vec![],
        vec![token("forged")],
        vec![key("fsk_other")],
        vec![key("fsk_other"), token("token-of-ann")],
        vec![key("fsk_seller"), key("fsk_seller")],
        vec![("authorization", "Basic YW5uOg==".to_owned())],
    ] {
        assert_eq!(let_in(&gate, &refused, b"").await, REFUSED, "{refused:?}");
    }
}

#[tokio::test]
async fn a_signed_request_is_let_in_once() {
    let gate = gate(false, true);

    assert_eq!(let_in(&gate, &signed("seller", NOW, "n1", b"{}"), b"{}").await, Ok(service()));
    assert_eq!(let_in(&gate, &signed("seller", NOW, "n1", b"{}"), b"{}").await, REFUSED);
    assert_eq!(let_in(&gate, &signed("seller", NOW - 300, "n2", b""), b"").await, Ok(service()));
    assert_eq!(let_in(&gate, &signed("seller", NOW + 300, "n3", b""), b"").await, Ok(service()));
}

#[tokio::test]
async fn a_request_that_is_not_signed_well_uses_up_no_nonce() {
    let gate = gate(false, true);
    let good = || signed("seller", NOW, "n1", b"");

    for (refused, body) in [
        (vec![], ""),
        (good()[1..].to_vec(), ""),
        (good(), "other"),
        (signed("seller", NOW - 301, "n1", b""), ""),
        (signed("seller", NOW + 301, "n1", b""), ""),
        (signed("other", NOW, "n1", b""), ""),
        (vec![("x-api-key", "fsk_seller".to_owned())], ""),
    ] {
        assert_eq!(let_in(&gate, &refused, body.as_bytes()).await, REFUSED, "{refused:?}");
    }
    let forbidden = let_in(&gate, &signed("reader", NOW, "n1", b""), b"").await;
    assert_eq!(forbidden, Err(StatusCode::FORBIDDEN));
    assert_eq!(let_in(&gate, &good(), b"").await, Ok(service()));
}

#[tokio::test]
async fn a_signed_request_with_a_token_is_that_of_its_buyer() {
    let gate = gate(true, true);
    let token = ("authorization", "Bearer token-of-ann".to_owned());
    let mut both = signed("seller", NOW, "n1", b"");
    both.push(token.clone());

    assert_eq!(let_in(&gate, &both, b"").await, Ok(Principal::Buyer(buyer("ann"))));
    assert_eq!(let_in(&gate, &signed("seller", NOW, "n2", b""), b"").await, Ok(service()));
    assert_eq!(let_in(&gate, &[token], b"").await, REFUSED);
}

#[test]
fn only_who_needs_no_proof_or_a_remembered_token_alone_is_let_in_at_once() {
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let key = ("x-api-key", "fsk_seller".to_owned());
    let (tokens, signatures, both) = (gate(true, false), gate(false, true), gate(true, true));

    let ann = let_in_at_once(&tokens, &[bearer("token-of-ann")]);
    assert_eq!(ann, Some(Ok(Principal::Buyer(buyer("ann")))));
    for (gate, headers) in [
        (&tokens, vec![]),
        (&tokens, vec![bearer("token-of-bob")]),
        (&tokens, vec![bearer("token-of-ann"), key.clone()]),
        (&signatures, vec![]),
        (&signatures, signed("seller", NOW, "n-1", b"")),
        (&both, vec![bearer("token-of-ann")]),
    ] {
        assert_eq!(let_in_at_once(gate, &headers), None, "{headers:?}");
    }
}
