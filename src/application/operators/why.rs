//! Why: what happened to a checkout or a request, and why, in one sentence.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::application::codes::Codes;
use crate::application::ports::{
    AttemptLine, AttemptRecord, PortError, RefusalReason, RefusalRecord, StoryReader,
};
use crate::domain::code::CodeClaim;
use crate::domain::ids::RequestId;
use crate::domain::purchase::LineOutcome;

/// What an operator asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A checkout's code.
    Code(CodeClaim),
    /// The id of a request, as its answer carried it.
    Request(RequestId),
}

impl Subject {
    /// A code or the id of a request; `None` for a text that is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match CodeClaim::parse(text) {
            Some(code) => Some(Self::Code(code)),
            None => RequestId::parse(text).map(Self::Request),
        }
    }
}

/// A checkout, with everything on record of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedAttempt {
    /// Its code.
    pub code: CodeClaim,
    /// What is on record.
    pub record: AttemptRecord,
}

/// What happened, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// One sentence.
    pub sentence: String,
    /// The checkouts that it is about.
    pub attempts: Vec<ExplainedAttempt>,
    /// The refusals of the request; those of a checkout stand with it.
    pub refusals: Vec<RefusalRecord>,
}

/// The use case.
pub struct Why {
    reader: Arc<dyn StoryReader>,
    codes: Arc<Codes>,
}

impl Why {
    /// Reads through this port.
    #[must_use]
    pub fn new(reader: Arc<dyn StoryReader>, codes: Arc<Codes>) -> Self {
        Self { reader, codes }
    }

    /// Explains; `None` if nothing is on record, or the code is forged.
    pub async fn execute(&self, subject: &Subject) -> Result<Option<Explanation>, PortError> {
        match subject {
            Subject::Code(code) => self.code(*code).await,
            Subject::Request(request) => self.request(request).await,
        }
    }

    async fn code(&self, code: CodeClaim) -> Result<Option<Explanation>, PortError> {
        if !self.codes.is_genuine(&code).await? {
            return Ok(None);
        }
        let Some(record) = self.reader.attempt(code.sale, code.attempt).await? else {
            return Ok(None);
        };
        let sentence = of_attempt(&record);
        let attempts = vec![ExplainedAttempt { code, record }];
        Ok(Some(Explanation { sentence, attempts, refusals: Vec::new() }))
    }

    async fn request(&self, request: &RequestId) -> Result<Option<Explanation>, PortError> {
        let found = self.reader.request(request).await?;
        let refused = found.refusals.iter().filter_map(|one| Some((one.sale, one.attempt?)));
        let mut named: Vec<_> = found.answered.iter().copied().chain(refused).collect();
        named.sort_unstable();
        named.dedup();
        let mut attempts = Vec::new();
        for (sale, attempt) in named {
            if let Some(record) = self.reader.attempt(sale, attempt).await? {
                let code = self.codes.sign(sale, attempt).await?;
                attempts.push(ExplainedAttempt { code, record });
            }
        }
        let sentence = match (found.refusals.last(), attempts.last()) {
            (Some(refusal), _) => of_refusal(refusal),
            (None, Some(explained)) => of_attempt(&explained.record),
            (None, None) => return Ok(None),
        };
        Ok(Some(Explanation { sentence, attempts, refusals: found.refusals }))
    }
}

/// Pieces of its item that were left when a line was not sold, if that is certain: a line of one piece fails only without any.
#[must_use]
pub fn left_then(line: &AttemptLine) -> Option<i32> {
    (line.outcome == Some(LineOutcome::SoldOut) && line.quantity.get() == 1).then_some(0)
}

/// Pieces of its item that were left when a request was refused, if that is certain.
#[must_use]
pub fn left_at_refusal(refusal: &RefusalRecord) -> Option<i32> {
    let sold_out = [RefusalReason::ItemSoldOut, RefusalReason::SaleSoldOut];
    sold_out.iter().any(|reason| reason.as_str() == refusal.reason).then_some(0)
}

