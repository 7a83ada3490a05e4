//! Requests as bytes, and what identifies buyers and checkouts in them.

use std::io::Write;

/// Buyers of one generator thread: each thread begins at another multiple of this.
const BUYERS_A_THREAD: u64 = 1_000_000_000;
/// Size of the longest code; the service's have about 40 characters.
const CODE_BYTES: usize = 64;

/// The first buyer of a thread.
pub(crate) fn first_buyer(thread: usize) -> u64 {
    u64::try_from(thread).unwrap_or(0) * BUYERS_A_THREAD + 1
}

/// A checkout's code, without an allocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code {
    bytes: [u8; CODE_BYTES],
    length: usize,
}

impl Code {
    /// An empty code.
    pub(crate) const NONE: Self = Self { bytes: [0; CODE_BYTES], length: 0 };

    /// A code; `None` if it is too long.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let mut code = Self { length: text.len(), ..Self::NONE };
        code.bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(code)
    }

    /// Its characters.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Its characters, to be changed.
    pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

/// Writes a checkout of one item.
pub(super) fn write_checkout(request: &mut Vec<u8>, sale: &str, buyer: u64, item: u64) {
    // Writing into a vector cannot fail.
    let _ = write!(
        request,
        "POST /checkout?user_id=b{buyer}&item_id={item}&sale_id={sale} HTTP/1.1\r\n\
         Host: bench\r\nContent-Length: 0\r\n\r\n"
    );
}

/// Writes a checkout of one item in version 2, with an idempotency key.
pub(super) fn write_keyed_checkout(request: &mut Vec<u8>, sale: &str, buyer: u64, item: u64) {
    let body =
        format!(r#"{{"buyer_id":"b{buyer}","sale_id":"{sale}","items":[{{"id":"{item}"}}]}}"#);
    let _ = write!(
        request,
        "POST /v2/checkouts HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
         Idempotency-Key: k{buyer}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
}

/// Writes a purchase in version 2, with an idempotency key.
pub(super) fn write_keyed_purchase(request: &mut Vec<u8>, code: &Code) {
    request.extend_from_slice(b"POST /v2/checkouts/");
    request.extend_from_slice(code.as_bytes());
    request.extend_from_slice(b"/purchase HTTP/1.1\r\nHost: bench\r\nIdempotency-Key: ");
    request.extend_from_slice(code.as_bytes());
    request.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
}

/// Writes a purchase.
pub(super) fn write_purchase(request: &mut Vec<u8>, code: &Code) {
    request.extend_from_slice(b"POST /purchase?code=");
    request.extend_from_slice(code.as_bytes());
    request.extend_from_slice(b" HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n");
}
