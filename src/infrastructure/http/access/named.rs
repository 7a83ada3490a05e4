//! The buyer whom a request names, to be counted by, if no token says who it is. A request that names only a code counts for that
//! code: whose it is would have to be looked up.

use std::borrow::Cow;

use axum::http::Uri;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::domain::code::CodeClaim;
use crate::domain::ids::BuyerId;
use crate::infrastructure::http::request::params::Params;

/// The only member of a body that counts here.
#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow)]
    buyer_id: Cow<'b, str>,
}

/// The name by which a request is counted; `None` if it names neither a buyer nor a code, or not validly.
pub(super) fn named(uri: &Uri, body: &[u8]) -> Option<String> {
    let path = uri.path();
    let versioned = ["/v1", "/v2"].iter().find_map(|version| path.strip_prefix(version));
    let mut segments = versioned.filter(|rest| rest.starts_with('/')).unwrap_or(path).split('/');
    segments.next();
    match (segments.next()?, segments.next()) {
        ("checkout", None) => of_query(uri, "user_id", buyer),
        ("purchase", None) => of_query(uri, "code", code),
        ("users" | "buyers", Some(id)) => buyer(&decoded(id)?),
        ("checkouts" | "purchases", Some(text)) => code(&decoded(text)?),
        ("checkouts", None) => buyer(&serde_json::from_slice::<Body<'_>>(body).ok()?.buyer_id),
        _ => None,
    }
}

fn of_query(
    uri: &Uri,
    name: &'static str,
    counted_as: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let mut params = Params::parse(uri.query());
    params.optional(name, |text| counted_as(text).ok_or(""))
}

fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(segment).decode_utf8().ok()
}

fn buyer(text: &str) -> Option<String> {
    BuyerId::parse_new(text).ok().map(|buyer| buyer.as_str().to_owned())
}

/// No id of a buyer has a space.
fn code(text: &str) -> Option<String> {
    let claim = CodeClaim::parse(text)?;
    Some(format!("code {} {}", claim.sale.get(), claim.attempt.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "CHK-S-1-1150000000000000000";

    fn counted(target: &str, body: &str) -> Option<String> {
        named(&target.parse().unwrap(), body.as_bytes())
    }

    #[test]
    fn a_buyer_counts_the_same_wherever_it_is_named() {
        for (target, body) in [
            ("/checkout?item_id=1&user_id=a%6En", ""),
            ("/v1/checkout?user_id=ann", ""),
            ("/users/ann/purchases", ""),
            ("/v2/buyers/%61nn/purchases?limit=1", ""),
            ("/v2/checkouts", r#"{"items":[{"id":"1"}],"buyer_id":"a\u006en"}"#),
        ] {
            assert_eq!(counted(target, body).as_deref(), Some("ann"), "{target}");
        }
    }

    #[test]
    fn a_code_counts_by_its_attempt_and_nothing_else_by_anything() {
        let of_code = counted(&format!("/purchase?code={CODE}"), "");
        assert_eq!(of_code.as_deref(), Some("code 1 5"));
        for target in ["/v2/checkouts/{}", "/v2/checkouts/{}/items/7", "/purchases/{}"] {
            assert_eq!(counted(&target.replace("{}", CODE), ""), of_code, "{target}");
        }
        for target in [
            "/",
            "/checkout",
            "/checkout?user_id=a&user_id=b",
            "/checkout?user_id=",
            "/purchase?code=x",
            "/users/%ff/purchases",
            "/v2/checkouts",
            "/v2",
            "/sales/S-1",
            "/v2sales",
        ] {
            assert_eq!(counted(target, "[]"), None, "{target}");
        }
    }
}
