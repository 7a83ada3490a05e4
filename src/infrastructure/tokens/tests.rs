//! What is accepted as a token, and what is not.

#![cfg(test)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::DecodingKey;
use prometheus::Registry;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::keys::UnreadableKeys;
use super::metrics::TokenMetrics;
use super::sources::KeySource;
use super::verifier::JwtVerifier;
use crate::application::ports::{InvalidToken, TokenVerifier};
use crate::config::{JwtConfig, TokenAlgorithm};
use crate::testing::tokens::{Issuer, RSA_PUBLIC_KEY, key_set, now};

const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

/// A key set that the test changes; `None` cannot be read.
#[derive(Clone)]
struct FakeSource {
    json: Arc<Mutex<Option<String>>>,
    is_private: bool,
}

#[async_trait]
impl KeySource for FakeSource {
    async fn read(&self) -> Result<Vec<u8>, UnreadableKeys> {
        let json = self.json.lock().unwrap().clone();
        json.map(String::into_bytes).ok_or(UnreadableKeys::Io("away".to_owned()))
    }

    fn is_private(&self) -> bool {
        self.is_private
    }
}

fn config() -> JwtConfig {
    JwtConfig {
        issuer: None,
        audience: Vec::new(),
        algorithms: vec![
            TokenAlgorithm::Hs256,
            TokenAlgorithm::Rs256,
            TokenAlgorithm::Es256,
            TokenAlgorithm::EdDsa,
        ],
        hmac_secret: None,
        public_key: None,
        jwks_file: None,
        jwks_url: None,
        ssl_root_cert: None,
        refresh_interval: Duration::from_mins(5),
        leeway: Duration::from_secs(5),
    }
}

fn metrics() -> TokenMetrics {
    TokenMetrics::register(&Registry::new()).unwrap()
}

/// A verifier with the keys of these issuers.
async fn verifier(config: &JwtConfig, issuers: &[&Issuer]) -> Arc<JwtVerifier> {
    reading(config, Some(key_set(issuers))).await.0
}

/// A verifier of a key set that can be changed.
async fn reading(config: &JwtConfig, json: Option<String>) -> (Arc<JwtVerifier>, FakeSource) {
    let source = FakeSource { json: Arc::new(Mutex::new(json)), is_private: false };
    let verifier = JwtVerifier::reading(config, Some(Box::new(source.clone())), metrics());
    let verifier = Arc::new(verifier.unwrap());
    verifier.begin().await.unwrap();
    (verifier, source)
}

/// The buyer of a token, or why it has none.
async fn buyer_of(verifier: &JwtVerifier, token: &str) -> Result<String, InvalidToken> {
    assert_eq!(verifier.remembered(token), None);
    let buyer = verifier.verify(token).await?;
    assert_eq!(verifier.remembered(token).as_ref(), Some(&buyer));
    Ok(buyer.as_str().to_owned())
}

#[tokio::test]
async fn a_token_of_each_algorithm_names_its_buyer() {
    let issuers = [Issuer::es256("a"), Issuer::ed25519("b"), Issuer::rs256("c")];
    let verifier = verifier(&config(), &issuers.each_ref()).await;

    for (issuer, buyer) in issuers.iter().zip(["ann", "bob", "eve"]) {
        assert_eq!(buyer_of(&verifier, &issuer.token_for(buyer)).await.unwrap(), buyer);
    }
}

#[tokio::test]
async fn configured_keys_need_no_key_set_and_no_id() {
    let secret = SecretString::from(String::from_utf8(SECRET.to_vec()).unwrap());
    let public_key = Some(RSA_PUBLIC_KEY.to_owned());
    let config = JwtConfig { hmac_secret: Some(secret), public_key, ..config() };
    let verifier = JwtVerifier::reading(&config, None, metrics()).unwrap();

    for issuer in [Issuer::hs256("any", SECRET), Issuer::rs256("any")] {
        assert_eq!(buyer_of(&verifier, &issuer.token_for("ann")).await.unwrap(), "ann");
    }
    let other = Issuer::hs256("any", b"another secret of thirty-two bytes");
    let refused = buyer_of(&verifier, &other.token_for("ann")).await;
    assert_eq!(refused, Err(InvalidToken::Invalid));
}

