//! Which errors an operation may answer, by their codes; what each means is told where its page is.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::http::StatusCode;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type,
};
use utoipa::{IntoResponses, ToSchema};

use crate::infrastructure::http::error::Body as Error;
use crate::infrastructure::http::problem::{PAGES, Problem, meaning};
use crate::infrastructure::http::version::Version;

/// What every operation may answer, of those whose errors do not depend on what it does.
const EVERY: [&str; 7] = [
    "validation_failed",
    "payload_too_large",
    "uri_too_long",
    "head_too_large",
    "overloaded",
    "unavailable",
    "internal",
];

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident in $version:ident: $($code:literal)*;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                responses(Version::$version, &[$($code),*])
            }
        }
    )+};
}

problems! {
    /// Of `POST /v1/checkout`.
    V1Checkout in One: "user_limit_exceeded" "sale_id_required" "item_not_found" "sale_not_found" "no_active_sale"
        "item_sold_out" "sale_sold_out" "sale_not_started" "sale_ended";
    /// Of `POST /v1/purchase`, but for the two that are stored.
    V1Purchase in One: "code_not_found" "purchase_in_progress" "sale_not_started" "checkout_empty" "sale_ended";
    /// Of reads that name nothing.
    V1Read in One:;
    /// Of reads that name a sale.
    V1OfSale in One: "sale_not_found";
    /// Of `GET /v1/purchases/{code}`.
    V1OfCode in One: "code_not_found" "not_purchased";
    /// Of `POST /v2/checkouts`.
    Collect in Two: "user_limit_exceeded" "sale_id_required" "idempotency_key_missing" "item_not_found" "sale_not_found"
        "no_active_sale" "item_sold_out" "sale_sold_out" "sale_not_started" "idempotency_key_in_use" "sale_ended"
        "unsupported_media_type" "idempotency_key_reused" "precondition_failed";
    /// Of `PUT …/items/{item_id}`.
    Change in Two: "user_limit_exceeded" "code_not_found" "item_not_found" "item_sold_out" "sale_sold_out"
        "sale_not_started" "checkout_closed" "idempotency_key_in_use" "sale_ended" "unsupported_media_type"
        "idempotency_key_reused" "precondition_failed";
    /// Of `DELETE …/items/{item_id}`.
    Remove in Two: "code_not_found" "item_not_found" "sale_not_started" "checkout_closed" "idempotency_key_in_use"
        "sale_ended" "idempotency_key_reused" "precondition_failed";
    /// Of `POST …/purchase`.
    Buy in Two: "user_limit_exceeded" "idempotency_key_missing" "code_not_found" "items_already_sold"
        "purchase_in_progress" "sale_not_started" "checkout_empty" "idempotency_key_in_use" "sale_ended"
        "idempotency_key_reused" "precondition_failed";
    /// Of reads that name nothing.
    Read in Two:;
    /// Of reads that name a sale.
    OfSale in Two: "sale_not_found";
    /// Of reads that name a code.
    OfCode in Two: "code_not_found";
    /// Of `GET /v2/purchases/{code}`.
    OfPurchase in Two: "code_not_found" "not_purchased";
}

/// One answer for each status, which tells of all its codes.
fn responses(version: Version, codes: &[&'static str]) -> BTreeMap<String, RefOr<Response>> {
    let mut told: BTreeMap<StatusCode, String> = BTreeMap::new();
    for code in EVERY.iter().chain(codes) {
        let Some((status, means)) = meaning(code) else {
            continue;
        };
        let text = told.entry(status).or_default();
        let _ = writeln!(text, "- [`{code}`]({PAGES}{code}): {means}");
    }
    let response =
        |(status, text)| (StatusCode::as_str(&status).to_owned(), one(version, status, text));
    told.into_iter().map(response).collect()
}

fn one(version: Version, status: StatusCode, text: String) -> RefOr<Response> {
    let (media_type, schema) = match version {
        Version::One => ("application/json", Error::name()),
        Version::Two => ("application/problem+json", Problem::name()),
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let mut response = ResponseBuilder::new().description(text).content(media_type, content);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
        let header = HeaderBuilder::new().schema(Some(seconds));
        let header = header.description(Some("Seconds after which to ask again.")).build();
        response = response.header("Retry-After", header);
    }
    response.build().into()
}
