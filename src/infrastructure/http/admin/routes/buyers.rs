//! `/admin/buyers/{buyer_id}` and `/admin/refusals`: a buyer's story, and why a request was refused.

use axum::Json as JsonBody;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use serde::Serialize;
use utoipa::ToSchema;

use crate::application::operators::buyer_story::ToldEntry;
use crate::application::operators::why::{
    ExplainedAttempt, Explanation, Subject, left_at_refusal, left_then,
};
use crate::application::ports::{
    AttemptLine, BoughtLine, Cursor, Happened, RefusalRecord, StoryFilter, StoryKey,
};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, RequestId};
use crate::domain::purchase::LineOutcome;
use crate::domain::time_text::rfc3339;
use crate::infrastructure::http::admin::state::AdminState;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::CursorParams;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::request::path;
use crate::infrastructure::http::v2::pagination::{CursorPageBody, Paginator};

/// The id of a request, as the header `X-Request-Id` of its answer has it.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 128, examples("shop-1-0000002a"))]
#[expect(dead_code, reason = "it documents a value")]
struct RequestIdText(String);

/// Something that happened to a buyer.
#[derive(Default, Serialize, ToSchema)]
struct StoryBody {
    #[schema(value_type = schema::Time)]
    at: String,
    /// `attempt` (a checkout was begun), `line`, `purchase`, `refusal` or `cancellation`.
    #[schema(examples("refusal"))]
    what: &'static str,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    /// Null for what is about no checkout.
    #[schema(value_type = Option<schema::Code>, required = true)]
    code: Option<String>,
    #[schema(value_type = Option<schema::ItemId>, required = true)]
    item_id: Option<String>,
    #[schema(value_type = Option<schema::Quantity>, required = true)]
    quantity: Option<i32>,
    /// `checkout` or `purchase`, of a refusal.
    #[schema(value_type = Option<String>, required = true, examples("checkout"))]
    operation: Option<String>,
    /// Of a refusal.
    #[schema(value_type = Option<String>, required = true, examples("item_sold_out"))]
    reason: Option<String>,
    #[schema(value_type = Option<RequestIdText>, required = true)]
    request_id: Option<String>,
    /// Who has cancelled.
    #[schema(value_type = Option<String>, required = true, examples("ann"))]
    actor: Option<String>,
    /// The lines of a purchase.
    lines: Vec<BoughtBody>,
}

/// A line of a purchase.
#[derive(Serialize, ToSchema)]
struct BoughtBody {
    #[schema(value_type = schema::ItemId)]
    item_id: String,
    #[schema(value_type = schema::Quantity)]
    quantity: i32,
    #[schema(value_type = schema::Outcome, examples("sold"))]
    outcome: &'static str,
}

/// Refusals, and why.
#[derive(Serialize, ToSchema)]
struct RefusalsBody {
    data: Vec<RefusalBody>,
    /// The `cursor` of the next request; null at the end of the list.
    #[schema(value_type = Option<schema::Cursor>, required = true)]
    next_cursor: Option<String>,
    /// One sentence. Null for a buyer, and where nothing is on record.
    #[schema(value_type = Option<String>, required = true, examples("The checkout was refused at 2027-01-31T15:00:00Z: no piece of item \"17\" was left."))]
    why: Option<String>,
    /// The checkouts that it is about.
    attempts: Vec<AttemptBody>,
}

/// A refusal.
#[derive(Clone, Serialize, ToSchema)]
struct RefusalBody {
    #[schema(value_type = schema::Time)]
    at: String,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    /// `checkout` or `purchase`.
    #[schema(examples("checkout"))]
    operation: String,
    #[schema(examples("item_sold_out"))]
    reason: String,
    #[schema(value_type = Option<schema::BuyerId>, required = true)]
    buyer_id: Option<String>,
    #[schema(value_type = Option<schema::ItemId>, required = true)]
    item_id: Option<String>,
    #[schema(value_type = Option<RequestIdText>, required = true)]
    request_id: Option<String>,
    /// Pieces that were left when it was refused, if that is certain.
    #[schema(value_type = Option<i32>, minimum = 0, required = true, examples(0))]
    remaining_then: Option<i32>,
    /// Pieces that are left now.
    #[schema(value_type = Option<i32>, minimum = 0, required = true, examples(0))]
    remaining_now: Option<i32>,
}

