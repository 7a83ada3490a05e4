//! The request and the answer of a checkout.

use std::sync::Arc;

use crate::application::catalogue::Catalogue;
use crate::application::ports::{Edit, RefusalReason};
use crate::application::refusal_facts::{LimitFacts, RefusalFacts, StartFacts};
use crate::domain::checkout::{BuyerPieces, Line};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, BuyerId, ItemId, Quantity, SaleId};
use crate::domain::sale::Sale;
use crate::domain::terms::CheckoutTag;

/// A change of a buyer's open checkout.
#[derive(Debug, Clone)]
pub struct CheckoutCommand {
    /// The buyer.
    pub buyer: BuyerId,
    /// The change, all or nothing.
    pub line_change: LineChange,
    /// The sale; if `None`, the active one.
    pub sale: Option<SaleId>,
    /// The checkout; if `None`, the open one or a new one.
    pub attempt: Option<AttemptId>,
    /// The checkout has one of these tags, or it is not changed; `None`: any.
    pub tags: Option<Vec<CheckoutTag>>,
}

/// A change of a checkout's lines.
#[derive(Debug, Clone)]
pub enum LineChange {
    /// Sets the quantities of these items. At least one; no item appears twice.
    Set(Vec<RequestedLine>),
    /// Removes this item.
    Remove(ItemId),
}

/// An item and its quantity.
#[derive(Debug, Clone)]
pub struct RequestedLine {
    /// The item.
    pub item: ItemId,
    /// Its pieces.
    pub quantity: Quantity,
}

impl LineChange {
    /// The lines to set; none for a removal.
    pub(super) fn lines(&self) -> &[RequestedLine] {
        match self {
            Self::Set(lines) => lines,
            Self::Remove(_) => &[],
        }
    }

    /// The ids of all items of the change.
    pub(super) fn items(&self) -> impl Iterator<Item = &ItemId> {
        let removed = if let Self::Remove(item) = self { Some(item) } else { None };
        self.lines().iter().map(|line| &line.item).chain(removed)
    }

    /// The change by item numbers; `None` if the sale does not have all items.
    pub(super) fn edit(&self, catalogue: &Catalogue) -> Option<Edit> {
        match self {
            Self::Set(lines) => {
                let line = |line: &RequestedLine| {
                    Some(Line { item: catalogue.find(&line.item)?, quantity: line.quantity })
                };
                let mut lines: Vec<Line> = lines.iter().map(line).collect::<Option<_>>()?;
                // Lines of one request are collected in the order of their numbers.
                lines.sort_by_key(|line| line.item);
                Some(Edit::Set(lines))
            }
            Self::Remove(item) => catalogue.find(item).map(Edit::Remove),
        }
    }
}

/// The answer to a checkout.
#[derive(Debug)]
pub enum CheckoutAnswer {
    /// The checkout has been changed as requested.
    Accepted {
        /// The code of the checkout.
        code: CodeClaim,
        /// The lines of the checkout.
        lines: Vec<Line>,
        /// Whether the request created the checkout, or the line if it named a checkout.
        created: bool,
        /// The sale.
        sale: Arc<Sale>,
    },
    /// The checkout is unchanged.
    Refused(CheckoutRefusal),
}

/// Why a checkout is unchanged.
#[derive(Debug)]
pub enum CheckoutRefusal {
    /// The sale refuses the change.
    BySale {
        /// The reason.
        reason: RefusalReason,
        /// The refused items, if the reason concerns items.
        items: Vec<ItemId>,
        /// What else is known of it.
        facts: RefusalFacts,
    },
    /// More pieces of an item than the buyer limit, which this is.
    QuantityBeyondLimit(i32),
    /// No sale has this number.
    SaleNotFound,
    /// The sale was archived.
    SaleArchived,
    /// The request names no sale, and none is open.
    NoActiveSale,
    /// The request names no sale, and several are open.
    SaleIdRequired,
}

impl CheckoutAnswer {
    /// A refusal by the sale that concerns no items.
    pub(super) fn refused(reason: RefusalReason) -> Self {
        Self::refused_for(reason, Vec::new())
    }

    /// A refusal by the sale of these items.
    pub(super) fn refused_for(reason: RefusalReason, items: Vec<ItemId>) -> Self {
        Self::Refused(CheckoutRefusal::BySale { reason, items, facts: RefusalFacts::default() })
    }

    /// The refusal of a buyer who has bought and collected this many pieces.
    pub(super) fn at_limit(limit: i32, pieces: BuyerPieces) -> Self {
        let facts = RefusalFacts { limit: Some(LimitFacts { limit, pieces }), start: None };
        Self::Refused(CheckoutRefusal::BySale {
            reason: RefusalReason::BuyerLimit,
            items: Vec::new(),
            facts,
        })
    }

    /// The refusal of a sale that has not started.
    pub(super) fn before_start(start: Option<StartFacts>) -> Self {
        Self::Refused(CheckoutRefusal::BySale {
            reason: RefusalReason::NotStarted,
            items: Vec::new(),
            facts: RefusalFacts { limit: None, start },
        })
    }

    /// Whether the sale has not started or has ended.
    pub(super) fn is_outside_window(&self) -> bool {
        let Self::Refused(CheckoutRefusal::BySale { reason, .. }) = self else {
            return false;
        };
        matches!(reason, RefusalReason::Ended | RefusalReason::NotStarted)
    }
}
