//! Buyers who collect items and then purchase them.

use std::collections::VecDeque;

use super::requests::{Code, write_checkout, write_purchase};
use super::tokens::Tokens;
use crate::generator::dice::Dice;
use crate::generator::{Answer, Class, Kind, Traffic};

/// What buyers want.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wants {
    /// One to `lines` random items with numbers up to `items`; the same `buyers` buyers come again and again.
    Some { items: u64, lines: u64, buyers: u64 },
    /// The item with the buyer's number, once: there are as many buyers as items.
    Own { items: u64 },
    /// Item 1, until it is sold out; each buyer comes once.
    TheOne,
}

/// A buyer with the number of items collected so far.
#[derive(Debug, Clone, Copy)]
struct Shopper {
    buyer: u64,
    collected: u64,
    wanted: u64,
    code: Code,
}

/// Buyers who wait for a connection or for a response.
#[derive(Debug)]
pub(crate) struct Shoppers {
    sale: String,
    wants: Wants,
    first_buyer: u64,
    /// Those of all buyers, if they have some.
    tokens: Option<Tokens>,
    came: u64,
    /// Whether the only item is sold out, which ends the traffic.
    is_over: bool,
    /// In order of their waiting time.
    waiting: VecDeque<Shopper>,
    asked: Vec<Option<Shopper>>,
    dice: Dice,
}

impl Shoppers {
    /// Buyers of a sale, over at most this many connections.
    pub(crate) fn new(sale: &str, wants: Wants, first_buyer: u64, connections: usize) -> Self {
        Self {
            sale: sale.to_owned(),
            wants,
            first_buyer,
            tokens: None,
            came: 0,
            is_over: false,
            waiting: VecDeque::with_capacity(connections),
            asked: vec![None; connections],
            dice: Dice::new(first_buyer),
        }
    }

    /// With tokens, which every buyer has.
    pub(crate) fn with_tokens(self, tokens: Tokens) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    fn next_shopper(&mut self) -> Option<Shopper> {
        if let Some(shopper) = self.waiting.pop_front() {
            return Some(shopper);
        }
        let (buyer, wanted) = match self.wants {
            Wants::Some { lines, buyers, .. } => (self.came % buyers, self.dice.up_to(lines)),
            Wants::Own { items } if self.came >= items => return None,
            Wants::TheOne if self.is_over => return None,
            Wants::Own { .. } | Wants::TheOne => (self.came, 1),
        };
        self.came += 1;
        Some(Shopper { buyer, collected: 0, wanted, code: Code::NONE })
    }

    fn item(&mut self, shopper: &Shopper) -> u64 {
        match self.wants {
            Wants::Some { items, .. } => self.dice.up_to(items),
            Wants::Own { .. } => shopper.buyer + 1,
            Wants::TheOne => 1,
        }
    }
}

impl Traffic for Shoppers {
    fn ask(&mut self, connection: usize, request: &mut Vec<u8>) -> Option<Kind> {
        let shopper = self.next_shopper()?;
        self.asked[connection] = Some(shopper);
        let buyer = self.first_buyer + shopper.buyer;
        let kind = if shopper.collected < shopper.wanted {
            let item = self.item(&shopper);
            write_checkout(request, &self.sale, buyer, item);
            Kind::Checkout
        } else {
            write_purchase(request, &shopper.code);
            Kind::Purchase
        };
        if let Some(tokens) = &self.tokens {
            tokens.add(request, buyer);
        }
        Some(kind)
    }

    fn take(&mut self, connection: usize, answer: &Answer<'_>) -> Class {
        let Some(mut shopper) = self.asked[connection].take() else { return Class::Failed };
        let is_purchase = shopper.collected == shopper.wanted;
        let class = match answer.code() {
            Some(b"item_sold_out" | b"sale_sold_out" | b"items_already_sold")
                if answer.status == 409 =>
            {
                Class::Refused
            }
            _ => Class::of(answer),
        };
        match class {
            Class::Accepted if is_purchase => {}
            Class::Accepted => {
                let Some(code) = answer.code().and_then(Code::new) else { return Class::Failed };
                (shopper.collected, shopper.code) = (shopper.collected + 1, code);
                self.waiting.push_back(shopper);
            }
            // It had no effect: the same request follows later.
            Class::Shed => self.waiting.push_back(shopper),
            Class::Refused => self.is_over = true,
            Class::Failed => {}
        }
        class
    }

    fn lose(&mut self, connection: usize) {
        self.asked[connection] = None;
    }
}