/// A checkout, with what is on record of it.
#[derive(Serialize, ToSchema)]
struct AttemptBody {
    #[schema(value_type = schema::Code)]
    code: String,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(value_type = schema::BuyerId)]
    buyer_id: String,
    #[schema(value_type = schema::Time)]
    began_at: String,
    #[schema(value_type = Option<schema::Time>, required = true)]
    purchased_at: Option<String>,
    lines: Vec<AttemptLineBody>,
    refusals: Vec<RefusalBody>,
}

/// A line of a checkout.
#[derive(Serialize, ToSchema)]
struct AttemptLineBody {
    #[schema(value_type = schema::ItemId)]
    item_id: String,
    #[schema(value_type = schema::Quantity)]
    quantity: i32,
    #[schema(value_type = schema::Time)]
    collected_at: String,
    /// Null before the purchase.
    #[schema(value_type = Option<schema::Outcome>, required = true, examples("sold"))]
    outcome: Option<&'static str>,
    #[schema(value_type = Option<schema::Time>, required = true)]
    cancelled_at: Option<String>,
    /// Pieces that were left when it was not sold, if that is certain.
    #[schema(value_type = Option<i32>, minimum = 0, required = true, examples(0))]
    remaining_then: Option<i32>,
    /// Pieces that are left now.
    #[schema(minimum = 0, examples(0))]
    remaining_now: i32,
}

problems! {
    /// Errors of the question why.
    WhyProblems in Two: "unauthorized" "forbidden" "code_not_found";
    /// Errors of a buyer's story.
    StoryProblems in Two: "unauthorized" "forbidden" "sale_not_found";
}

/// Tell a buyer's story
///
/// Checkouts, lines, purchases, refusals and cancellations, the oldest first. It is empty for a buyer of whom nothing is on record.
#[utoipa::path(
    get,
    path = "/buyers/{buyer_id}",
    operation_id = "show_buyer",
    tag = "buyers",
    params(
        ("buyer_id" = schema::BuyerId, Path, description = "The buyer, percent-encoded."),
        ("sale_id" = Option<schema::SaleId>, Query, description = "Only in this sale."),
        CursorParams,
    ),
    responses(
        (status = 200, description = "Entries of the story, and a cursor.", body = CursorPageBody<StoryBody>),
        StoryProblems,
    ),
)]
pub(crate) async fn show(
    State(admin): State<AdminState>,
    OriginalUri(uri): OriginalUri,
    buyer_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let buyer = path::buyer_id(&mut params, "buyer_id", &uri, buyer_id);
    let sale = params.sale_id();
    let filters = match &sale {
        Some(Ok(sale)) => format!("sale_id={sale}&"),
        _ => String::new(),
    };
    let paginator = Paginator { signer: &*admin.cursors, path: uri.path(), filters };
    let cursor = paginator.cursor(&mut params, parse_position);
    params.finish()?;
    let Some(buyer) = buyer else { return Err(ApiError::RouteNotFound.into()) };
    let wanted = StoryFilter { sale: sale.transpose()?, refusals_only: false };
    let page = admin.read(admin.buyers.story.execute(&buyer, wanted, cursor)).await?;
    Ok(paginator.response::<_, _, StoryBody>(page, cursor.limit, format_position))
}

