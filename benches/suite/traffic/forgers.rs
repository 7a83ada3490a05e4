//! Purchases with well-formed codes that are not signed: a real code with another signature each time.

use super::requests::{Code, write_purchase};
use crate::generator::dice::Dice;
use crate::generator::{Answer, Class, Kind, Traffic};

/// Characters of the signature at a code's end.
const SIGNATURE: usize = 16;
/// The alphabet of codes.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Clients that guess signatures.
#[derive(Debug, Clone)]
pub(crate) struct Forgers {
    code: Code,
    dice: Dice,
}

impl Forgers {
    /// Forges codes like this one.
    pub(crate) fn of(code: Code, seed: u64) -> Self {
        Self { code, dice: Dice::new(seed) }
    }
}

impl Traffic for Forgers {
    fn ask(&mut self, _connection: usize, request: &mut Vec<u8>) -> Option<Kind> {
        // 16 characters of 5 bits each, from two rolls of 64 bits.
        let mut bits = (u128::from(self.dice.roll()) << 64) | u128::from(self.dice.roll());
        for character in self.code.as_bytes_mut().iter_mut().rev().take(SIGNATURE) {
            *character = DIGITS[usize::try_from(bits % 32).unwrap_or(0)];
            bits /= 32;
        }
        write_purchase(request, &self.code);
        Some(Kind::Purchase)
    }

    fn take(&mut self, _connection: usize, answer: &Answer<'_>) -> Class {
        match Class::expecting(answer, 404, "code_not_found") {
            // The right signature is not found by chance.
            Class::Accepted => Class::Failed,
            class => class,
        }
    }

    fn lose(&mut self, _connection: usize) {}
}
