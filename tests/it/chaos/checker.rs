//! Compares the clients' history with PostgreSQL's tables, by plain SQL and without any code of the service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;

use super::exchange::{Lines, Request};
use super::history::{Event, Return, Told};

/// A piece that has returned may be refused for this long at most.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// Broken promises, counted. All are zero where every promise was kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Findings {
    /// Pieces sold beyond an item's stock, or that its row counts and no buyer owns, or the reverse.
    pub(crate) oversold: i64,
    /// Pieces whose purchase was acknowledged and that the buyer does not own.
    pub(crate) lost: i64,
    /// Pieces that buyers own beyond their limit.
    pub(crate) beyond_limit: i64,
    /// Codes whose purchase returned different outcomes.
    pub(crate) contradictions: usize,
    /// Codes that two buyers got.
    pub(crate) shared_codes: usize,
    /// Acknowledged lines that are not in their code's outcome.
    pub(crate) forgotten_lines: usize,
    /// Pieces that were taken back, as the operator was told, and that the books have as sold.
    pub(crate) unreturned: i64,
    /// Seconds between an item's first refusal as sold out and a later purchase of it, summed over all items. An item whose pieces
    /// return is not sold out any more; a second later nothing may refuse it.
    pub(crate) stranded: f64,
    /// Responses that the contract does not have.
    pub(crate) strange: BTreeSet<String>,
}

impl Findings {
    /// Whether every promise was kept.
    pub(crate) fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "oversold {}, lost {}, beyond the limit {}, contradictions {}, shared codes {}, forgotten lines {}, unreturned {}, \
             stranded {:.3} item-s, strange responses {:?}",
            self.oversold,
            self.lost,
            self.beyond_limit,
            self.contradictions,
            self.shared_codes,
            self.forgotten_lines,
            self.unreturned,
            self.stranded,
            self.strange
        )
    }
}

/// A sale's tables in PostgreSQL.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// Stock and pieces sold, by item.
    stock: BTreeMap<String, (i64, i64)>,
    /// Pieces sold, line by line.
    sold: Vec<Sold>,
}

/// A line that was sold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sold {
    buyer: String,
    item: String,
    pieces: i64,
    /// Whether it was taken back since.
    is_returned: bool,
}

/// Reads them in one snapshot.
pub(crate) async fn books(pool: &PgPool, sale: &str) -> Books {
    let mut reading = pool.begin().await.unwrap();
    // The second: before the first ANALYZE, PostgreSQL thinks that the tables are small, and would join them row by row.
    let settings =
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL enable_nestloop = off";
    sqlx::raw_sql(settings).execute(&mut *reading).await.unwrap();
    let stock: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT i.item_id, s.stock::bigint, s.sold::bigint
         FROM item_stock AS s JOIN items AS i USING (sale_id, item_no) JOIN sales ON sales.id = sale_id
         WHERE sales.public_id = $1",
    )
    .bind(sale)
    .fetch_all(&mut *reading)
    .await
    .unwrap();
    let sold: Vec<(String, String, i64, bool)> = sqlx::query_as(
        "SELECT l.user_id, i.item_id, l.quantity::bigint, c.cancelled_at IS NOT NULL
         FROM purchase_items AS l JOIN items AS i USING (sale_id, item_no) JOIN sales ON sales.id = sale_id
         LEFT JOIN purchase_cancellations AS c USING (sale_id, attempt_id, item_no)
         WHERE sales.public_id = $1 AND l.outcome = 'sold'",
    )
    .bind(sale)
    .fetch_all(&mut *reading)
    .await
    .unwrap();
    let stock = stock.into_iter().map(|(item, stock, sold)| (item, (stock, sold))).collect();
    let line = |(buyer, item, pieces, is_returned)| Sold { buyer, item, pieces, is_returned };
    Books { stock, sold: sold.into_iter().map(line).collect() }
}

impl Books {
    /// Pieces that are not sold.
    pub(crate) fn left(&self) -> i64 {
        self.stock.values().map(|(stock, sold)| stock - sold).sum()
    }

    /// Lines that are still their buyers'.
    fn owned(&self) -> impl Iterator<Item = &Sold> {
        self.sold.iter().filter(|line| !line.is_returned)
    }
}

