//! Checkouts first and their purchases later, so that each can be measured alone.

use std::sync::{Arc, Mutex, PoisonError};

use super::checkouts::Checkouts;
use super::requests::{Code, write_purchase};
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
}

impl Codes {
    /// Traffic that makes more codes.
    pub(crate) fn made_by(&self, checkouts: Checkouts) -> Collectors {
        Collectors { checkouts, codes: self.clone() }
    }

    /// Traffic that purchases all codes.
    pub(crate) fn redeemed(&self) -> Redeemers {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Redeemers { codes: std::mem::take(&mut *codes) }
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
        write_purchase(request, &self.codes.pop()?);
        Some(Kind::Purchase)
    }

    fn take(&mut self, _connection: usize, answer: &Answer<'_>) -> Class {
        Class::of(answer)
    }

    fn lose(&mut self, _connection: usize) {}
}
