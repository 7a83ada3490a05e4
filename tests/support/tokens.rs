//! An issuer of tokens: its key, its tokens, and its part of a key set.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

/// A key that signs nothing but tokens of tests.
const RSA_KEY: &[u8] = include_bytes!("rsa-of-tests.pem");
/// Its public half.
pub(crate) const RSA_PUBLIC_KEY: &str = include_str!("rsa-of-tests.pub.pem");

/// An issuer of tokens.
pub(crate) struct Issuer {
    id: String,
    key: Key,
}

enum Key {
    Hs256(Vec<u8>),
    Rs256(Box<RsaKeyPair>),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Issuer {
    /// A new key on P-256, with this id.
    pub(crate) fn es256(id: &str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self { id: id.to_owned(), key: Key::Es256(key) }
    }

    /// A new key of Ed25519.
    pub(crate) fn ed25519(id: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        Self { id: id.to_owned(), key: Key::EdDsa(key) }
    }

    /// Always the same key of RSA.
    pub(crate) fn rs256(id: &str) -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(RSA_KEY).unwrap();
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        Self { id: id.to_owned(), key: Key::Rs256(Box::new(key)) }
    }

    /// A shared secret.
    pub(crate) fn hs256(id: &str, secret: &[u8]) -> Self {
        Self { id: id.to_owned(), key: Key::Hs256(secret.to_vec()) }
    }

    /// A token for this buyer, which expires in a minute.
    pub(crate) fn token_for(&self, buyer: &str) -> String {
        self.token(&json!({ "sub": buyer, "exp": now() + 60 }))
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm(), "kid": self.id, "typ": "JWT" });
        self.token_with(&header, claims)
    }

    /// A token with this header, signed by the key in any case.
    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let [header, claims] = [header, claims].map(|part| BASE64.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = BASE64.encode(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn algorithm(&self) -> &'static str {
        match &self.key {
            Key::Hs256(_) => "HS256",
            Key::Rs256(_) => "RS256",
            Key::Es256(_) => "ES256",
            Key::EdDsa(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Hs256(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Key::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let random = SystemRandom::new();
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Key::Es256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Key::EdDsa(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// Its key in a key set.
    pub(crate) fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| BASE64.encode(bytes);
        let (id, alg) = (&self.id, self.algorithm());
        match &self.key {
            Key::Hs256(secret) => json!({ "kty": "oct", "kid": id, "alg": alg, "k": text(secret) }),
            Key::Rs256(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({ "kty": "RSA", "kid": id, "alg": alg, "use": "sig",
                        "n": text(&public.n), "e": text(&public.e) })
            }
            Key::Es256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "kid": id, "crv": "P-256", "x": text(x), "y": text(y) })
            }
            Key::EdDsa(key) => {
                let x = text(key.public_key().as_ref());
                json!({ "kty": "OKP", "kid": id, "alg": alg, "crv": "Ed25519", "x": x })
            }
        }
    }
}

/// A key set with the keys of these issuers.
pub(crate) fn key_set(issuers: &[&Issuer]) -> String {
    let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// Unix time in seconds.
pub(crate) fn now() -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap()
}
