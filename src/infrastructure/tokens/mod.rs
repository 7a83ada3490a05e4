//! Tokens of buyers: JSON Web Tokens (RFC 7519), signed with HS256, RS256, ES256 or EdDSA.
//!
//! - [`signatures`]: verifies signatures. [`keys`]: keys with their algorithms, and which of them a token may be signed by.
//! - [`verifier`]: signature and claims. [`verified`]: tokens that were verified before.
//! - [`sources`]: where keys are read from. [`download`]: a key set at a URL. [`refresh`]: reads keys again. [`metrics`].

mod download;
mod keys;
mod metrics;
mod refresh;
mod signatures;
mod sources;
mod tests;
mod verified;
mod verifier;

pub(crate) use metrics::TokenMetrics;
pub(crate) use verifier::{InvalidTokens, JwtVerifier};
