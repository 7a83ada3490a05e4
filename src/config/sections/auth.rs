//! `auth.*`: who may buy.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::config::reader::Reader;
use crate::config::units::{DAY, MINUTE, MS};

/// Shortest secret of HS256, in bytes (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// `auth.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct AuthConfig {
    /// If `None`, requests name their buyers.
    pub jwt: Option<JwtConfig>,
    pub signatures_required: bool,
}

/// `auth.jwt.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct JwtConfig {
    pub issuer: Option<String>,
    pub audience: Vec<String>,
    pub algorithms: Vec<TokenAlgorithm>,
    pub hmac_secret: Option<SecretString>,
    pub public_key: Option<String>,
    pub jwks_file: Option<PathBuf>,
    pub jwks_url: Option<Url>,
    pub ssl_root_cert: Option<PathBuf>,
    pub refresh_interval: Duration,
    pub leeway: Duration,
}

/// `auth.jwt.algorithms`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256, by a shared secret.
    Hs256,
    /// RSA with SHA-256, PKCS #1.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl TokenAlgorithm {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

impl AuthConfig {
    /// Reads the section. Only with keys can requests be signed.
    pub(crate) fn read(read: &mut Reader, has_keys: bool) -> Self {
        let has_tokens = read.choice("auth.buyers", &[("none", false), ("jwt", true)]);
        let jwt = JwtConfig::read(read);
        let has_tokens = has_tokens == Some(true);
        if has_tokens {
            jwt.check(read);
        }
        let signatures_required = read.flag("auth.signatures.required");
        if signatures_required && !has_keys {
            read.fault(
                "auth.signatures.required",
                "needs auth.api_keys.secret; make one with `openssl rand -base64 32`",
            );
        }
        Self { jwt: has_tokens.then_some(jwt), signatures_required }
    }
}

impl AuthConfig {
    /// What an operator may not have meant.
    pub(crate) fn warnings(&self, profile: &str) -> Vec<String> {
        let mut warnings = Vec::new();
        match &self.jwt {
            None if profile == "production" && !self.signatures_required => warnings.push(
                "auth.buyers is none: every client that reaches http.port can buy in the name of any buyer. Set auth.buyers to jwt, \
                 unless a gateway in front makes sure who buyers are"
                    .to_owned(),
            ),
            Some(jwt) if jwt.issuer.is_none() || jwt.audience.is_empty() => warnings.push(
                "auth.jwt.issuer or auth.jwt.audience is empty: tokens that the same keys sign for other services are accepted"
                    .to_owned(),
            ),
            _ => {}
        }
        if let Some(jwt) = &self.jwt
            && jwt.jwks_url.as_ref().is_some_and(|url| url.scheme() == "http")
        {
            warnings.push("auth.jwt.jwks_url is not https://: every server on the way can replace the keys of tokens".to_owned());
        }
        warnings
    }
}

impl JwtConfig {
    fn read(read: &mut Reader) -> Self {
        let text = |read: &mut Reader, key| Some(read.text(key)).filter(|text| !text.is_empty());
        Self {
            issuer: text(read, "auth.jwt.issuer"),
            audience: read.list("auth.jwt.audience"),
            algorithms: algorithms(read),
            hmac_secret: text(read, "auth.jwt.hmac_secret").map(SecretString::from),
            public_key: text(read, "auth.jwt.public_key"),
            jwks_file: read.file("auth.jwt.jwks_file"),
            jwks_url: jwks_url(read),
            ssl_root_cert: read.file("auth.jwt.ssl_root_cert"),
            refresh_interval: read.duration("auth.jwt.refresh_interval", 100 * MS..=DAY),
            leeway: read.duration("auth.jwt.leeway", Duration::ZERO..=10 * MINUTE),
        }
    }

    /// What must hold if tokens are verified.
    fn check(&self, read: &mut Reader) {
        let secret = self.hmac_secret.as_ref().map(|secret| secret.expose_secret().len());
        if secret.is_some_and(|bytes| bytes < MIN_SECRET_BYTES) {
            let what = format!(
                "must have at least {MIN_SECRET_BYTES} bytes, such as `openssl rand -hex 32` prints"
            );
            read.fault("auth.jwt.hmac_secret", what);
        }
        if secret.is_some() && !self.algorithms.contains(&TokenAlgorithm::Hs256) {
            read.fault(
                "auth.jwt.algorithms",
                "must contain HS256, because there is an auth.jwt.hmac_secret",
            );
        }
        if self.jwks_file.is_some() && self.jwks_url.is_some() {
            read.fault("auth.jwt.jwks_url", "must not be given with auth.jwt.jwks_file");
        }
        let has_set = self.jwks_file.is_some() || self.jwks_url.is_some();
        if secret.is_none() && self.public_key.is_none() && !has_set {
            read.fault(
                "auth.buyers",
                "jwt needs keys: set auth.jwt.jwks_url, jwks_file, public_key or hmac_secret",
            );
        }
    }
}

fn algorithms(read: &mut Reader) -> Vec<TokenAlgorithm> {
    const KEY: &str = "auth.jwt.algorithms";
    let names = read.list(KEY);
    let algorithms = names.iter().map(|name| TokenAlgorithm::parse(name)).collect();
    match algorithms {
        Some(algorithms) if !names.is_empty() => algorithms,
        _ => {
            read.fault(KEY, "must be some of HS256, RS256, ES256 and EdDSA, separated by commas");
            Vec::new()
        }
    }
}

fn jwks_url(read: &mut Reader) -> Option<Url> {
    const KEY: &str = "auth.jwt.jwks_url";
    let text = Some(read.text(KEY)).filter(|text| !text.is_empty())?;
    let url = Url::parse(&text).ok().filter(|url| {
        let is_plain = url.username().is_empty() && url.password().is_none();
        ["https", "http"].contains(&url.scheme()) && url.has_host() && is_plain
    });
    if url.is_none() {
        read.fault(
            KEY,
            "must be empty, or a URL such as https://login.example/jwks.json, without a password",
        );
    }
    url
}
