//! Rate limits in responses (draft-ietf-httpapi-ratelimit-headers-11): `RateLimit-Policy: "buyer";q=20;w=1` is a quota of 20
//! requests in a window of 1 second, `RateLimit: "buyer";r=3;t=1` that 3 are left, and that in 1 second there are more.

use std::fmt::Write;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};

use crate::application::ports::{Admission, LimitedBy};
use crate::infrastructure::http::model::headers::{RATE_LIMIT, RATE_LIMIT_POLICY};

/// Adds the limits that a request was counted by.
pub(super) fn add(headers: &mut HeaderMap, admission: &Admission) {
    let (mut policies, mut states) = (String::new(), String::new());
    for by in LimitedBy::ALL {
        let Some((limit, level)) = admission.levels[by as usize] else { continue };
        if !policies.is_empty() {
            policies.push_str(", ");
            states.push_str(", ");
        }
        let name = by.as_str();
        let _ = write!(policies, "\"{name}\";q={};w={}", limit.quota(), limit.window().as_secs());
        let remaining = limit.remaining(level);
        let more_in = if remaining == 0 { limit.wait(level) } else { level.0 };
        let _ = write!(states, "\"{name}\";r={remaining};t={}", seconds(more_in));
    }
    if policies.is_empty() {
        return;
    }
    headers.extend(HeaderValue::try_from(policies).ok().map(|value| (RATE_LIMIT_POLICY, value)));
    headers.extend(HeaderValue::try_from(states).ok().map(|value| (RATE_LIMIT, value)));
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