#[tokio::test]
async fn times_are_checked_with_the_leeway() {
    let issuer = Issuer::es256("a");
    let verifier = verifier(&config(), &[&issuer]).await;
    let result = async |claims: Value| buyer_of(&verifier, &issuer.token(&claims)).await;
    let ann = || Ok("ann".to_owned());

    assert_eq!(result(json!({ "sub": "ann", "exp": now() - 3 })).await, ann());
    assert_eq!(result(json!({ "sub": "ann", "exp": now() - 9 })).await, Err(InvalidToken::Expired));
    let not_before =
        |seconds: i64| json!({ "sub": "ann", "exp": now() + 60, "nbf": now() + seconds });
    assert_eq!(result(not_before(3)).await, ann());
    assert_eq!(result(not_before(30)).await, Err(InvalidToken::NotYet));
    for exp in [json!(null), json!("tomorrow"), json!(-1), json!([1])] {
        assert_eq!(result(json!({ "sub": "ann", "exp": exp })).await, Err(InvalidToken::Invalid));
    }
    assert_eq!(result(json!({ "sub": "ann" })).await, Err(InvalidToken::Invalid));
}

#[tokio::test]
async fn a_token_for_another_service_is_refused() {
    let issuer = Issuer::es256("a");
    let config = JwtConfig {
        issuer: Some("https://login.example".to_owned()),
        audience: vec!["shop".to_owned(), "flash-sale".to_owned()],
        ..config()
    };
    let verifier = verifier(&config, &[&issuer]).await;
    let result = async |iss: Value, aud: Value| {
        let claims = json!({ "sub": "ann", "exp": now() + 60, "iss": iss, "aud": aud });
        buyer_of(&verifier, &issuer.token(&claims)).await.is_ok()
    };
    let login = || json!("https://login.example");

    assert!(result(login(), json!("shop")).await);
    assert!(result(login(), json!(["bank", "flash-sale"])).await);
    for (iss, aud) in [
        (login(), json!("bank")),
        (login(), json!([])),
        (login(), json!(null)),
        (json!("https://evil.example"), json!("shop")),
        (json!(null), json!("shop")),
        (json!(7), json!("shop")),
    ] {
        assert!(!result(iss.clone(), aud.clone()).await, "{iss} {aud}");
    }
}

#[tokio::test]
async fn the_algorithm_is_that_of_the_key_and_never_that_of_the_header() {
    let (rsa, ec) = (Issuer::rs256("rsa"), Issuer::es256("ec"));
    let secret = SecretString::from(String::from_utf8(SECRET.to_vec()).unwrap());
    let config = JwtConfig { hmac_secret: Some(secret), ..config() };
    let verifier = verifier(&config, &[&rsa, &ec]).await;
    let claims = json!({ "sub": "ann", "exp": now() + 60 });
    let public = Issuer::hs256("rsa", RSA_PUBLIC_KEY.as_bytes());

    for token in [
        // The public key of RSA, which is public, as the secret of HS256.
        public.token(&claims),
        public.token_with(&json!({ "alg": "HS256" }), &claims),
        public.token_with(&json!({ "alg": "RS256", "kid": "rsa" }), &claims),
        // No signature.
        rsa.token_with(&json!({ "alg": "none", "kid": "rsa" }), &claims),
        rsa.token_with(&json!({ "alg": "none" }), &claims),
        // The key of another algorithm.
        rsa.token_with(&json!({ "alg": "RS256", "kid": "ec" }), &claims),
        ec.token_with(&json!({ "alg": "ES256", "kid": "rsa" }), &claims),
        ec.token_with(&json!({ "alg": "HS256", "kid": "ec" }), &claims),
        // A key of the attacker, in the token itself.
        ec.token_with(&json!({ "alg": "ES256", "kid": "rsa", "jwk": ec.jwk() }), &claims),
        ec.token_with(&json!({ "alg": "ES256", "kid": "ec", "crit": ["x"], "x": 1 }), &claims),
    ] {
        let refused = buyer_of(&verifier, &token).await;
        assert_eq!(refused, Err(InvalidToken::Invalid), "{token}");
    }
}

