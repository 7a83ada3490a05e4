//! The decision whether a request is traced, made once, at its head.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::trace::SpanContext;

/// Most traces that callers may ask for in a second. Buyers' requests come from anywhere: a header must not make the service trace
/// all of them.
const ASKED_A_SECOND: u32 = 100;

/// Decides.
#[derive(Debug)]
pub(crate) struct Sampling {
    ratio: f64,
    asked: Mutex<(Instant, u32)>,
}

impl Sampling {
    /// Of requests whose caller has not decided, this part is traced.
    pub(crate) fn new(ratio: f64) -> Self {
        Self { ratio, asked: Mutex::new((Instant::now(), 0)) }
    }

    /// Whether a request with this parent is traced. What the caller has decided holds, so that no trace has a hole; beyond
    /// [`ASKED_A_SECOND`] it counts as undecided.
    pub(super) fn takes(&self, parent: Option<&SpanContext>) -> bool {
        match parent {
            Some(parent) if !parent.is_sampled() => false,
            Some(_) if self.may_ask() => true,
            Some(_) | None => fastrand::f64() < self.ratio,
        }
    }

    fn may_ask(&self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = &mut *asked;
        if since.elapsed() >= Duration::from_secs(1) {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        *count <= ASKED_A_SECOND
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    fn parent(flags: TraceFlags) -> SpanContext {
        let (trace, span) = (TraceId::from(1_u128), SpanId::from(1_u64));
        SpanContext::new(trace, span, flags, true, TraceState::default())
    }

    #[test]
    fn the_callers_decision_holds() {
        assert!(Sampling::new(0.0).takes(Some(&parent(TraceFlags::SAMPLED))));
        assert!(!Sampling::new(1.0).takes(Some(&parent(TraceFlags::NOT_SAMPLED))));
    }

    #[test]
    fn callers_cannot_have_every_request_traced() {
        let (sampling, asks) = (Sampling::new(0.0), parent(TraceFlags::SAMPLED));
        let began = Instant::now();

        let taken = (0..10_000).filter(|_| sampling.takes(Some(&asks))).count();

        let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
        assert!(taken <= ASKED_A_SECOND as usize * seconds, "{taken}");
    }

    #[test]
    fn of_the_others_the_ratio_is_traced() {
        let taken = |ratio| (0..10_000).filter(|_| Sampling::new(ratio).takes(None)).count();

        assert_eq!((taken(0.0), taken(1.0)), (0, 10_000));
        assert!((300..700).contains(&taken(0.05)));
    }
}