/// Finds broken promises. What was told must have been taken before the books. What was committed in a span of `losses` may be gone,
/// and is the same as what never happened; but a code still names one buyer, and no item and no buyer gets too much.
pub(crate) fn check(told: &Told, books: &Books, limit: i64) -> Findings {
    let history = &told.events;
    let (kept, returns) = without_losses(told);
    let outcomes = outcomes(&kept);
    Findings {
        oversold: oversold(books),
        lost: lost(&outcomes, books),
        beyond_limit: beyond_limit(books, limit),
        contradictions: outcomes.values().filter(|outcome| outcome.responses.len() > 1).count(),
        shared_codes: shared_codes(history),
        forgotten_lines: forgotten_lines(&kept, &outcomes),
        unreturned: unreturned(&returns, books),
        stranded: stranded(&kept, &outcomes, &told.returns),
        strange: strange(&kept),
    }
}

/// The events of buyers for whom nothing was asked while commits were lost, and what was taken back of them.
fn without_losses(told: &Told) -> (Vec<Arc<Event>>, Vec<&Return>) {
    let Told { events, losses, returns } = told;
    let is_affected = |sent_at: Duration, ended_at: Duration| {
        losses.iter().any(|(from, to)| ended_at >= *from && sent_at <= *to)
    };
    let asked = events.iter().filter(|event| is_affected(event.sent_at, event.ended_at));
    let taken = returns
        .iter()
        .filter(|taken| is_affected(taken.sent_at, taken.ended_at.unwrap_or(Duration::MAX)));
    let affected: BTreeSet<&str> = asked
        .map(|event| event.buyer.as_str())
        .chain(taken.map(|taken| taken.buyer.as_str()))
        .collect();
    let kept = events.iter().filter(|event| !affected.contains(event.buyer.as_str()));
    let returns = returns.iter().filter(|taken| !affected.contains(taken.buyer.as_str()));
    (kept.map(Arc::clone).collect(), returns.collect())
}

/// The outcome of one code, by its purchases.
struct Outcome<'a> {
    buyer: &'a str,
    /// When the first of them was sent.
    first_sent_at: Duration,
    /// Distinct final responses: status and body.
    responses: BTreeSet<(u16, &'a str)>,
    /// Of the first final response.
    lines: Option<&'a Lines>,
}

impl<'a> Outcome<'a> {
    fn sold(&self) -> impl Iterator<Item = &'a (String, i64)> + use<'a> {
        self.lines.into_iter().flat_map(|lines| &lines.sold)
    }
}

/// Outcomes by code; empty for a code without a final response.
fn outcomes(history: &[Arc<Event>]) -> BTreeMap<&str, Outcome<'_>> {
    let mut outcomes: BTreeMap<&str, Outcome<'_>> = BTreeMap::new();
    for event in history {
        let Request::Purchase { code } = &event.request else { continue };
        let outcome = outcomes.entry(code).or_insert_with(|| Outcome {
            buyer: &event.buyer,
            first_sent_at: event.sent_at,
            responses: BTreeSet::new(),
            lines: None,
        });
        outcome.first_sent_at = outcome.first_sent_at.min(event.sent_at);
        let Some(response) = &event.response else { continue };
        let Some(lines) = &response.lines else { continue };
        if outcome.responses.is_empty() {
            outcome.lines = Some(lines);
        }
        outcome.responses.insert((response.status, &response.body));
    }
    outcomes
}

/// Compares each item's stock, its row's count and the lines that own it.
fn oversold(books: &Books) -> i64 {
    let mut owned: BTreeMap<&str, i64> = BTreeMap::new();
    for line in books.owned() {
        *owned.entry(&line.item).or_default() += line.pieces;
    }
    let items = books.stock.iter().map(|(item, (stock, sold))| {
        let owned = owned.get(item.as_str()).copied().unwrap_or(0);
        (owned - stock).max(0) + (owned - sold).abs()
    });
    items.sum()
}

/// Compares acknowledged pieces with those on record, by buyer and item. A buyer may have several codes; each counts once. What was
/// taken back stays on record.
fn lost(outcomes: &BTreeMap<&str, Outcome<'_>>, books: &Books) -> i64 {
    let mut missing: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for outcome in outcomes.values() {
        for (item, pieces) in outcome.sold() {
            *missing.entry((outcome.buyer, item)).or_default() += pieces;
        }
    }
    for line in &books.sold {
        *missing.entry((&line.buyer, &line.item)).or_default() -= line.pieces;
    }
    missing.values().map(|pieces| (*pieces).max(0)).sum()
}

