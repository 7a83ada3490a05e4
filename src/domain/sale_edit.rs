//! What an operator may change of a sale, and when.
//!
//! A batch decides by the window that it read. So a start is moved only while it lies ahead, and an end only to a moment ahead, by
//! more than the change takes to be committed: nothing that was decided by the old window is then outside the new one.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::ids::SaleId;
use super::sale::{InvalidSale, Sale, SaleState, SaleWindow, is_buyer_limit, is_sale_name};

/// Time by which a start must lie ahead to be moved or cancelled: longer than the transaction may take that does it.
pub const MIN_AHEAD: Duration = Duration::from_secs(10);
/// Time from the order to end a sale to its end: longer than the transaction takes.
pub const END_DELAY: Duration = Duration::from_secs(1);

/// The change of a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaleEdit {
    /// Changes what is given.
    Change(SaleChange),
    /// Ends it [`END_DELAY`] from now.
    End,
    /// Takes it back before it starts.
    Cancel,
}

/// New values; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaleChange {
    /// Display name.
    pub name: Option<String>,
    /// Start.
    pub starts_at: Option<DateTime<Utc>>,
    /// End.
    pub ends_at: Option<DateTime<Utc>>,
    /// Maximum number of pieces per buyer.
    pub buyer_limit: Option<i32>,
}

/// What an edit can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleTerms {
    /// Display name.
    pub name: String,
    /// The time in which the sale is open.
    pub window: SaleWindow,
    /// Maximum number of pieces per buyer.
    pub buyer_limit: i32,
    /// Whether the sale was cancelled.
    pub is_cancelled: bool,
}

/// Why a sale is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaleEditRefusal {
    /// There is no such sale.
    #[error("there is no sale {0}")]
    Unknown(SaleId),
    /// It was cancelled, which is for good.
    #[error("the sale was cancelled: create another one")]
    Cancelled,
    /// It has ended already.
    #[error("the sale has ended already, at {0}")]
    Ended(DateTime<Utc>),
    /// Only a sale that has not started can be cancelled.
    #[error("the sale has started, or starts within {} seconds: end it instead", MIN_AHEAD.as_secs())]
    TooLateToCancel,
    /// Its start cannot be ended before.
    #[error("the sale has not started: cancel it instead")]
    NotStarted,
    /// The start cannot be moved any more.
    #[error("the start has passed, or is less than {} seconds away: only the end can be moved", MIN_AHEAD.as_secs())]
    TooLateToMoveStart,
    /// The new start is in the past.
    #[error("a start can only be moved to a moment in the future")]
    StartInThePast,
    /// A start of the schedule would be free, and the schedule would create another sale there.
    #[error(
        "the start belongs to the schedule, which would create another sale there: cancel this one and create your own"
    )]
    Scheduled,
    /// The new end is in the past.
    #[error("an end can only be moved to a moment in the future")]
    EndInThePast,
    /// The window would be empty.
    #[error("the sale must end after it starts, before the year 10000")]
    Window,
    /// Buyers' rows have a copy of the limit.
    #[error("the buyer limit can only be changed until {} seconds before the start", MIN_AHEAD.as_secs())]
    TooLateForLimit,
    /// A value is out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidSale),
    /// PostgreSQL found something outside the new window when the change was committed.
    #[error(
        "buyers have collected or bought outside of the new window: move the end to a later moment"
    )]
    RecordOutside,
}

impl SaleTerms {
    /// The terms of a sale.
    #[must_use]
    pub fn of(sale: &Sale, is_cancelled: bool) -> Self {
        let Sale { name, window, buyer_limit, .. } = sale.clone();
        Self { name, window, buyer_limit, is_cancelled }
    }
}

impl SaleEdit {
    /// The new terms of a sale; the same ones if there is nothing to change.
    pub fn apply(
        &self,
        sale: &Sale,
        is_cancelled: bool,
        now: DateTime<Utc>,
    ) -> Result<SaleTerms, SaleEditRefusal> {
        let terms = SaleTerms::of(sale, is_cancelled);
        match self {
            Self::Change(_) | Self::End if is_cancelled => Err(SaleEditRefusal::Cancelled),
            Self::Change(change) => change.apply(sale, terms, now),
            Self::End => end(terms, now),
            Self::Cancel => cancel(terms, now),
        }
    }
}

