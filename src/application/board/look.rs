//! One look at PostgreSQL at a time.

use std::time::Duration;

use crate::application::ports::PortError;

/// Lets one look at PostgreSQL happen at a time. Whoever waited shares its result where that is as good as a look of its
/// own; so a PostgreSQL that is away keeps everybody waiting once, and not one behind the other.
#[derive(Default)]
pub(super) struct OneAtATime(pub(super) tokio::sync::Mutex<LastLook>);

#[derive(Default)]
pub(super) struct LastLook {
    /// When the last one that succeeded began.
    pub(super) began_at: Option<Duration>,
    /// When the last one failed.
    pub(super) failed_at: Option<Duration>,
}

impl LastLook {
    /// Whether a look failed after this moment.
    pub(super) fn fails_since(&self, moment: Duration) -> Result<(), PortError> {
        if self.failed_at.is_some_and(|failed_at| failed_at > moment) {
            let source = "somebody else's look for it has just failed".into();
            return Err(PortError::Unavailable { what: "the sale", source });
        }
        Ok(())
    }

    pub(super) fn note<T>(
        &mut self,
        began_at: Duration,
        now: Duration,
        result: &Result<T, PortError>,
    ) {
        match result {
            Ok(_) => self.began_at = Some(began_at),
            Err(_) => self.failed_at = Some(now),
        }
    }
}
