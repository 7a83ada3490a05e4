//! The id of a request in the log: the client's if it is safe to log, else a new one.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderValue};

use crate::domain::ids::RequestId;
use crate::infrastructure::http::model::headers::REQUEST_ID;

/// Minimum number of digits in a new id.
const MIN_DIGITS: u32 = 8;

/// Creates ids.
pub(crate) struct RequestIds {
    /// The start of every new id, different in each run of an instance.
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new(prefix: String) -> Self {
        Self { prefix, next: AtomicU64::new(1) }
    }

    /// The client's id if it is safe to log, else a new one.
    pub(crate) fn id_of(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(id) = headers.get(REQUEST_ID).filter(|id| RequestId::is_safe(id.as_bytes())) {
            return id.clone();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(new_id(&self.prefix, number))
            .unwrap_or(HeaderValue::from_static("unknown"))
    }
}

/// `{prefix}-{number:08x}`, without the machinery of formats, because this runs for every request.
fn new_id(prefix: &str, number: u64) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(MIN_DIGITS);
    let mut id = Vec::with_capacity(prefix.len() + "-0123456789abcdef".len());
    id.extend_from_slice(prefix.as_bytes());
    id.push(b'-');
    id.extend((0..digits).rev().map(|digit| HEX[(number >> (4 * digit) & 15) as usize]));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_has_eight_digits_or_as_many_as_its_number() {
        for number in [0, 1, 0xab, 0x1234_5678, 0x1_0000_0000, u64::MAX] {
            let id = String::from_utf8(new_id("a-b", number)).unwrap();

            assert_eq!(id, format!("a-b-{number:08x}"));
        }
    }
}
