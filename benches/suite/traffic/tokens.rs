//! Tokens of buyers, signed before the load begins.

use std::time::Duration;

use serde_json::json;

use crate::issuer::{Issuer, now};

/// Tokens expire after this time, which is longer than any run.
const VALID: Duration = Duration::from_hours(6);

/// The tokens of some buyers, by their numbers.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    first_buyer: u64,
    all: Vec<String>,
}

impl Tokens {
    /// Those of this many buyers, from the first on.
    pub(crate) fn signed(issuer: &Issuer, first_buyer: u64, buyers: u64) -> Self {
        let expires = now() + i64::try_from(VALID.as_secs()).unwrap_or(i64::MAX);
        let token =
            |buyer: u64| issuer.token(&json!({ "sub": format!("b{buyer}"), "exp": expires }));
        Self { first_buyer, all: (first_buyer..first_buyer + buyers).map(token).collect() }
    }

    /// How many buyers have one.
    pub(crate) fn buyers(&self) -> u64 {
        u64::try_from(self.all.len()).unwrap_or(u64::MAX)
    }

    /// Adds the token of a buyer to a request that has no body.
    pub(super) fn add(&self, request: &mut Vec<u8>, buyer: u64) {
        let place = usize::try_from(buyer - self.first_buyer).unwrap_or(usize::MAX);
        let Some(token) = self.all.get(place) else { return };
        // The empty line at the end of the head.
        request.truncate(request.len().saturating_sub(2));
        for part in [b"Authorization: Bearer ".as_slice(), token.as_bytes(), b"\r\n\r\n"] {
            request.extend_from_slice(part);
        }
    }
}
