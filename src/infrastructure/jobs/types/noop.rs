//! `noop`: does nothing, for a while if wanted, and fails if wanted. For checking that workers run, that a failing job is reported, and
//! what a worker costs.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::payload::{Handler, JobError, Payload};

/// Longest time that it takes.
const MAX_SECONDS: u32 = 3_600;

/// The payload.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Noop {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<Seconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fail: Option<String>,
}

/// A bounded number of seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Seconds(u32);

impl TryFrom<u32> for Seconds {
    type Error = String;

    fn try_from(seconds: u32) -> Result<Self, String> {
        let is_short = seconds <= MAX_SECONDS;
        is_short.then_some(Self(seconds)).ok_or(format!("at most {MAX_SECONDS} seconds"))
    }
}

impl From<Seconds> for u32 {
    fn from(Seconds(seconds): Seconds) -> Self {
        seconds
    }
}

impl Payload for Noop {
    const NAME: &'static str = "noop";
    const TAKES: &'static str = r#"{"seconds": 5, "fail": "why"}, both optional"#;
}

/// Does nothing.
pub(crate) struct RunNoop;

#[async_trait]
impl Handler<Noop> for RunNoop {
    async fn run(&self, payload: Noop) -> Result<(), JobError> {
        if let Some(Seconds(seconds)) = payload.seconds {
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        }
        match payload.fail {
            Some(why) => Err(JobError::Temporary(why.into())),
            None => Ok(()),
        }
    }
}
