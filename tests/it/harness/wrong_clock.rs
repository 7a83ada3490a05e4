//! Processes whose clock is wrong, by libfaketime.

use std::path::Path;

/// Paths of libfaketime in distributions.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

/// The environment of a process whose wall clock is off; its monotonic clock is right. `None` where the library is not installed.
pub(crate) fn wrong_clock(off: &'static str) -> Option<[(&'static str, &'static str); 3]> {
    let library = FAKETIME.into_iter().find(|path| Path::new(path).exists())?;
    Some([("LD_PRELOAD", library), ("FAKETIME", off), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")])
}
