//! Rate limits in responses (draft-ietf-httpapi-ratelimit-headers-11): `RateLimit-Policy: "buyer";q=20;w=1` is a quota of 20
//! requests in a window of 1 second, `RateLimit: "buyer";r=3;t=1` that 3 are left, and that in 1 second there are more.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use itoa::{Buffer, Integer};

use crate::application::ports::{Admission, LimitedBy};
use crate::infrastructure::http::model::headers::{RATE_LIMIT, RATE_LIMIT_POLICY};

/// Longest part of one limit in a header, in bytes.
const PART_BYTES: usize = 48;

/// Adds the limits that a request was counted by.
pub(super) fn add(headers: &mut HeaderMap, admission: &Admission) {
    let room = admission.levels.iter().flatten().count() * PART_BYTES;
    let (mut policies, mut states) = (Vec::with_capacity(room), Vec::with_capacity(room));
    for by in LimitedBy::ALL {
        let Some((limit, level)) = admission.levels[by as usize] else { continue };
        part(&mut policies, by, (b";q=", limit.quota()), (b";w=", limit.window().as_secs()));
        let remaining = limit.remaining(level);
        let more_in = if remaining == 0 { limit.wait(level) } else { level.0 };
        part(&mut states, by, (b";r=", remaining), (b";t=", seconds(more_in)));
    }
    if policies.is_empty() {
        return;
    }
    headers.extend(HeaderValue::try_from(policies).ok().map(|value| (RATE_LIMIT_POLICY, value)));
    headers.extend(HeaderValue::try_from(states).ok().map(|value| (RATE_LIMIT, value)));
}

/// Adds a limit with two numbers. Not by `write!`: it is done for every request.
fn part(
    list: &mut Vec<u8>,
    by: LimitedBy,
    (first, number): (&[u8], impl Integer),
    (second, other): (&[u8], impl Integer),
) {
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    let (mut number_text, mut other_text) = (Buffer::new(), Buffer::new());
    let numbers = (number_text.format(number).as_bytes(), other_text.format(other).as_bytes());
    for text in [b"\"", by.as_str().as_bytes(), b"\"", first, numbers.0, second, numbers.1] {
        list.extend_from_slice(text);
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rate_limit::Level;

    #[test]
    fn every_limit_is_shown_with_what_is_left_of_it() {
        let mut admission = Admission::default();
        let level = |millis| Level(Duration::from_millis(millis));
        admission.levels[0] = Some(("20/s burst 40".parse().unwrap(), level(1_850)));
        admission.levels[1] = Some(("60/m burst 2".parse().unwrap(), level(2_000)));
        let mut headers = HeaderMap::new();

        add(&mut headers, &admission);

        assert_eq!(headers[RATE_LIMIT_POLICY], r#""buyer";q=20;w=1, "address";q=60;w=60"#);
        assert_eq!(headers[RATE_LIMIT], r#""buyer";r=3;t=2, "address";r=0;t=1"#);
    }

    #[test]
    fn without_limits_there_are_no_headers() {
        let mut headers = HeaderMap::new();

        add(&mut headers, &Admission::default());

        assert!(headers.is_empty());
    }
}