fn beyond_limit(books: &Books, limit: i64) -> i64 {
    let mut owned: BTreeMap<&str, i64> = BTreeMap::new();
    for line in books.owned() {
        *owned.entry(&line.buyer).or_default() += line.pieces;
    }
    owned.values().map(|pieces| (pieces - limit).max(0)).sum()
}

/// A code names one buyer for ever.
fn shared_codes(history: &[Arc<Event>]) -> usize {
    let mut buyers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for event in history {
        if let (Request::Checkout { .. }, Some(response)) = (&event.request, &event.response)
            && response.status == 200
        {
            buyers.entry(&response.code).or_default().insert(&event.buyer);
        }
    }
    buyers.values().filter(|buyers| buyers.len() > 1).count()
}

/// A line that was acknowledged before the code's first purchase was sent must be in its outcome.
fn forgotten_lines(history: &[Arc<Event>], outcomes: &BTreeMap<&str, Outcome<'_>>) -> usize {
    let mut forgotten = BTreeSet::new();
    for event in history {
        let (Request::Checkout { item, .. }, Some(response)) = (&event.request, &event.response)
        else {
            continue;
        };
        let Some(outcome) = outcomes.get(response.code.as_str()) else { continue };
        let Some(lines) = outcome.lines else { continue };
        if response.status == 200 && event.ended_at <= outcome.first_sent_at {
            let is_sold = lines.sold.iter().any(|(sold, _)| sold == item);
            if !is_sold && !lines.failed.contains(item) {
                forgotten.insert((&response.code, item));
            }
        }
    }
    forgotten.len()
}

/// Compares the pieces that the operator was told are back with those that the books have as back, by buyer and item.
fn unreturned(returns: &[&Return], books: &Books) -> i64 {
    let mut missing: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for taken in returns.iter().filter(|taken| taken.ended_at.is_some()) {
        for (item, pieces) in &taken.lines {
            *missing.entry((&taken.buyer, item)).or_default() += pieces;
        }
    }
    for line in books.sold.iter().filter(|line| line.is_returned) {
        *missing.entry((&line.buyer, &line.item)).or_default() -= line.pieces;
    }
    missing.values().map(|pieces| (*pieces).max(0)).sum()
}

/// An item was wrongly refused as sold out if a purchase that was sent later bought a piece of it, and none had returned in between.
fn stranded(
    history: &[Arc<Event>],
    outcomes: &BTreeMap<&str, Outcome<'_>>,
    returns: &[Return],
) -> f64 {
    let mut returned_at: BTreeMap<&str, Duration> = BTreeMap::new();
    for taken in returns {
        let known_at = taken.ended_at.map_or(Duration::MAX, |at| at + KNOWN_WITHIN);
        for (item, _) in &taken.lines {
            let last = returned_at.entry(item).or_default();
            *last = (*last).max(known_at);
        }
    }
    let mut refused_at: BTreeMap<&str, Duration> = BTreeMap::new();
    for event in history {
        if let (Request::Checkout { item, .. }, Some(response)) = (&event.request, &event.response)
            && ["item_sold_out", "sale_sold_out"].contains(&response.code.as_str())
            && returned_at.get(item.as_str()).is_none_or(|returned| *returned < event.sent_at)
        {
            let first = refused_at.entry(item).or_insert(event.ended_at);
            *first = (*first).min(event.ended_at);
        }
    }
    let mut sold_at: BTreeMap<&str, Duration> = BTreeMap::new();
    for outcome in outcomes.values() {
        for (item, _) in outcome.sold() {
            let last = sold_at.entry(item).or_default();
            *last = (*last).max(outcome.first_sent_at);
        }
    }
    let items = refused_at.iter().filter_map(|(item, refused)| {
        let stranded = sold_at.get(item)?.checked_sub(*refused)?;
        Some(stranded.as_secs_f64())
    });
    items.fold(0.0, |sum, stranded| sum + stranded)
}