fn of_attempt(record: &AttemptRecord) -> String {
    let Some(at) = record.purchased_at else {
        let lines = record.lines.len();
        let open = format!("The checkout has {lines} {} and is not bought", plural(lines, "line"));
        return match record.refusals.last() {
            Some(last) => {
                format!("{open}; its last {} was refused: {}", last.operation, reason(last))
            }
            None => format!("{open}; nothing of it was refused."),
        };
    };
    let of = |wanted: LineOutcome| -> Vec<&AttemptLine> {
        record.lines.iter().filter(|line| line.outcome == Some(wanted)).collect()
    };
    let sold = of(LineOutcome::Sold);
    let (sold_out, over_limit) = (of(LineOutcome::SoldOut), of(LineOutcome::BuyerLimit));
    let mut parts = vec![format!("{} of {} lines sold", sold.len(), record.lines.len())];
    if !sold_out.is_empty() {
        parts.push(format!("too few pieces of {} were left", items(&sold_out)));
    }
    if !over_limit.is_empty() {
        parts.push(format!("{} would have exceeded the buyer's limit", items(&over_limit)));
    }
    let cancelled: Vec<&AttemptLine> =
        sold.into_iter().filter(|line| line.cancelled_at.is_some()).collect();
    if !cancelled.is_empty() {
        parts.push(format!("an operator has taken {} back since", items(&cancelled)));
    }
    format!("The checkout was bought at {}: {}.", text(at), parts.join("; "))
}

fn of_refusal(refusal: &RefusalRecord) -> String {
    let RefusalRecord { operation, refused_at, .. } = refusal;
    format!("The {operation} was refused at {}: {}", text(*refused_at), reason(refusal))
}

/// The reason as a sentence. A name that this release does not know stands for itself.
fn reason(refusal: &RefusalRecord) -> String {
    let known = RefusalReason::ALL.into_iter().find(|reason| reason.as_str() == refusal.reason);
    let item = refusal
        .item
        .as_ref()
        .map_or("the item".to_owned(), |item| format!("item {:?}", item.as_str()));
    match known {
        Some(RefusalReason::ItemSoldOut) => format!("no piece of {item} was left."),
        Some(RefusalReason::SaleSoldOut) => "no piece of the whole sale was left.".to_owned(),
        Some(RefusalReason::ItemNotFound) => format!("the sale has no {item}."),
        Some(RefusalReason::BuyerLimit) => {
            "the buyer would have had more pieces than the sale's limit.".to_owned()
        }
        Some(RefusalReason::NotStarted) => "the sale had not started.".to_owned(),
        Some(RefusalReason::Ended) => "the sale had ended.".to_owned(),
        Some(RefusalReason::InProgress) => {
            "another request was buying the same checkout.".to_owned()
        }
        Some(RefusalReason::Closed) => "the checkout was bought already.".to_owned(),
        Some(RefusalReason::Empty) => "the checkout was empty.".to_owned(),
        Some(RefusalReason::Changed) => {
            "the checkout was not what the client expected of it.".to_owned()
        }
        Some(RefusalReason::ItemsUnavailable) => {
            "not every item could be bought, and the client wanted all or nothing.".to_owned()
        }
        Some(RefusalReason::Unavailable) => {
            "the service had too many requests, or could not reach its database.".to_owned()
        }
        None => format!("{}.", refusal.reason),
    }
}

fn items(lines: &[&AttemptLine]) -> String {
    /// More are only counted: a sentence stays one.
    const NAMED: usize = 3;
    let named: Vec<String> =
        lines.iter().take(NAMED).map(|line| format!("{:?}", line.item.as_str())).collect();
    let more = match lines.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} {}{more}", plural(lines.len(), "item"), named.join(", "))
}

