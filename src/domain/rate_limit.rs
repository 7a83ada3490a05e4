//! Rate limits: how often something may be done, and the arithmetic of the generic cell rate algorithm (GCRA, ITU-T I.371).
//!
//! What is counted is a bucket that every request fills by the same amount of time, its interval, and that time empties. The
//! bucket's level is the only number that has to be kept.

use std::str::FromStr;
use std::time::Duration;

/// Largest quota, and largest burst.
const MAX_REQUESTS: u32 = 1_000_000;
/// A full bucket is empty again after this time at the latest.
const MAX_CAPACITY: Duration = Duration::from_hours(7 * 24);

/// A quota of requests in a window, such as `20/s burst 40`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    quota: u32,
    window: Duration,
    burst: u32,
    /// `window / quota`, which every request needs more than once.
    interval: Duration,
}

/// How full a bucket is: the time until it is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub Duration);

/// Why a text is not a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be empty, or like 20/s burst 40: 1 to {MAX_REQUESTS} requests a second (s), minute (m) or hour (h), and how many \
     may come at once, which a week must make up for"
)]
pub struct InvalidRateLimit;

impl RateLimit {
    fn new(quota: u32, window: Duration, burst: u32) -> Self {
        Self { quota, window, burst, interval: window / quota }
    }

    /// Requests in a window.
    #[must_use]
    pub fn quota(self) -> u32 {
        self.quota
    }

    /// The window.
    #[must_use]
    pub fn window(self) -> Duration {
        self.window
    }

    /// Requests that may come at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// The time by which one request fills the bucket.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.interval
    }

    /// The level of a full bucket.
    #[must_use]
    pub fn capacity(self) -> Duration {
        self.interval() * self.burst
    }

    /// The level after one more request; `None` if it does not fit.
    #[must_use]
    pub fn admit(self, level: Level) -> Option<Level> {
        let next = level.0 + self.interval();
        (next <= self.capacity()).then_some(Level(next))
    }

    /// Requests that fit.
    #[must_use]
    pub fn remaining(self, level: Level) -> u32 {
        let left = self.capacity().saturating_sub(level.0).as_nanos();
        u32::try_from(left / self.interval().as_nanos().max(1)).unwrap_or(self.burst)
    }

    /// The time until one more request fits; zero if it does.
    #[must_use]
    pub fn wait(self, level: Level) -> Duration {
        (level.0 + self.interval()).saturating_sub(self.capacity())
    }

    /// This part of the limit, in percent, and at least one request at a time.
    #[must_use]
    pub fn share(self, percent: u32) -> Self {
        let percent = percent.clamp(1, 100);
        let burst = u32::try_from(u64::from(self.burst) * u64::from(percent) / 100).unwrap_or(1);
        Self::new(self.quota, self.window * 100 / percent, burst.max(1))
    }
}

impl FromStr for RateLimit {
    type Err = InvalidRateLimit;

    fn from_str(text: &str) -> Result<Self, InvalidRateLimit> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (rate, burst) = match words[..] {
            [rate] => (rate, None),
            [rate, "burst", burst] => (rate, Some(burst)),
            _ => return Err(InvalidRateLimit),
        };
        let (quota, unit) = rate.split_once('/').ok_or(InvalidRateLimit)?;
        let window = match unit {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return Err(InvalidRateLimit),
        };
        let quota = requests(quota)?;
        let burst = burst.map_or(Ok(quota), requests)?;
        let limit = Self::new(quota, window, burst);
        if limit.capacity() > MAX_CAPACITY { Err(InvalidRateLimit) } else { Ok(limit) }
    }
}

fn requests(text: &str) -> Result<u32, InvalidRateLimit> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_plain && (1..=MAX_REQUESTS).contains(number));
    number.ok_or(InvalidRateLimit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(text: &str) -> RateLimit {
        text.parse().unwrap()
    }

    #[test]
    fn a_limit_has_a_quota_a_window_and_a_burst() {
        let limit = limit("20/s burst 40");

        assert_eq!((limit.quota(), limit.window()), (20, Duration::from_secs(1)));
        assert_eq!(limit.interval(), Duration::from_millis(50));
        assert_eq!(limit.capacity(), Duration::from_secs(2));
    }

    #[test]
    fn without_a_burst_a_whole_quota_may_come_at_once() {
        assert_eq!(limit("90/m").remaining(Level::default()), 90);
        assert_eq!(limit(" 3/h  burst   1 ").interval(), Duration::from_mins(20));
    }

    #[test]
    fn another_text_is_no_limit() {
        for text in [
            "",
            "20",
            "20/d",
            "0/s",
            "+1/s",
            "1.5/s",
            "20/s burst",
            "20/s burst 0",
            "20/s bursts 4",
            "1000001/s",
            "1/s burst 1000001",
            "1/h burst 1000",
            "20/s burst 40 x",
            "٣/s",
            "/s",
            "-1/s",
        ] {
            assert_eq!(text.parse::<RateLimit>(), Err(InvalidRateLimit), "{text}");
        }
    }

    #[test]
    fn a_burst_fits_and_the_next_request_waits_for_an_interval() {
        let limit = limit("20/s burst 3");
        let mut level = Level::default();
        for remaining in [2, 1, 0] {
            level = limit.admit(level).unwrap();
            assert_eq!(limit.remaining(level), remaining);
        }

        assert_eq!(limit.admit(level), None);
        assert_eq!(limit.wait(level), Duration::from_millis(50));
    }

    #[test]
    fn a_share_is_slower_and_smaller() {
        let half = limit("20/s burst 3").share(50);

        assert_eq!(
            (half.interval(), half.remaining(Level::default())),
            (Duration::from_millis(100), 1)
        );
        assert_eq!(limit("1/h").share(1).remaining(Level::default()), 1);
    }

    proptest! {
        #[test]
        fn in_any_time_no_more_pass_than_burst_and_quota(
            quota in 1..500_u32, burst in 1..50_u32, gaps in proptest::collection::vec(0..200_u64, 1..200)
        ) {
            let limit = limit(&format!("{quota}/s burst {burst}"));
            let (mut level, mut passed, mut elapsed) = (Level::default(), 0_u64, 0_u64);
            for gap in gaps {
                elapsed += gap;
                level = Level(level.0.saturating_sub(Duration::from_millis(gap)));
                if let Some(next) = limit.admit(level) {
                    level = next;
                    passed += 1;
                }
                // The interval is rounded down to whole nanoseconds.
                let refilled = Duration::from_millis(elapsed).as_nanos() / limit.interval().as_nanos();
                prop_assert!(u128::from(passed) <= u128::from(burst) + refilled);
            }
        }
    }
}