/// Ask why a request was refused
///
/// By the id of a request, by the code of a checkout, or by a buyer, whose refusals are listed from the oldest on.
#[utoipa::path(
    get,
    path = "/refusals",
    operation_id = "list_refusals",
    tag = "buyers",
    params(
        ("request_id" = Option<RequestIdText>, Query, description = "The request. Exactly one of the three is needed."),
        ("code" = Option<schema::Code>, Query, description = "The checkout."),
        ("buyer_id" = Option<schema::BuyerId>, Query, description = "The buyer."),
        CursorParams,
    ),
    responses((status = 200, description = "The refusals, and why.", body = RefusalsBody), WhyProblems),
)]
pub(crate) async fn refusals(
    State(admin): State<AdminState>,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let code = params.optional("code", |text| Ok::<_, String>(CodeClaim::parse(text)));
    let request = params.optional("request_id", |text| {
        RequestId::parse(text).ok_or("must be the header X-Request-Id of an answer")
    });
    let buyer = params.optional("buyer_id", BuyerId::parse_new);
    let given = ["request_id", "code", "buyer_id"].iter().filter(|name| params.has(name)).count();
    if given != 1 {
        let needed = "exactly one of request_id, code and buyer_id must be given";
        params.path_parameter::<(), _>("request_id", Err(needed));
    }
    let filters = buyer.as_ref().map_or_else(String::new, |buyer| {
        let buyer = percent_encoding::utf8_percent_encode(
            buyer.as_str(),
            percent_encoding::NON_ALPHANUMERIC,
        );
        format!("buyer_id={buyer}&")
    });
    let paginator = Paginator { signer: &*admin.cursors, path: uri.path(), filters };
    let cursor = paginator.cursor(&mut params, parse_position);
    params.finish()?;
    if let Some(buyer) = buyer {
        return of_buyer(&admin, &buyer, cursor, &paginator).await;
    }
    let subject = match (code, request) {
        (Some(code), _) => Subject::Code(code.ok_or(ApiError::CodeNotFound)?),
        (None, Some(request)) => Subject::Request(request),
        (None, None) => return Err(ApiError::RouteNotFound.into()),
    };
    let explained = admin.read(admin.buyers.why.execute(&subject)).await?;
    let body = match (explained, subject) {
        (Some(explained), _) => RefusalsBody::from(explained),
        (None, Subject::Code(_)) => return Err(ApiError::CodeNotFound.into()),
        (None, Subject::Request(_)) => {
            RefusalsBody { data: Vec::new(), next_cursor: None, why: None, attempts: Vec::new() }
        }
    };
    Ok(JsonBody(body).into_response())
}

async fn of_buyer(
    admin: &AdminState,
    buyer: &BuyerId,
    cursor: Cursor<StoryKey>,
    paginator: &Paginator<'_>,
) -> Result<Response, Problem> {
    let wanted = StoryFilter { sale: None, refusals_only: true };
    let page = admin.read(admin.buyers.story.execute(buyer, wanted, cursor)).await?;
    let data = page.entries.iter().filter_map(|told| match &told.entry.happened {
        Happened::Refused(refusal) => Some(RefusalBody::from(refusal)),
        _ => None,
    });
    let next_cursor =
        page.next.as_ref().map(|next| paginator.signed_cursor(&format_position(next)));
    let body = RefusalsBody { data: data.collect(), next_cursor, why: None, attempts: Vec::new() };
    Ok(JsonBody(body).into_response())
}

impl From<Explanation> for RefusalsBody {
    fn from(explanation: Explanation) -> Self {
        let attempts: Vec<AttemptBody> =
            explanation.attempts.iter().map(AttemptBody::from).collect();
        let own = explanation.refusals.iter().map(RefusalBody::from);
        // Those of a checkout stand with it; a question about a checkout has no others.
        let data: Vec<RefusalBody> = if explanation.refusals.is_empty() {
            attempts.iter().flat_map(|attempt| attempt.refusals.clone()).collect()
        } else {
            own.collect()
        };
        Self { data, next_cursor: None, why: Some(explanation.sentence), attempts }
    }
}

