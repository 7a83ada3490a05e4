//! Why a dependency is away, and which of the reasons the log has already.

use super::reason::Reason;

/// Reasons of one outage that are logged. A dependency that comes back step by step has two or three; one that fails in
/// another way each time must not fill the log.
const MAX_REPORTED: usize = 8;

/// The reasons of an outage, and of the failures before it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Of the last failure.
    reason: Option<Reason>,
    reported: Vec<Reason>,
}

impl Outage {
    /// Of a circuit that the configuration forces open, unless it is closed.
    pub(super) fn unless(is_closed: bool) -> Self {
        let forced = || Reason::new("the configuration forces it open");
        Self { reason: (!is_closed).then(forced), reported: Vec::new() }
    }

    /// Remembers why the last call or probe failed.
    pub(super) fn failed(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }

    /// Why the last one failed.
    pub(super) fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// The same, if the log does not have it yet.
    pub(super) fn report(&mut self) -> Option<Reason> {
        let reason = self.reason.clone()?;
        if self.reported.len() == MAX_REPORTED || self.reported.contains(&reason) {
            return None;
        }
        self.reported.push(reason.clone());
        Some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_of_an_outage_is_reported_once_and_only_some_of_many() {
        let mut outage = Outage::default();
        let mut report = |text: String| {
            outage.failed(Reason::new(&text));
            outage.report().is_some()
        };

        assert!(report("connection refused".to_owned()));
        assert!(report("loading".to_owned()));
        assert!(!report("connection refused".to_owned()));
        let others = (0..100).filter(|number| report(number.to_string())).count();
        assert_eq!(others, MAX_REPORTED - 2);
    }
}
