//! Responses of version 2 that are not errors. A response with a checkout links to the operations that can follow.

use utoipa::ToSchema;
use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::{
    ContentBuilder, Header, HeaderBuilder, ObjectBuilder, Ref, ResponseBuilder, Type,
};

use crate::infrastructure::http::model::checkout::Checkout;

/// OpenAPI runtime expressions, for links.
pub(crate) const CODE: &str = "$response.body#/code";
const FIRST_ITEM: &str = "$response.body#/items/0/id";

/// Declares types for the `responses(…)` of handlers whose responses have links.
macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident: $($status:literal => $answer:expr;)+)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl ::utoipa::IntoResponses for $name {
            fn responses() -> $crate::infrastructure::http::openapi::problems::Responses {
                ::std::collections::BTreeMap::from([$(($status.to_owned(), $answer.build().into())),+])
            }
        }
    )+};
}

pub(crate) use answers;

answers! {
    /// The response to a read whose `If-None-Match` contains the current `ETag`.
    NotModified: "304" => ResponseBuilder::new().description("`If-None-Match` contains the current `ETag`.");
}

/// A response with a checkout, which a repeat with the same key gets again.
pub(crate) fn checkout_response(description: &str) -> ResponseBuilder {
    let tag = "Identifies the checkout as it is now, for `If-Match` and `If-None-Match`.";
    replayable_response(description, &Checkout::name()).header("ETag", text_header(tag))
}

/// A response that a repeat with the same key gets again.
pub(crate) fn replayable_response(description: &str, schema: &str) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .header("Idempotent-Replayed", text_header("`true` if this repeats an earlier response."))
}

pub(crate) fn text_header(description: &str) -> Header {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    HeaderBuilder::new().schema(Some(text)).description(Some(description)).build()
}

/// Adds links to the operations on the checkout in the response.
pub(crate) fn with_links(response: ResponseBuilder) -> ResponseBuilder {
    let item = [("code", CODE), ("item_id", FIRST_ITEM)];
    let code = &item[..1];
    response
        .link("checkout", link("checkout", code))
        .link("put item", link("put_item", &item))
        .link("remove item", link("remove_item", &item))
        .link("buy", link("buy", code))
        .link("purchase", link("purchase_of_code", code))
}

/// A link to an operation by its id.
pub(crate) fn link(operation: &str, parameters: &[(&str, &str)]) -> Link {
    let link = LinkBuilder::new().operation_id(operation);
    parameters.iter().fold(link, |link, (name, value)| link.parameter(*name, *value)).build()
}
