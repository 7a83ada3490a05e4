//! Checkouts of one random item each, by a new buyer each time; by buyers with tokens, who come again and again.

use super::requests::{write_checkout, write_keyed_checkout};
use super::tokens::Tokens;
use crate::generator::dice::Dice;
use crate::generator::{Answer, Class, Kind, Traffic};

/// Buyers who come once, unless they have tokens.
#[derive(Debug, Clone)]
pub(crate) struct Checkouts {
    /// Each checkout is in a random one of these.
    sales: Vec<String>,
    items: u64,
    first_buyer: u64,
    next_buyer: u64,
    tokens: Option<Tokens>,
    /// Whether they have idempotency keys, and so are requests of version 2.
    are_keyed: bool,
    refusal: Option<(u16, &'static str)>,
    dice: Dice,
}

impl Checkouts {
    /// Of a random item with a number up to `items`.
    pub(crate) fn of(sale: &str, items: u32, first_buyer: u64) -> Self {
        Self::over(vec![sale.to_owned()], items, first_buyer)
    }

    /// In random ones of these sales.
    pub(crate) fn over(sales: Vec<String>, items: u32, first_buyer: u64) -> Self {
        Self {
            sales,
            items: items.into(),
            first_buyer,
            next_buyer: first_buyer,
            tokens: None,
            are_keyed: false,
            refusal: None,
            dice: Dice::new(first_buyer),
        }
    }

    /// With an idempotency key each.
    pub(crate) fn with_keys(self) -> Self {
        Self { are_keyed: true, ..self }
    }

    /// With tokens.
    pub(crate) fn with_tokens(self, tokens: Tokens) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// Expects this refusal of every checkout.
    pub(crate) fn refused(mut self, status: u16, code: &'static str) -> Self {
        self.refusal = Some((status, code));
        self
    }
}

impl Traffic for Checkouts {
    fn ask(&mut self, _connection: usize, request: &mut Vec<u8>) -> Option<Kind> {
        let item = self.dice.up_to(self.items);
        let sale = match &self.sales[..] {
            [one] => one,
            many => many.get(usize::try_from(self.dice.roll()).ok()? % many.len().max(1))?,
        };
        let write = if self.are_keyed { write_keyed_checkout } else { write_checkout };
        write(request, sale, self.next_buyer, item);
        if let Some(tokens) = &self.tokens {
            tokens.add(request, self.next_buyer);
        }
        self.next_buyer += 1;
        if self.tokens.as_ref().is_some_and(|it| self.next_buyer - self.first_buyer >= it.buyers())
        {
            self.next_buyer = self.first_buyer;
        }
        Some(Kind::Checkout)
    }

    fn take(&mut self, _connection: usize, answer: &Answer<'_>) -> Class {
        match self.refusal {
            // Where everything is sold out, an accepted checkout is a failure.
            Some((status, code)) if answer.is(status, code) => Class::Refused,
            Some(_) if answer.status != 503 => Class::Failed,
            _ => Class::of(answer),
        }
    }

    fn lose(&mut self, _connection: usize) {}
}