/// Responses that are neither the contract's to such a request, nor a 503.
fn strange(history: &[Arc<Event>]) -> BTreeSet<String> {
    const KNOWN: [(u16, &str); 7] = [
        (409, "item_sold_out"),
        (409, "sale_sold_out"),
        (409, "items_already_sold"),
        (409, "purchase_in_progress"),
        (400, "user_limit_exceeded"),
        (503, "unavailable"),
        (503, "overloaded"),
    ];
    let responses = history.iter().filter_map(|event| event.response.as_ref());
    let strange = responses.filter(|response| {
        response.status != 200 && !KNOWN.contains(&(response.status, response.code.as_str()))
    });
    strange.map(|response| format!("{} {}", response.status, response.body)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::exchange::Response;
    use super::super::manner::Manner;
    use super::*;

    /// A checkout that was accepted at this second.
    fn collected(at: u64, buyer: &str, item: &str, code: &str) -> Arc<Event> {
        let body = format!(r#"{{"code":"{code}"}}"#);
        event(at, buyer, Request::Checkout { item: item.to_owned(), quantity: 1 }, (200, body))
    }

    fn sold_out(at: u64, item: &str) -> Arc<Event> {
        let body = r#"{"code":"item_sold_out"}"#.to_owned();
        event(at, "late", Request::Checkout { item: item.to_owned(), quantity: 1 }, (409, body))
    }

    /// A purchase of one piece of each of these items.
    fn bought(at: u64, buyer: &str, code: &str, items: &[&str]) -> Arc<Event> {
        let lines: Vec<_> =
            items.iter().map(|item| format!(r#"{{"id":"{item}","quantity":1}}"#)).collect();
        let body = format!(r#"{{"purchased_items":[{}],"failed_items":[]}}"#, lines.join(","));
        event(at, buyer, Request::Purchase { code: code.to_owned() }, (200, body))
    }

    fn event(at: u64, buyer: &str, request: Request, (status, body): (u16, String)) -> Arc<Event> {
        let (sent_at, ended_at) = (Duration::from_secs(at), Duration::from_secs(at));
        let response = Some(Response::new(status, body));
        let (buyer, manner) = (buyer.to_owned(), Manner::Patient);
        Arc::new(Event { sent_at, ended_at, instance: 0, buyer, request, response, manner })
    }

    /// Two items with a stock of two, and the buyers who own pieces of them.
    fn own(sold: &[(&str, &str)]) -> Books {
        let of = |item: &str| sold.iter().filter(|(_, of)| *of == item).count();
        let stock = ["1", "2"].map(|item| (item.to_owned(), (2, i64::try_from(of(item)).unwrap())));
        let sold = sold.iter().map(|(who, item)| Sold {
            buyer: (*who).to_owned(),
            item: (*item).to_owned(),
            pieces: 1,
            is_returned: false,
        });
        Books { stock: stock.into(), sold: sold.collect() }
    }

    fn found(history: &[Arc<Event>], sold: &[(&str, &str)]) -> Findings {
        check(&told(history), &own(sold), 2)
    }

    fn told(history: &[Arc<Event>]) -> Told {
        Told { events: history.to_vec(), ..Told::default() }
    }

    /// A purchase of ann that was taken back from this second on; still under way without an end.
    fn taken_back(at: u64, ended_at: Option<u64>, item: &str) -> Return {
        Return {
            code: "A".to_owned(),
            buyer: "ann".to_owned(),
            lines: vec![(item.to_owned(), 1)],
            sent_at: Duration::from_secs(at),
            ended_at: ended_at.map(Duration::from_secs),
        }
    }

    #[test]
    fn what_was_taken_back_is_not_owned_and_not_lost() {
        let mut books = own(&[("bob", "1")]);
        let of_ann = Sold { buyer: "ann".to_owned(), is_returned: true, ..books.sold[0].clone() };
        books.sold.push(of_ann);
        let history = [bought(1, "ann", "A", &["1"]), bought(9, "bob", "B", &["1"])];
        let told = Told { returns: vec![taken_back(2, Some(3), "1")], ..told(&history) };

        let found = check(&told, &books, 1);

        assert!(found.are_none(), "{found}");
        books.sold[1].is_returned = false;
        let found = check(&told, &books, 1);
        assert_eq!((found.unreturned, found.oversold), (1, 1));
    }

    #[test]
    fn an_item_may_be_refused_before_its_pieces_return_and_for_a_second_after() {
        let found = |refused_at: u64, returned_at: Option<u64>| {
            let history = [sold_out(refused_at, "1"), bought(20, "bob", "B", &["1"])];
            let returns = vec![taken_back(5, returned_at, "1")];
            check(&Told { returns, ..told(&history) }, &own(&[("bob", "1")]), 2).stranded
        };

        assert!(found(4, Some(6)) < 0.001 && found(7, Some(6)) < 0.001 && found(19, None) < 0.001);
        assert!((found(8, Some(6)) - 12.0).abs() < 0.001);
    }

    #[test]
    fn where_all_is_well_nothing_is_found() {
        let history = [
            collected(1, "ann", "1", "A"),
            bought(2, "ann", "A", &["1"]),
            bought(3, "ann", "A", &["1"]),
            collected(3, "bob", "1", "B"),
            bought(4, "bob", "B", &["1"]),
            sold_out(5, "1"),
        ];
        // A buyer who hung up owns pieces without an acknowledgement.
        let found = found(&history, &[("ann", "1"), ("bob", "1"), ("eve", "2")]);
        assert!(found.are_none(), "{found}");
    }

    #[test]
    fn what_was_acknowledged_and_is_not_owned_is_lost() {
        let history = [bought(1, "ann", "A", &["1"]), bought(2, "ann", "B", &["1"])];
        assert_eq!(found(&history, &[("ann", "1"), ("bob", "1")]).lost, 1);
    }

    #[test]
    fn a_piece_too_much_is_oversold_for_its_item_and_its_buyer() {
        let found = found(&[], &[("ann", "1"), ("ann", "1"), ("ann", "1")]);
        assert_eq!((found.oversold, found.beyond_limit), (1, 1));
    }

    #[test]
    fn rows_that_do_not_agree_with_their_lines_are_found() {
        let mut books = own(&[("ann", "1")]);
        books.stock.insert("2".to_owned(), (2, 1));
        assert_eq!(check(&Told::default(), &books, 2).oversold, 1);
    }

    #[test]
    fn another_answer_to_a_repeat_is_a_contradiction() {
        let history = [bought(1, "ann", "A", &["1"]), bought(2, "ann", "A", &["2"])];
        assert_eq!(found(&history, &[("ann", "1")]).contradictions, 1);
    }

    #[test]
    fn a_code_of_two_buyers_is_shared() {
        let history = [collected(1, "ann", "1", "A"), collected(2, "ann", "2", "A")];
        assert_eq!(found(&history, &[]).shared_codes, 0);
        let history = [collected(1, "ann", "1", "A"), collected(2, "bob", "2", "A")];
        assert_eq!(found(&history, &[]).shared_codes, 1);
    }

    #[test]
    fn a_line_that_was_acknowledged_in_time_is_in_the_outcome() {
        let purchase = bought(5, "ann", "A", &["1"]);
        let lines = |at| {
            [collected(1, "ann", "1", "A"), collected(at, "ann", "2", "A"), Arc::clone(&purchase)]
        };
        assert_eq!(found(&lines(4), &[("ann", "1")]).forgotten_lines, 1);
        assert_eq!(found(&lines(6), &[("ann", "1")]).forgotten_lines, 0);
    }

    #[test]
    fn an_item_that_was_refused_and_then_sold_was_stranded_meanwhile() {
        let history = [sold_out(3, "1"), sold_out(4, "1"), bought(10, "ann", "A", &["1"])];
        let found = found(&history, &[("ann", "1")]);
        assert!((found.stranded - 7.0).abs() < 0.001, "{found}");
    }

    #[test]
    fn what_was_acknowledged_while_commits_were_lost_may_be_gone_but_no_code_is_given_twice() {
        let history = [collected(5, "ann", "1", "A"), bought(6, "ann", "A", &["1"])];
        let found = |history: &[Arc<Event>], from, to| {
            let losses = vec![(Duration::from_secs(from), Duration::from_secs(to))];
            check(&Told { losses, ..told(history) }, &own(&[]), 2)
        };
        assert_eq!(found(&history, 7, 8).lost, 1);
        assert!(found(&history, 6, 7).are_none());
        let history = [collected(5, "ann", "1", "A"), collected(9, "bob", "1", "A")];
        assert_eq!(found(&history, 4, 6).shared_codes, 1);
    }

    #[test]
    fn an_answer_that_the_contract_does_not_know_is_strange() {
        let checkout = Request::Checkout { item: "1".to_owned(), quantity: 1 };
        let broken = event(1, "ann", checkout, (500, r#"{"code":"internal"}"#.to_owned()));
        assert_eq!(found(&[broken], &[]).strange.len(), 1);
    }
}
