//! Checkouts first and their purchases later, so that each can be measured alone.

use std::sync::{Arc, Mutex, PoisonError};

use super::checkouts::Checkouts;
use super::requests::{Code, write_keyed_purchase, write_purchase};
use crate::generator::{Answer, Class, Kind, Traffic};

/// Codes that are not purchased yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Codes(Arc<Mutex<Vec<Code>>>);

/// Buyers who make one checkout each; their codes are kept.
#[derive(Debug)]
pub(crate) struct Collectors {
    checkouts: Checkouts,
    codes: Codes,
}

/// Buyers who purchase one code each, until none is left.
#[derive(Debug)]
pub(crate) struct Redeemers {
    codes: Vec<Code>,
    /// Whether they send idempotency keys, and so requests of version 2.
    have_keys: bool,
}

impl Codes {
    /// Traffic that makes more codes.
    pub(crate) fn made_by(&self, checkouts: Checkouts) -> Collectors {
        Collectors { checkouts, codes: self.clone() }
    }

    /// The same codes, to purchase them again.
    pub(crate) fn copied(&self) -> Self {
        let codes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self(Arc::new(Mutex::new(codes)))
    }

    /// Traffic that purchases all codes.
    pub(crate) fn redeemed(&self) -> Redeemers {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Redeemers { codes: std::mem::take(&mut *codes), have_keys: false }
    }

    /// The same with an idempotency key each.
    pub(crate) fn redeemed_with_keys(&self) -> Redeemers {
        Redeemers { have_keys: true, ..self.redeemed() }
    }
}

impl Traffic for Collectors {
    fn ask(&mut self, connection: usize, request: &mut Vec<u8>) -> Option<Kind> {
        self.checkouts.ask(connection, request)
    }

    fn take(&mut self, connection: usize, answer: &Answer<'_>) -> Class {
        let class = self.checkouts.take(connection, answer);
        if class != Class::Accepted {
            return class;
        }
        let Some(code) = answer.code().and_then(Code::new) else { return Class::Failed };
        self.codes.0.lock().unwrap_or_else(PoisonError::into_inner).push(code);
        class
    }

    fn lose(&mut self, _connection: usize) {}
}

impl Traffic for Redeemers {
    fn ask(&mut self, _connection: usize, request: &mut Vec<u8>) -> Option<Kind> {
        let write = if self.have_keys { write_keyed_purchase } else { write_purchase };
        write(request, &self.codes.pop()?);
        Some(Kind::Purchase)
    }

    fn take(&mut self, _connection: usize, answer: &Answer<'_>) -> Class {
        Class::of(answer)
    }

    fn lose(&mut self, _connection: usize) {}
}