impl SaleChange {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn apply(
        &self,
        sale: &Sale,
        mut terms: SaleTerms,
        now: DateTime<Utc>,
    ) -> Result<SaleTerms, SaleEditRefusal> {
        let window = terms.window;
        let starts_at = self.starts_at.unwrap_or(window.starts_at());
        let ends_at = self.ends_at.unwrap_or(window.ends_at());
        if starts_at != window.starts_at() {
            if sale.scheduled {
                return Err(SaleEditRefusal::Scheduled);
            }
            if !is_ahead(window, now) {
                return Err(SaleEditRefusal::TooLateToMoveStart);
            }
            if starts_at < now {
                return Err(SaleEditRefusal::StartInThePast);
            }
        }
        if ends_at != window.ends_at() && ends_at < now + END_DELAY {
            return Err(SaleEditRefusal::EndInThePast);
        }
        terms.window = SaleWindow::new(starts_at, ends_at).ok_or(SaleEditRefusal::Window)?;
        if let Some(limit) = self.buyer_limit.filter(|limit| *limit != terms.buyer_limit) {
            if !is_buyer_limit(limit) {
                return Err(InvalidSale::BuyerLimit.into());
            }
            if !is_ahead(window, now) {
                return Err(SaleEditRefusal::TooLateForLimit);
            }
            terms.buyer_limit = limit;
        }
        if let Some(name) = &self.name {
            if !is_sale_name(name) {
                return Err(InvalidSale::Name.into());
            }
            terms.name.clone_from(name);
        }
        Ok(terms)
    }
}

/// Ends the sale in a moment; one that ends sooner, or has ended, is left as it is.
fn end(mut terms: SaleTerms, now: DateTime<Utc>) -> Result<SaleTerms, SaleEditRefusal> {
    let window = terms.window;
    if window.state_at(now) == SaleState::Upcoming {
        return Err(SaleEditRefusal::NotStarted);
    }
    let ends_at = (now + END_DELAY).min(window.ends_at());
    terms.window = SaleWindow::new(window.starts_at(), ends_at).ok_or(SaleEditRefusal::Window)?;
    Ok(terms)
}

/// Leaves a window of a microsecond, PostgreSQL's smallest step, at the start: a start of the schedule stays taken.
fn cancel(mut terms: SaleTerms, now: DateTime<Utc>) -> Result<SaleTerms, SaleEditRefusal> {
    if terms.is_cancelled {
        return Ok(terms);
    }
    let window = terms.window;
    if window.state_at(now) == SaleState::Ended {
        return Err(SaleEditRefusal::Ended(window.ends_at()));
    }
    if !is_ahead(window, now) {
        return Err(SaleEditRefusal::TooLateToCancel);
    }
    let shortest = Duration::from_micros(1);
    terms.window =
        SaleWindow::lasting(window.starts_at(), shortest).ok_or(SaleEditRefusal::Window)?;
    terms.is_cancelled = true;
    Ok(terms)
}

