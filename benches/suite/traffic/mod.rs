//! What buyers ask.
//!
//! - [`checkouts`]: checkouts of one item each, by somebody else each time; also what is refused.
//! - [`shoppers`]: checkouts, then the purchase of what was collected.
//! - [`forgers`]: purchases with codes that nobody signed. [`redeemers`]: purchases of codes that were made before.

pub(crate) mod checkouts;
pub(crate) mod forgers;
pub(crate) mod redeemers;
pub(crate) mod shoppers;

use std::io::Write;

pub(crate) use checkouts::Checkouts;
pub(crate) use forgers::Forgers;
pub(crate) use redeemers::Codes;
pub(crate) use shoppers::{Shoppers, Wants};

/// Buyers of one generator thread: others begin at another multiple of this.
const BUYERS_A_THREAD: u64 = 1_000_000_000;
/// Longest code; the service makes some 40 letters.
const CODE_BYTES: usize = 64;

/// The first buyer of a thread.
pub(crate) fn first_buyer(thread: usize) -> u64 {
    u64::try_from(thread).unwrap_or(0) * BUYERS_A_THREAD + 1
}

/// A checkout's code, without a heap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code {
    bytes: [u8; CODE_BYTES],
    length: usize,
}

impl Code {
    /// None yet.
    pub(crate) const NONE: Self = Self { bytes: [0; CODE_BYTES], length: 0 };

    /// `None` if it is too long to be one.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let mut code = Self { length: text.len(), ..Self::NONE };
        code.bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(code)
    }

    /// Its letters.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Its letters, to be changed.
    pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

/// Writes a request for one item.
fn write_checkout(request: &mut Vec<u8>, sale: &str, buyer: u64, item: u64) {
    // Writing into a vector cannot fail.
    let _ = write!(
        request,
        "POST /checkout?user_id=b{buyer}&item_id={item}&sale_id={sale} HTTP/1.1\r\n\
         Host: bench\r\nContent-Length: 0\r\n\r\n"
    );
}

/// Writes a request to buy what a code stands for.
fn write_purchase(request: &mut Vec<u8>, code: &Code) {
    request.extend_from_slice(b"POST /purchase?code=");
    request.extend_from_slice(code.as_bytes());
    request.extend_from_slice(b" HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n");
}
