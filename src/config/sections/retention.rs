//! `retention.*`: how long sales are kept.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::{DAY, SECOND};

/// `retention.*`
#[derive(Debug, Clone)]
pub struct RetentionConfig {
    /// For ever, if `None`.
    pub keep: Option<Duration>,
}

impl RetentionConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        const KEY: &str = "retention.keep";
        let is_set = !read.text(KEY).trim().is_empty();
        let keep = is_set.then(|| read.duration(KEY, SECOND..=36_500 * DAY));
        Self { keep }
    }
}
