//! The error responses of an operation, by their codes. Their descriptions come from the catalogue of errors.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::example::Example;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type,
};

use crate::infrastructure::http::error::problem_body::ProblemBody;
use crate::infrastructure::http::error::v1::ErrorBody;
use crate::infrastructure::http::error::with_page;
use crate::infrastructure::http::model::paths::PROBLEMS;
use crate::infrastructure::http::model::version::Version;

/// Codes that every operation can return.
const COMMON_CODES: [&str; 8] = [
    "validation_failed",
    "payload_too_large",
    "uri_too_long",
    "head_too_large",
    "rate_limited",
    "overloaded",
    "unavailable",
    "internal",
];

/// Declares types for the `responses(…)` of handlers: a version, and the codes that an operation can return beside the common
/// ones.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident in $version:ident: $($code:literal)*;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl ::utoipa::IntoResponses for $name {
            fn responses() -> $crate::infrastructure::http::openapi::problems::Responses {
                $crate::infrastructure::http::openapi::problems::responses(
                    $crate::infrastructure::http::model::version::Version::$version,
                    &[$($code),*],
                )
            }
        }
    )+};
}

pub(crate) use problems;

problems! {
    /// Errors of reads in version 1.
    V1ReadProblems in One:;
    /// Errors of reads of a sale in version 1.
    V1SaleProblems in One: "sale_not_found" "sale_archived";
    /// Errors of reads.
    ReadProblems in Two:;
    /// Errors of reads of a sale.
    SaleProblems in Two: "sale_not_found" "sale_archived";
    /// Errors of reads of a buyer's purchases in version 1.
    V1BuyerProblems in One: "unauthorized" "not_your_checkout" "forbidden" "sale_not_found" "sale_archived";
    /// Errors of reads of a buyer's purchases.
    BuyerProblems in Two: "unauthorized" "not_your_checkout" "forbidden" "sale_not_found" "sale_archived";
    /// Errors of reads of a checkout.
    CodeProblems in Two: "unauthorized" "not_your_checkout" "forbidden" "code_not_found" "sale_archived";
}

/// Responses by status.
pub(crate) type Responses = BTreeMap<String, RefOr<Response>>;

/// One response for each status, which lists all codes with this status.
pub(crate) fn responses(version: Version, codes: &[&'static str]) -> Responses {
    let mut by_status: BTreeMap<StatusCode, (String, Vec<&str>)> = BTreeMap::new();
    for code in COMMON_CODES.iter().chain(codes) {
        let Some((entry, page)) = with_page().find(|(entry, _)| entry.code == *code) else {
            continue;
        };
        let (description, codes) = by_status.entry(entry.status).or_default();
        let _ = writeln!(description, "- [`{code}`]({PROBLEMS}{code}): {}", page.meaning);
        codes.push(code);
    }
    let responses = by_status.into_iter().map(|(status, (description, codes))| {
        (status.as_str().to_owned(), response(version, status, description, &codes))
    });
    responses.collect()
}

/// An example of each error in each version, by its name in the document.
pub(crate) fn examples() -> impl Iterator<Item = (String, Value)> {
    with_page().flat_map(|(entry, _)| {
        let (code, status) = (entry.code, entry.status.as_u16());
        let mut one = json!({ "message": entry.message, "code": code });
        let mut two = json!({ "type": format!("{PROBLEMS}{code}"), "title": entry.message,
                              "status": status, "code": code });
        if code == "validation_failed" {
            let detail = "must be a whole number from 1 to 100";
            one["errors"] = json!({ "limit": detail });
            two["errors"] = json!([{ "parameter": "limit", "detail": detail }]);
        }
        [(Version::One, one), (Version::Two, two)].map(|(version, body)| {
            (example_name(version, code), json!({ "summary": entry.message, "value": body }))
        })
    })
}

/// Refers to an example.
pub(crate) fn example_reference(name: &str) -> String {
    format!("#/components/examples/{name}")
}

fn example_name(version: Version, code: &str) -> String {
    match version {
        Version::One => format!("v1_{code}"),
        Version::Two => code.to_owned(),
    }
}

fn response(
    version: Version,
    status: StatusCode,
    description: String,
    codes: &[&str],
) -> RefOr<Response> {
    let (media_type, schema) = match version {
        Version::One => ("application/json", ErrorBody::name()),
        Version::Two => ("application/problem+json", ProblemBody::name()),
    };
    let examples = codes.iter().map(|code| {
        let reference = Ref::new(example_reference(&example_name(version, code)));
        (*code, RefOr::<Example>::Ref(reference))
    });
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema)));
    let content = content.examples_from_iter(examples).build();
    let mut response = ResponseBuilder::new().description(description).content(media_type, content);
    if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).build();
        let header = HeaderBuilder::new().schema(Some(seconds));
        let header =
            header.description(Some("Seconds after which the request can be repeated.")).build();
        response = response.header("Retry-After", header);
    }
    response.build().into()
}
