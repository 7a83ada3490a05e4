//! What writes of version 2 answer when they have done what was asked for.

use std::collections::BTreeMap;

use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::{
    ContentBuilder, Header, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder,
    Type,
};
use utoipa::{IntoResponses, ToSchema};

use crate::infrastructure::http::v2::{Checkout, Purchase};

/// Where the code is in an answer, for links.
const CODE: &str = "$response.body#/code";
const FIRST_ITEM: &str = "$response.body#/items/0/id";

macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident: $($status:literal => $answer:expr;)+)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                BTreeMap::from([$(($status.to_owned(), $answer.build().into())),+])
            }
        }
    )+};
}

answers! {
    /// Of `POST /v2/checkouts`.
    Collected:
        "200" => leading_on(checkout("The checkout that was open has them."));
        "201" => leading_on(checkout("A new checkout has them.")).header("Location", text("The checkout."));
    /// Of `PUT …/items/{item_id}`.
    Changed:
        "200" => checkout("The item was in the checkout, and has this quantity now.");
        "201" => checkout("The item is new in the checkout.");
    /// Of `DELETE …/items/{item_id}`.
    Removed:
        "200" => checkout("The checkout without it.");
    /// Of `POST …/purchase`.
    Bought:
        "200" => once("At least one line was bought.", &Purchase::name())
            .header("Content-Location", text("The purchase."))
            .link("purchase", link("purchase_of_code", &[("code", CODE)]));
}

fn checkout(description: &str) -> ResponseBuilder {
    once(description, &Checkout::name())
}

/// An answer that a repeat with the same key gets again.
fn once(description: &str, schema: &str) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .header("Idempotent-Replayed", text("`true` where it is the first answer again."))
}

fn text(description: &str) -> Header {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    HeaderBuilder::new().schema(Some(text)).description(Some(description)).build()
}

/// With what can be done with the checkout next.
fn leading_on(response: ResponseBuilder) -> ResponseBuilder {
    let of_item = [("code", CODE), ("item_id", FIRST_ITEM)];
    let of_code = &of_item[..1];
    response
        .link("checkout", link("checkout", of_code))
        .link("put item", link("put_item", &of_item))
        .link("remove item", link("remove_item", &of_item))
        .link("buy", link("buy", of_code))
        .link("purchase", link("purchase_of_code", of_code))
}

fn link(operation: &str, parameters: &[(&str, &str)]) -> Link {
    let link = LinkBuilder::new().operation_id(operation);
    parameters.iter().fold(link, |link, (name, value)| link.parameter(*name, *value)).build()
}
