//! The id of a request in the log: the client's if it is safe to log, else a new one.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue};

use crate::domain::ids::RequestId;
use crate::infrastructure::http::model::headers::REQUEST_ID;

/// Minimum number of digits in a new id.
const NUMBER_DIGITS: u32 = 8;
/// Of the greatest number.
const MAX_DIGITS: usize = 16;

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
        let id = new_id(&self.prefix, number);
        HeaderValue::from_maybe_shared(id).unwrap_or(HeaderValue::from_static("unknown"))
    }
}

/// `<prefix>-<number>`, in hexadecimal digits. Without `write!`, because this runs for every request.
fn new_id(prefix: &str, number: u64) -> Bytes {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = NUMBER_DIGITS.max(number.checked_ilog2().unwrap_or_default() / 4 + 1);
    let mut id = Vec::with_capacity(prefix.len() + 1 + MAX_DIGITS);
    id.extend_from_slice(prefix.as_bytes());
    id.push(b'-');
    id.extend(
        (0..digits)
            .rev()
            .map(|place| DIGITS[usize::from((number >> (4 * place)).to_le_bytes()[0] & 15)]),
    );
    id.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_has_the_number_with_eight_digits_or_as_many_as_it_needs() {
        let id = |number: u64| String::from_utf8(new_id("ab", number).to_vec()).unwrap();

        for number in [0, 1, 15, 16, 0xFFFF_FFFF, 0x1_0000_0000, u64::MAX] {
            assert_eq!(id(number), format!("ab-{number:08x}"));
        }
    }
}
