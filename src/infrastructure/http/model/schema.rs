//! Schemas of values in the OpenAPI document. They only document: the service parses the values into types of the domain.

use utoipa::ToSchema;

/// The id of a buyer. It is compared byte by byte.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", examples("ann"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct BuyerId(String);

/// The id of an item, unique in its sale.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", examples("17"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct ItemId(String);

/// The id of a sale.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 64, pattern = "^[!-~]+$", examples("S-1"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct SaleId(String);

/// The code of a checkout. It authorizes the purchase: keep it secret.
#[derive(ToSchema)]
#[schema(min_length = 1, examples("CHK-S-1-0C1A5M4V8Z3J1QX7EY2T"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct Code(String);

/// The client generates a new key for every new request, preferably a UUID, and sends the same key with a repeat. The quotes of
/// RFC 8941 are optional.
#[derive(ToSchema)]
#[schema(
    min_length = 1,
    max_length = 255,
    pattern = "^[!#-+\\--~]+$",
    examples("8e03978e-40d5-43dd-bc93-6894a57f9324")
)]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct IdempotencyKey(String);

/// Number of pieces of one item. The limit of the sale can be lower than the maximum.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 1_000, examples(2))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct Quantity(i32);

/// The number of a page.
// Without a default: generated clients send it, and a list of version 2 with a page has no cursor.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 4_294_967_295_i64, examples(1))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct PageNumber(i64);

/// Maximum number of entries in a response.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 100, default = 50, examples(50))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct Limit(u32);

/// The `next_cursor` of an earlier response, unchanged. It is valid only for the same list with the same filters.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 256, examples("aRJ8xTQyB3o1MA"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct Cursor(String);

/// One or several `ETag`s of earlier responses, separated by commas.
#[derive(ToSchema)]
#[schema(examples("W/\"q1CgDpnEuX0rAZ3k\""))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct EntityTags(String);

/// The id of an event, unchanged.
#[derive(ToSchema)]
#[schema(max_length = 64, examples("open-17-9983"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct EventId(String);

/// A time (RFC 3339), with the offset of its zone.
#[derive(ToSchema)]
#[schema(format = DateTime, examples("2027-01-31T15:00:00Z"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct Time(String);

/// The name of an item, for people.
#[derive(ToSchema)]
#[schema(examples("Item 17"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct ItemName(String);

/// A link to the picture of an item.
#[derive(ToSchema)]
#[schema(examples("https://images.example/17.jpg"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct ImageUrl(String);

/// The state of a sale by the database's clock: not started, open, or ended.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case", examples("open"))]
#[expect(dead_code, reason = "it documents `domain::sale::SaleState`")]
pub(crate) enum SaleState {
    Upcoming,
    Open,
    Ended,
}

/// The outcome of a line.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it documents `domain::purchase::LineOutcome`")]
pub(crate) enum Outcome {
    Sold,
    SoldOut,
    BuyerLimit,
}

/// Why a line was not bought.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it documents `domain::purchase::LineOutcome`")]
pub(crate) enum FailureReason {
    SoldOut,
    BuyerLimit,
}
