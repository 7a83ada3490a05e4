//! What every type of job has: a payload with a version, limits, and a handler.

use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::application::ports::{BoxError, PortError};
use crate::domain::ids::SaleId;

/// The queue of types without a limit of their own.
pub(crate) const SHARED_QUEUE: &str = "default";

/// What a type of job takes, and how it may run.
pub(crate) trait Payload: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name of the type. It never changes: jobs and schedules in the database have it.
    const NAME: &'static str;
    /// The version of the payload.
    const VERSION: u32 = 1;
    /// The payload, for people.
    const TAKES: &'static str;
    /// How its jobs may run.
    const LIMITS: Limits = Limits::DEFAULT;

    /// A payload of an older version in the newest one, or why that cannot be.
    fn upgrade(version: u32, _payload: Value) -> Result<Value, String> {
        Err(format!("which is of version {version}: this release knows only {}", Self::VERSION))
    }
}

/// How jobs of a type may run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Attempts until a job is dead; `jobs.max_attempts` if `None`.
    pub(crate) attempts: Option<u16>,
    /// Longest time of an attempt; `jobs.timeout` if `None`.
    pub(crate) timeout: Option<Duration>,
    /// Jobs that a worker runs at a time, on slots of their own; if `None` they share those of `jobs.workers`.
    pub(crate) concurrency: Option<usize>,
}

impl Limits {
    /// Those of the configuration.
    pub(crate) const DEFAULT: Self = Self { attempts: None, timeout: None, concurrency: None };
    /// One at a time: a second one would find nothing to do.
    pub(crate) const ONE_AT_A_TIME: Self = Self { concurrency: Some(1), ..Self::DEFAULT };
}

/// Runs the jobs of a type. It may run a job more than once: a worker may die, or its answer be lost.
#[async_trait]
pub(crate) trait Handler<P: Payload>: Send + Sync + 'static {
    /// Runs a job. It may be dropped at every `.await`: when it takes too long, and when the worker stops.
    async fn run(&self, payload: P) -> Result<(), JobError>;
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// Another attempt may succeed.
    #[error(transparent)]
    Temporary(BoxError),
    /// No attempt will succeed.
    #[error("{0}")]
    Permanent(String),
}

impl From<PortError> for JobError {
    fn from(error: PortError) -> Self {
        Self::Temporary(error.into())
    }
}

/// Why a payload cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InvalidPayload {
    /// It was written by a newer release, and a worker of that may run it.
    Newer(u32),
    /// It is wrong, or too old.
    Wrong(String),
}

impl InvalidPayload {
    /// The reason, to follow "this payload,".
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Newer(version) => {
                format!("which is of version {version}: that is of a newer release")
            }
            Self::Wrong(why) => why.clone(),
        }
    }
}

/// Reads a payload of this version.
pub(crate) fn decode<P: Payload>(version: u32, payload: Value) -> Result<P, InvalidPayload> {
    if version > P::VERSION {
        return Err(InvalidPayload::Newer(version));
    }
    let payload = if version < P::VERSION {
        P::upgrade(version, payload).map_err(InvalidPayload::Wrong)?
    } else {
        payload
    };
    // An array would do as well, by the order of the fields.
    if !payload.is_object() {
        return Err(InvalidPayload::Wrong("which is no object".to_owned()));
    }
    serde_json::from_value(payload).map_err(|error| InvalidPayload::Wrong(error.to_string()))
}

/// A type, without its handler.
pub(crate) struct TypeSpec {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) takes: &'static str,
    pub(crate) limits: Limits,
    /// The payload in the newest version.
    pub(crate) check: fn(u32, Value) -> Result<Value, InvalidPayload>,
}

impl TypeSpec {
    /// The type of this payload.
    pub(crate) const fn of<P: Payload>() -> Self {
        Self {
            name: P::NAME,
            version: P::VERSION,
            takes: P::TAKES,
            limits: P::LIMITS,
            check: |version, payload| {
                let payload = decode::<P>(version, payload)?;
                serde_json::to_value(payload)
                    .map_err(|error| InvalidPayload::Wrong(error.to_string()))
            },
        }
    }

    /// The queue of its jobs.
    pub(crate) fn queue(&self) -> &'static str {
        if self.limits.concurrency.is_some() { self.name } else { SHARED_QUEUE }
    }
}

/// A sale's public id in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SaleText(pub(crate) SaleId);

impl TryFrom<String> for SaleText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        SaleId::parse(&text).map(Self).ok_or_else(|| format!("{text:?} is no sale id like S-1"))
    }
}

impl From<SaleText> for String {
    fn from(SaleText(sale): SaleText) -> Self {
        sale.to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Version 2 has called `count` what was `n` in version 1.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Second {
        count: u32,
    }

    impl Payload for Second {
        const NAME: &'static str = "second";
        const VERSION: u32 = 3;
        const TAKES: &'static str = r#"{"count": 1}"#;

        fn upgrade(version: u32, payload: Value) -> Result<Value, String> {
            match version {
                2 => Ok(json!({ "count": payload["n"] })),
                _ => Err(format!("which is of version {version}: nothing remembers it")),
            }
        }
    }

    #[test]
    fn an_older_payload_is_upgraded_or_refused_with_a_reason() {
        assert_eq!(decode::<Second>(3, json!({ "count": 4 })), Ok(Second { count: 4 }));
        assert_eq!(decode::<Second>(2, json!({ "n": 4 })), Ok(Second { count: 4 }));
        let too_old = decode::<Second>(1, json!({})).unwrap_err();
        assert!(too_old.why().contains("version 1"), "{too_old:?}");
        assert_eq!(decode::<Second>(4, json!({})).unwrap_err(), InvalidPayload::Newer(4));
    }
}
