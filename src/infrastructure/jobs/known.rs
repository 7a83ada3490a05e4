//! The types of jobs by name.

use serde_json::Value;

use super::types::TYPES;
use super::types::payload::InvalidPayload;
use crate::application::ports::{InvalidWork, JobTypes, JobWork};

/// The types of this release.
pub(crate) struct KnownTypes {
    max_attempts: u16,
}

impl KnownTypes {
    /// Types without a limit of their own have this many attempts.
    pub(crate) fn new(max_attempts: u16) -> Self {
        Self { max_attempts }
    }
}

impl JobTypes for KnownTypes {
    fn work(
        &self,
        job_type: &str,
        version: Option<u32>,
        payload: &str,
    ) -> Result<JobWork, InvalidWork> {
        let Some(spec) = TYPES.iter().find(|spec| spec.name == job_type) else {
            let known = TYPES.iter().map(|spec| format!("{} {}", spec.name, spec.takes));
            return Err(InvalidWork::UnknownType {
                name: job_type.to_owned(),
                known: known.collect(),
            });
        };
        let parsed = serde_json::from_str::<Value>(payload)
            .map_err(|error| InvalidPayload::Wrong(format!("which is no JSON: {error}")));
        let checked =
            parsed.and_then(|payload| (spec.check)(version.unwrap_or(spec.version), payload));
        let payload = checked.map_err(|invalid| InvalidWork::Payload {
            job_type: spec.name,
            why: invalid.why(),
            takes: spec.takes,
        })?;
        Ok(JobWork {
            job_type: spec.name,
            version: spec.version,
            payload: payload.to_string(),
            queue: spec.queue(),
            max_attempts: spec.limits.attempts.unwrap_or(self.max_attempts),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_is_refused_with_all_that_exist_and_what_they_take() {
        let refused = KnownTypes::new(3).work("rebuild", None, "{}").unwrap_err().to_string();

        for spec in TYPES {
            assert!(refused.contains(spec.name) && refused.contains(spec.takes), "{refused}");
        }
    }

    #[test]
    fn a_payload_that_no_worker_could_run_is_refused_with_what_the_type_takes() {
        let types = KnownTypes::new(3);

        for payload in ["", "[]", r#"{"sale":"S-1"}"#, r#"{"sale_id":"1"}"#, "{} {}"] {
            let refused = types.work("rebuild_filter", None, payload).unwrap_err().to_string();
            assert!(refused.contains("sale_id"), "{payload}: {refused}");
        }
        assert!(types.work("rebuild_filter", Some(2), "{}").is_err());
        let work = types.work("rebuild_filter", None, r#" {"sale_id" : "S-1"} "#).unwrap();
        assert_eq!((work.version, work.payload.as_str()), (1, r#"{"sale_id":"S-1"}"#));
        assert_eq!((work.queue, work.max_attempts), ("rebuild_filter", 3));
        assert_eq!(types.work("noop", None, "{}").unwrap().queue, "default");
    }

    #[test]
    fn a_type_may_have_fewer_attempts_than_the_others() {
        let types = KnownTypes::new(12);

        let attempts = |name: &str| types.work(name, None, "{}").unwrap().max_attempts;

        assert_eq!((attempts("drop_sales"), attempts("prune_keys")), (3, 12));
    }
}