impl From<&RefusalRecord> for RefusalBody {
    fn from(refusal: &RefusalRecord) -> Self {
        Self {
            at: rfc3339(refusal.refused_at),
            sale_id: refusal.sale.to_string(),
            operation: refusal.operation.clone(),
            reason: refusal.reason.clone(),
            buyer_id: refusal.buyer.as_ref().map(|buyer| buyer.as_str().to_owned()),
            item_id: refusal.item.as_ref().map(|item| item.as_str().to_owned()),
            request_id: refusal.request.as_ref().map(|request| request.as_str().to_owned()),
            remaining_then: left_at_refusal(refusal),
            remaining_now: refusal.left_now,
        }
    }
}

impl From<&ExplainedAttempt> for AttemptBody {
    fn from(explained: &ExplainedAttempt) -> Self {
        let record = &explained.record;
        Self {
            code: explained.code.to_string(),
            sale_id: record.sale.to_string(),
            buyer_id: record.buyer.as_str().to_owned(),
            began_at: rfc3339(record.began_at),
            purchased_at: record.purchased_at.map(rfc3339),
            lines: record.lines.iter().map(AttemptLineBody::from).collect(),
            refusals: record.refusals.iter().map(RefusalBody::from).collect(),
        }
    }
}

impl From<&AttemptLine> for AttemptLineBody {
    fn from(line: &AttemptLine) -> Self {
        Self {
            item_id: line.item.as_str().to_owned(),
            quantity: line.quantity.get(),
            collected_at: rfc3339(line.collected_at),
            outcome: line.outcome.map(LineOutcome::as_str),
            cancelled_at: line.cancelled_at.map(rfc3339),
            remaining_then: left_then(line),
            remaining_now: line.left_now,
        }
    }
}

impl From<&BoughtLine> for BoughtBody {
    fn from(line: &BoughtLine) -> Self {
        Self {
            item_id: line.item.as_str().to_owned(),
            quantity: line.quantity.get(),
            outcome: line.outcome.as_str(),
        }
    }
}

impl From<ToldEntry> for StoryBody {
    fn from(told: ToldEntry) -> Self {
        let own = Self {
            at: rfc3339(told.entry.key.at),
            sale_id: told.entry.sale.to_string(),
            code: told.code.map(|code| code.to_string()),
            ..Self::default()
        };
        match told.entry.happened {
            Happened::Began(_) => Self { what: "attempt", ..own },
            Happened::Collected(_, item, quantity) => Self {
                what: "line",
                item_id: Some(item.as_str().to_owned()),
                quantity: Some(quantity.get()),
                ..own
            },
            Happened::Purchased(_, lines) => Self {
                what: "purchase",
                lines: lines.iter().map(BoughtBody::from).collect(),
                ..own
            },
            Happened::Refused(refusal) => Self {
                what: "refusal",
                item_id: refusal.item.as_ref().map(|item| item.as_str().to_owned()),
                request_id: refusal.request.as_ref().map(|request| request.as_str().to_owned()),
                operation: Some(refusal.operation),
                reason: Some(refusal.reason),
                ..own
            },
            Happened::Cancelled(_, item, quantity, actor) => Self {
                what: "cancellation",
                item_id: Some(item.as_str().to_owned()),
                quantity: Some(quantity.get()),
                actor: Some(actor),
                ..own
            },
        }
    }
}

fn format_position(key: &StoryKey) -> String {
    let StoryKey { at, kind, sale, first, second } = key;
    format!("{}.{kind}.{sale}.{first}.{second}", at.timestamp_micros())
}

fn parse_position(text: &str) -> Option<StoryKey> {
    let mut parts = text.split('.');
    let mut next = || parts.next()?.parse::<i64>().ok();
    let at = DateTime::from_timestamp_micros(next()?)?;
    let kind = i16::try_from(next()?).ok()?;
    let key = StoryKey { at, kind, sale: next()?, first: next()?, second: next()? };
    parts.next().is_none().then_some(key)
}
