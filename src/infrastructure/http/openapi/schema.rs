//! Texts and words of the interface, as the document describes them. The service itself parses them into the domain's types.

use utoipa::ToSchema;

/// A buyer: compared byte by byte.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", examples("ann"))]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct BuyerId(String);

/// An item of a sale.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", examples("17"))]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct ItemId(String);

/// A sale.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 64, pattern = "^[!-~]+$", examples("S-1"))]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct SaleId(String);

/// What a checkout is redeemed with. Whoever has it may buy with it.
#[derive(ToSchema)]
#[schema(min_length = 1, examples("CHK-S-1-0C1A5M4V8Z3J1QX7EY2T"))]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Code(String);

/// Made up by the client, another one for every new request; a repeat of a request has the same. Best a UUID. With or without
/// the quotes of RFC 8941.
#[derive(ToSchema)]
#[schema(
    min_length = 1,
    max_length = 255,
    pattern = "^[!#-+\\--~]+$",
    examples("8e03978e-40d5-43dd-bc93-6894a57f9324")
)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct IdempotencyKey(String);

/// Pieces of one item. A sale's own limit may be lower.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 1_000, default = 1, examples(2))]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Quantity(i32);

/// Number of a page, from 1.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 4_294_967_295_i64, default = 1)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct PageNumber(i64);

/// Most entries of one answer.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 100, default = 50)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Limit(u32);

/// Where the list goes on: `next_cursor` of the answer before, as it was told. Of another list, or changed, it is refused.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 256)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Cursor(String);

/// Whether the sale has not begun, is open, or is over, by the database's clock.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes `domain::sale::SaleState`")]
pub(crate) enum SaleState {
    Upcoming,
    Open,
    Ended,
}

/// What became of a line.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes `domain::purchase::Fate`")]
pub(crate) enum Outcome {
    Sold,
    SoldOut,
    BuyerLimit,
}

/// Why a line was not bought.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes `domain::purchase::Fate`")]
pub(crate) enum FailureReason {
    SoldOut,
    BuyerLimit,
}
