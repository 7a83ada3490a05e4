//! What the answer of an endpoint means, and how long to wait after a failure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::application::ports::{EndpointAnswer, Failure, MAX_ERROR_CHARS, NoAnswer};

/// Pause after the first failure of an event; each further one is four times as long.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const RETRY_FACTOR: u32 = 4;
/// Longest pause between two tries of an event.
const LONGEST_RETRY: Duration = Duration::from_hours(6);

/// Pause before the first probe of an endpoint that fails as a whole; each further one is twice as long.
const FIRST_PROBE: Duration = Duration::from_secs(5);
const PROBE_FACTOR: u32 = 2;
/// Longest pause between two probes: how long an endpoint may have to wait after it is back.
const LONGEST_PROBE: Duration = Duration::from_hours(1);

/// Pauses differ by up to this part, so that what failed together is not tried together.
const JITTER: f64 = 0.2;

/// Longest time that an endpoint can ask to be left alone.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The event is delivered.
    Delivered,
    /// It is not.
    Failed(Failure),
    /// It is not, and the endpoint asks for a pause of this length.
    SlowDown(Duration, Failure),
    /// There is no such endpoint any more.
    Gone,
}

/// Judges an answer by the Standard Webhooks specification: only 2xx is success, 410 ends the endpoint, and 429, 502, 503 and 504
/// with `Retry-After` slow deliveries down.
pub(crate) fn verdict(answer: &Result<EndpointAnswer, NoAnswer>) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer,
        Err(NoAnswer(why)) => return Verdict::Failed(failure(why, None)),
    };
    let error = match answer.status {
        200..=299 => return Verdict::Delivered,
        410 => return Verdict::Gone,
        300..=399 => format!("answered {}: redirects are not followed", answer.status),
        status => format!("answered {status}"),
    };
    let failure = failure(&error, Some(answer.status));
    match (answer.status, answer.retry_after) {
        (429 | 502 | 503 | 504, Some(after)) => {
            Verdict::SlowDown(after.clamp(Duration::from_secs(1), LONGEST_RETRY_AFTER), failure)
        }
        _ => Verdict::Failed(failure),
    }
}

fn failure(error: &str, status: Option<u16>) -> Failure {
    // PostgreSQL stores no NUL, and an endpoint's name for an error may have one.
    let error = error.chars().filter(|&c| c != '\0').take(MAX_ERROR_CHARS).collect();
    Failure { error, status }
}

/// Pause before the next try of an event that has failed this often.
pub(crate) fn retry_delay(event: &str, attempts: u32) -> Duration {
    backoff(FIRST_RETRY, RETRY_FACTOR, LONGEST_RETRY, (event, attempts))
}

/// Pause before the next probe of an endpoint that has failed this often as a whole.
pub(crate) fn probe_delay(endpoint: &str, failures: u32) -> Duration {
    backoff(FIRST_PROBE, PROBE_FACTOR, LONGEST_PROBE, (endpoint, failures))
}

fn backoff(
    first: Duration,
    factor: u32,
    longest: Duration,
    (whom, times): (&str, u32),
) -> Duration {
    let growth = factor.checked_pow(times.saturating_sub(1));
    let whole = growth.and_then(|growth| first.checked_mul(growth)).unwrap_or(longest).min(longest);
    whole.mul_f64(1.0 - JITTER * spread(whom, times))
}

/// A number from 0 to 1 that differs between endpoints and tries, and is the same at every call: chance that a test can repeat.
fn spread(whom: &str, times: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (whom, times).hash(&mut hasher);
    f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: Option<u64>) -> Verdict {
        let retry_after = retry_after.map(Duration::from_secs);
        verdict(&Ok(EndpointAnswer { status, retry_after, beginning: String::new() }))
    }

    #[test]
    fn only_2xx_is_success() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status, None), Verdict::Delivered);
        }
        for status in [100, 199, 300, 301, 302, 307, 308, 400, 404, 409, 429, 500, 503] {
            assert!(matches!(judged(status, None), Verdict::Failed(_)), "{status}");
        }
        assert_eq!(judged(410, Some(5)), Verdict::Gone);
    }

    #[test]
    fn only_some_statuses_slow_deliveries_down_and_only_within_bounds() {
        let pause = |status, after| match judged(status, Some(after)) {
            Verdict::SlowDown(pause, _) => Some(pause.as_secs()),
            _ => None,
        };

        for status in [429, 502, 503, 504] {
            assert_eq!(pause(status, 7), Some(7), "{status}");
        }
        assert_eq!([pause(500, 7), pause(400, 7), pause(302, 7)], [None; 3]);
        assert_eq!((pause(429, 0), pause(429, 1_000_000)), (Some(1), Some(3600)));
    }

    #[test]
    fn a_stored_error_is_short_and_has_no_nul() {
        let long = "x\0".repeat(MAX_ERROR_CHARS * 2);

        let Verdict::Failed(failure) = verdict(&Err(NoAnswer(long))) else { panic!() };

        assert_eq!(failure.error, "x".repeat(MAX_ERROR_CHARS));
    }

    #[test]
    fn pauses_grow_over_hours_and_never_exceed_their_bound() {
        let all: Vec<_> = (1..=40).map(|attempts| retry_delay("evt_1", attempts)).collect();

        assert!(all[0] <= FIRST_RETRY && all[0] >= FIRST_RETRY.mul_f64(1.0 - JITTER));
        assert!(all[..6].is_sorted(), "{all:?}");
        assert!(all.iter().all(|pause| *pause <= LONGEST_RETRY));
        let ten_tries: Duration = all[..9].iter().sum();
        assert!(ten_tries > Duration::from_hours(12), "{ten_tries:?}");
        assert!((1..=99).all(|failures| probe_delay("wh_1", failures) <= LONGEST_PROBE));
    }

    #[test]
    fn what_fails_together_is_not_tried_together() {
        let pauses = ["a", "b", "c", "d"].map(|event| retry_delay(event, 3));

        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
        assert_eq!(retry_delay("a", 3), pauses[0]);
    }
}