#[tokio::test]
async fn the_bytes_of_a_public_key_are_no_secret_of_hs256() {
    let public_key = DecodingKey::from_rsa_pem(RSA_PUBLIC_KEY.as_bytes()).unwrap();
    let forger = Issuer::hs256("r", public_key.try_get_as_bytes().unwrap());
    let config = JwtConfig { public_key: Some(RSA_PUBLIC_KEY.to_owned()), ..config() };
    let verifier = JwtVerifier::reading(&config, None, metrics()).unwrap();

    let refused = buyer_of(&verifier, &forger.token_for("ann")).await;

    assert_eq!(refused, Err(InvalidToken::Invalid));
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let (issuer, stranger) = (Issuer::es256("a"), Issuer::es256("a"));
    let verifier = verifier(&config(), &[&issuer]).await;
    let token = issuer.token_for("ann");
    let (message, signature) = token.rsplit_once('.').unwrap();
    let claims = json!({ "sub": "ann", "exp": now() + 60 });
    let long = json!({ "sub": "ann", "exp": now() + 60, "x": "x".repeat(100_000) });

    for token in [
        String::new(),
        "a.b.c".to_owned(),
        "....".to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!("{message}.{}", &signature[1..]),
        format!("{token}.{signature}"),
        stranger.token(&claims),
        issuer.token(&long),
        issuer.token(&json!([1])),
        issuer.token(&json!({ "exp": now() + 60, "sub": 7 })),
    ] {
        let refused = buyer_of(&verifier, &token).await;
        assert_eq!(refused, Err(InvalidToken::Invalid), "{}", &token[..token.len().min(200)]);
    }
}

#[tokio::test]
async fn the_id_of_a_key_is_only_looked_up() {
    let issuer = Issuer::es256("a");
    let verifier = verifier(&config(), &[&issuer]).await;
    let claims = json!({ "sub": "ann", "exp": now() + 60 });

    for id in ["../../../../dev/null", "' OR 1=1 --", "", "A", &"k".repeat(3_000)] {
        let token = issuer.token_with(&json!({ "alg": "ES256", "kid": id }), &claims);
        assert_eq!(buyer_of(&verifier, &token).await, Err(InvalidToken::UnknownKey), "{id}");
    }
    let without = issuer.token_with(&json!({ "alg": "ES256" }), &claims);
    assert_eq!(buyer_of(&verifier, &without).await.unwrap(), "ann");
}

#[tokio::test]
async fn a_subject_must_be_the_id_of_a_buyer() {
    let issuer = Issuer::es256("a");
    let verifier = verifier(&config(), &[&issuer]).await;

    for sub in ["", ".", "..", "two words", "ü", "a\u{0}b", &"x".repeat(129)] {
        let refused = buyer_of(&verifier, &issuer.token_for(sub)).await;
        assert_eq!(refused, Err(InvalidToken::NoBuyer), "{sub}");
    }
    let longest = "x".repeat(128);
    assert_eq!(buyer_of(&verifier, &issuer.token_for(&longest)).await.unwrap(), longest);
}

#[tokio::test]
async fn an_expired_token_is_not_remembered() {
    let issuer = Issuer::es256("a");
    let config = JwtConfig { leeway: Duration::ZERO, ..config() };
    let verifier = verifier(&config, &[&issuer]).await;
    let token = issuer.token(&json!({ "sub": "ann", "exp": now() + 1 }));
    verifier.verify(&token).await.unwrap();

    while now() <= claims_of(&token)["exp"].as_i64().unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    assert_eq!(verifier.remembered(&token), None);
}

