//! Lists of items with quantities in bodies.

use std::collections::HashSet;

use utoipa::ToSchema;

use crate::application::checkout::RequestedLine;
use crate::domain::ids::{ItemId, Quantity};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::request::json_body::{Members, parse_quantity};

/// An item and its quantity in pieces.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents what `requested_lines` parses")]
pub(crate) struct NewItem {
    #[schema(value_type = schema::ItemId)]
    id: String,
    /// Default: 1.
    #[schema(value_type = schema::Quantity, required = false)]
    quantity: i32,
}

/// Parses a member that must be a list of 1 to `max` items, each named once. `limit` is the sale's, for errors.
pub(crate) fn requested_lines(
    name: &'static str,
    max: usize,
    members: &mut Members<'_>,
    limit: impl Fn() -> i32,
) -> Vec<RequestedLine> {
    let lines = members.objects(name, max, |line| parse_line(line, &limit));
    // An item that is named twice has two quantities, and neither takes precedence.
    let mut seen = HashSet::new();
    if !lines.iter().all(|line| seen.insert(&line.item)) {
        members.add_error(name, "must name every item once");
    }
    lines
}

/// The lines as parts of a request's content, by which a reused key is detected.
pub(crate) fn content_of(lines: &[RequestedLine]) -> impl Iterator<Item = String> {
    let parts =
        |line: &RequestedLine| [line.item.as_str().to_owned(), line.quantity.get().to_string()];
    lines.iter().flat_map(parts)
}

fn parse_line(members: &mut Members<'_>, limit: impl Fn() -> i32) -> Option<RequestedLine> {
    let item = members.required("id", |id| id.text(ItemId::parse));
    let quantity = members.optional("quantity", |quantity| parse_quantity(quantity, limit));
    Some(RequestedLine { item: item?, quantity: quantity.unwrap_or(Quantity::ONE) })
}