fn plural(count: usize, one: &str) -> String {
    if count == 1 { one.to_owned() } else { format!("{one}s") }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{CodeSigner, MockStoryReader, RequestRecord};
    use crate::testing::builders::{at, attempt_id, buyer, item_id, pieces, sale_id};
    use crate::testing::fakes::FakeSigner;
    use crate::testing::test_shop::codes_of;

    fn line(item: &str, outcome: Option<LineOutcome>) -> AttemptLine {
        AttemptLine {
            item: item_id(item),
            quantity: pieces(1),
            collected_at: at(1),
            outcome,
            cancelled_at: None,
            left_now: 0,
        }
    }

    fn record(lines: Vec<AttemptLine>) -> AttemptRecord {
        AttemptRecord {
            sale: sale_id(1),
            attempt: attempt_id(7),
            buyer: buyer("ann"),
            began_at: at(0),
            purchased_at: Some(at(2)),
            lines,
            refusals: Vec::new(),
        }
    }

    fn refusal(reason: &str) -> RefusalRecord {
        RefusalRecord {
            sale: sale_id(1),
            refused_at: at(3),
            operation: "checkout".to_owned(),
            reason: reason.to_owned(),
            buyer: Some(buyer("ann")),
            item: Some(item_id("4")),
            attempt: None,
            request: RequestId::parse("r-1"),
            left_now: Some(0),
        }
    }

    fn why(reader: MockStoryReader) -> Why {
        Why::new(Arc::new(reader), codes_of(Arc::new(FakeSigner { key: 1 })))
    }

    #[test]
    fn a_purchase_is_explained_line_by_line() {
        let mut lines = vec![
            line("1", Some(LineOutcome::Sold)),
            line("2", Some(LineOutcome::SoldOut)),
            line("3", Some(LineOutcome::BuyerLimit)),
        ];
        lines[0].cancelled_at = Some(at(5));

        assert_eq!(
            of_attempt(&record(lines.clone())),
            "The checkout was bought at 1970-01-01T00:00:02.000Z: 1 of 3 lines sold; too few pieces of \
             item \"2\" were left; item \"3\" would have exceeded the buyer's limit; an operator has \
             taken item \"1\" back since."
        );
        assert_eq!(lines.iter().map(left_then).collect::<Vec<_>>(), [None, Some(0), None]);
    }

    #[test]
    fn a_checkout_that_is_not_bought_says_what_was_refused_last() {
        let mut open = record(vec![line("1", None)]);
        open.purchased_at = None;
        assert!(of_attempt(&open).ends_with("nothing of it was refused."));

        open.refusals =
            vec![RefusalRecord { operation: "purchase".to_owned(), ..refusal("sale_ended") }];

        let told = "The checkout has 1 line and is not bought; its last purchase was refused: the sale had ended.";
        assert_eq!(of_attempt(&open), told);
    }

    #[test]
    fn every_reason_is_a_sentence_and_one_of_a_later_release_stands_for_itself() {
        for known in RefusalReason::ALL {
            let told = reason(&refusal(known.as_str()));
            assert!(told.ends_with('.') && !told.contains(known.as_str()), "{told}");
        }
        assert_eq!(reason(&refusal("too_blue")), "too_blue.");
        assert_eq!(left_at_refusal(&refusal("item_sold_out")), Some(0));
        assert_eq!(left_at_refusal(&refusal("buyer_limit")), None);
    }

    #[tokio::test]
    async fn a_request_is_explained_by_its_refusal_or_by_the_outcome_that_answered_it() {
        let mut refused = MockStoryReader::new();
        let found =
            RequestRecord { refusals: vec![refusal("item_sold_out")], answered: Vec::new() };
        refused.expect_request().return_once(move |_| Ok(found));
        let mut answered = MockStoryReader::new();
        let found = RequestRecord {
            answered: vec![(sale_id(1), attempt_id(7))],
            ..RequestRecord::default()
        };
        answered.expect_request().return_once(move |_| Ok(found));
        let attempt = record(vec![line("1", Some(LineOutcome::SoldOut))]);
        answered.expect_attempt().return_once(move |_, _| Ok(Some(attempt)));
        let mut unknown = MockStoryReader::new();
        unknown.expect_request().return_once(|_| Ok(RequestRecord::default()));
        let subject = Subject::parse("r-1").unwrap();

        let refused = why(refused).execute(&subject).await.unwrap().unwrap();
        let answered = why(answered).execute(&subject).await.unwrap().unwrap();

        assert!(refused.sentence.ends_with("no piece of item \"4\" was left."), "{refused:?}");
        assert!(answered.sentence.contains("0 of 1 lines sold"), "{answered:?}");
        assert_eq!(answered.attempts.len(), 1);
        assert_eq!(why(unknown).execute(&subject).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_forged_code_reaches_no_record() {
        let code = FakeSigner { key: 2 }.sign(sale_id(1), attempt_id(7));
        let subject = Subject::parse(&code.to_string()).unwrap();

        assert_eq!(why(MockStoryReader::new()).execute(&subject).await.unwrap(), None);
    }
}