fn claims_of(token: &str) -> Value {
    jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_by_the_first_token_that_names_it() {
    let (old, new) = (Issuer::es256("old"), Issuer::es256("new"));
    let (verifier, source) = reading(&config(), Some(key_set(&[&old]))).await;
    let token = old.token_for("ann");
    verifier.verify(&token).await.unwrap();
    *source.json.lock().unwrap() = Some(key_set(&[&new]));
    let keep_reading = Arc::clone(&verifier).keep_reading();
    let rotation = async {
        let found = verifier.verify(&new.token_for("bob")).await;
        assert_eq!(found.unwrap().as_str(), "bob");
        // The old key is gone, and with it what it had signed.
        assert_eq!(verifier.remembered(&token), None);
        assert_eq!(verifier.verify(&token).await, Err(InvalidToken::UnknownKey));
    };

    tokio::select! { () = keep_reading => {}, () = rotation => {} }
}

#[tokio::test(start_paused = true)]
async fn keys_stay_in_use_while_they_cannot_be_read_again() {
    let issuer = Issuer::es256("a");
    let (verifier, source) = reading(&config(), Some(key_set(&[&issuer]))).await;
    let keep_reading = Arc::clone(&verifier).keep_reading();
    let stranger = Issuer::es256("b");
    let outage = async {
        for broken in [None, Some("<html>"), Some(r#"{"keys":[]}"#)] {
            *source.json.lock().unwrap() = broken.map(str::to_owned);
            tokio::time::sleep(Duration::from_mins(6)).await;
            assert_eq!(
                verifier.verify(&stranger.token_for("eve")).await,
                Err(InvalidToken::UnknownKey)
            );
            assert_eq!(verifier.verify(&issuer.token_for("ann")).await.unwrap().as_str(), "ann");
        }
    };

    tokio::select! { () = keep_reading => {}, () = outage => {} }
}

#[tokio::test(start_paused = true)]
async fn keys_that_could_not_be_read_at_the_start_are_read_soon() {
    let issuer = Issuer::es256("a");
    let (verifier, source) = reading(&config(), None).await;
    let keep_reading = Arc::clone(&verifier).keep_reading();
    let start = async {
        assert_eq!(verifier.verify(&issuer.token_for("ann")).await, Err(InvalidToken::UnknownKey));
        *source.json.lock().unwrap() = Some(key_set(&[&issuer]));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(verifier.verify(&issuer.token_for("ann")).await.unwrap().as_str(), "ann");
    };

    tokio::select! { () = keep_reading => {}, () = start => {} }
}

#[tokio::test]
async fn a_public_key_set_has_no_secrets_and_no_keys_for_other_uses() {
    let (secret, ec) = (Issuer::hs256("s", SECRET), Issuer::es256("e"));
    let mut encrypting = Issuer::rs256("r").jwk();
    encrypting["use"] = "enc".into();
    let keys = json!({ "keys": [secret.jwk(), encrypting, { "kty": "new" }, ec.jwk()] });
    let (verifier, _) = reading(&config(), Some(keys.to_string())).await;

    assert!(verifier.verify(&ec.token_for("ann")).await.is_ok());
    for other in [secret, Issuer::rs256("r")] {
        let refused = verifier.verify(&other.token_for("ann")).await;
        assert_eq!(refused, Err(InvalidToken::UnknownKey));
    }
}

#[tokio::test]
async fn algorithms_that_are_not_allowed_have_no_keys() {
    let (rsa, ec) = (Issuer::rs256("r"), Issuer::es256("e"));
    let config = JwtConfig { algorithms: vec![TokenAlgorithm::Es256], ..config() };
    let verifier = verifier(&config, &[&rsa, &ec]).await;

    assert!(verifier.verify(&ec.token_for("ann")).await.is_ok());
    assert_eq!(verifier.verify(&rsa.token_for("ann")).await, Err(InvalidToken::UnknownKey));
}