fn is_ahead(window: SaleWindow, now: DateTime<Utc>) -> bool {
    window.starts_at() > now + MIN_AHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_000;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// From 1,000 to 2,000 seconds, ten pieces a buyer.
    fn sale() -> Sale {
        Sale {
            id: SaleId::new(1).unwrap(),
            name: "socks".to_owned(),
            scheduled: false,
            window: SaleWindow::new(at(START), at(2_000)).unwrap(),
            buyer_limit: 10,
            items: 3,
            generation: 1,
        }
    }

    fn edited(edit: &SaleEdit, now: i64) -> Result<SaleTerms, SaleEditRefusal> {
        edit.apply(&sale(), false, at(now))
    }

    fn window(edit: &SaleEdit, now: i64) -> (i64, i64) {
        let window = edited(edit, now).unwrap().window;
        (window.starts_at().timestamp(), window.ends_at().timestamp())
    }

    fn moved(starts_at: Option<i64>, ends_at: Option<i64>) -> SaleEdit {
        let (starts_at, ends_at) = (starts_at.map(at), ends_at.map(at));
        SaleEdit::Change(SaleChange { starts_at, ends_at, ..SaleChange::default() })
    }

    fn limited(buyer_limit: i32) -> SaleEdit {
        SaleEdit::Change(SaleChange { buyer_limit: Some(buyer_limit), ..SaleChange::default() })
    }

    #[test]
    fn a_start_moves_only_while_it_is_ahead_and_only_into_the_future() {
        assert_eq!(window(&moved(Some(1_500), None), 900), (1_500, 2_000));
        assert_eq!(window(&moved(Some(950), None), 900), (950, 2_000));
        let late = SaleEditRefusal::TooLateToMoveStart;
        assert_eq!(edited(&moved(Some(1_500), None), START - 10), Err(late.clone()));
        assert_eq!(edited(&moved(Some(1_500), None), START + 1), Err(late));
        let past = SaleEditRefusal::StartInThePast;
        assert_eq!(edited(&moved(Some(899), None), 900), Err(past));
        assert_eq!(edited(&moved(Some(2_000), None), 900), Err(SaleEditRefusal::Window));
    }

    #[test]
    fn a_start_of_the_schedule_stays_and_its_end_may_move() {
        let scheduled = Sale { scheduled: true, ..sale() };

        let start = moved(Some(1_500), None).apply(&scheduled, false, at(900));
        let end = moved(None, Some(3_000)).apply(&scheduled, false, at(900));

        assert_eq!(start, Err(SaleEditRefusal::Scheduled));
        assert_eq!(end.unwrap().window.ends_at(), at(3_000));
    }

    #[test]
    fn an_end_moves_only_into_the_future_also_after_it_has_passed() {
        assert_eq!(window(&moved(None, Some(1_502)), 1_500), (START, 1_502));
        let past = SaleEditRefusal::EndInThePast;
        assert_eq!(edited(&moved(None, Some(1_500)), 1_500), Err(past));
        assert_eq!(window(&moved(None, Some(4_000)), 3_000), (START, 4_000));
    }

    #[test]
    fn a_limit_changes_only_before_buyers_can_have_a_copy_of_it() {
        assert_eq!(edited(&limited(3), 900).unwrap().buyer_limit, 3);
        assert_eq!(edited(&limited(3), 1_100), Err(SaleEditRefusal::TooLateForLimit));
        assert_eq!(edited(&limited(10), 1_100).unwrap().buyer_limit, 10);
        assert_eq!(edited(&limited(0), 900), Err(InvalidSale::BuyerLimit.into()));
    }

    #[test]
    fn a_name_changes_at_any_time_within_its_bounds() {
        let named = |name: &str| {
            let change = SaleChange { name: Some(name.to_owned()), ..SaleChange::default() };
            edited(&SaleEdit::Change(change), 1_100)
        };

        assert_eq!(named("shoes").unwrap().name, "shoes");
        assert_eq!(named(""), Err(InvalidSale::Name.into()));
        assert_eq!(named("a\nb"), Err(InvalidSale::Name.into()));
    }

    #[test]
    fn an_end_comes_in_a_moment_and_never_later_than_it_was() {
        assert_eq!(window(&SaleEdit::End, 1_500), (START, 1_501));
        assert_eq!(window(&SaleEdit::End, 2_500), (START, 2_000));
        assert_eq!(edited(&SaleEdit::End, 900), Err(SaleEditRefusal::NotStarted));
    }

    #[test]
    fn a_cancelled_sale_has_the_shortest_window_and_stays_cancelled() {
        let cancelled = edited(&SaleEdit::Cancel, 900).unwrap();
        let length = cancelled.window.ends_at() - cancelled.window.starts_at();

        assert!(cancelled.is_cancelled);
        assert_eq!(cancelled.window.starts_at(), at(START));
        assert_eq!(length.num_microseconds(), Some(1));
        let sale = Sale { window: cancelled.window, ..sale() };
        assert_eq!(SaleEdit::Cancel.apply(&sale, true, at(5_000)), Ok(cancelled));
        for edit in [SaleEdit::End, moved(None, Some(9_000))] {
            assert_eq!(edit.apply(&sale, true, at(5_000)), Err(SaleEditRefusal::Cancelled));
        }
    }

    #[test]
    fn a_sale_is_cancelled_only_while_its_start_is_ahead() {
        assert_eq!(edited(&SaleEdit::Cancel, 995), Err(SaleEditRefusal::TooLateToCancel));
        assert_eq!(edited(&SaleEdit::Cancel, 1_100), Err(SaleEditRefusal::TooLateToCancel));
        assert_eq!(edited(&SaleEdit::Cancel, 2_100), Err(SaleEditRefusal::Ended(at(2_000))));
    }
}
