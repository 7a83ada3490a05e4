//! `live.*`: the events of sales.

use crate::config::reader::Reader;

/// `live.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct LiveConfig {
    pub max_listeners: usize,
}

impl LiveConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self { max_listeners: read.number("live.max_listeners", 1..=1_000_000) }
    }
}
