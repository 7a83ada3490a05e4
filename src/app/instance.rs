//! The identity of one run of the service.

use uuid::Uuid;

/// One run of the service.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) run: Uuid,
    /// Its name in logs and in Redis.
    pub(crate) name: String,
}

impl Instance {
    pub(crate) fn new() -> Self {
        let run = Uuid::now_v7();
        let text = run.simple().to_string();
        // The end of a version 7 UUID is random; its beginning is the time, equal for instances that start together.
        let name = text.get(20..).unwrap_or(&text).to_owned();
        Self { run, name }
    }
}
