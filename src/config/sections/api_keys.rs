//! `auth.api_keys.*`: keys of operators and services.

use secrecy::{ExposeSecret, SecretString};

use crate::config::reader::Reader;

const SECRET: &str = "auth.api_keys.secret";
/// Makes keys in development. It is public, so all other profiles reject it.
const DEVELOPMENT_SECRET: &str = "flash-sale development secret of api keys";
/// Minimum length of a secret, in bytes.
const MIN_BYTES: usize = 16;

/// `auth.api_keys.*`
#[derive(Debug, Clone)]
pub struct ApiKeysConfig {
    /// The secret of which keys are made; `None`: there are no keys.
    pub secret: Option<SecretString>,
}

impl ApiKeysConfig {
    /// Reads the section. The port for operators needs a secret, because it serves no request without a key.
    pub(crate) fn read(read: &mut Reader, profile: &str, is_needed: bool) -> Self {
        let secret = read.secret(SECRET);
        let text = secret.expose_secret();
        if text.is_empty() {
            if is_needed {
                read.fault(
                    SECRET,
                    "is needed with admin.port; make one with `openssl rand -base64 32`",
                );
            }
            return Self { secret: None };
        }
        if text.len() < MIN_BYTES {
            read.fault(SECRET, format!("must be at least {MIN_BYTES} bytes long"));
        }
        if text == DEVELOPMENT_SECRET && profile != "development" {
            read.fault(
                SECRET,
                "is the public development secret; make one with `openssl rand -base64 32`",
            );
        }
        Self { secret: Some(secret) }
    }
}
