//! A JSON body, parsed strictly: every member is known and occurs at most once. All errors are collected, each by its JSON Pointer
//! (RFC 6901).

use std::collections::BTreeMap;
use std::fmt::Display;

use axum::http::{HeaderMap, header};

use super::json::Json;
use super::params::quantity_out_of_range;
use crate::domain::ids::Quantity;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};

/// The JSON Pointer of the whole body.
const ROOT: &str = "#";
/// Accepted media types. A `charset` parameter is ignored: JSON is UTF-8 (RFC 8259, section 8.1).
const MEDIA_TYPES: [&str; 2] = ["application/json", "application/vnd.flash-sale.v2+json"];

/// The members of an object that are not parsed yet, and the errors of the whole body.
#[derive(Debug)]
pub(crate) struct Members<'e> {
    unparsed: BTreeMap<String, Json>,
    /// The object's JSON Pointer.
    pointer: String,
    errors: &'e mut ValidationErrors,
}

/// Reads a body that must be an object: `read` parses its members, whose errors are added to `errors`. Fails if the body is not a
/// JSON object.
pub(crate) fn read_object<T>(
    headers: &HeaderMap,
    body: &[u8],
    errors: &mut ValidationErrors,
    read: impl FnOnce(&mut Members<'_>) -> T,
) -> Result<T, ApiError> {
    if !is_json(headers) {
        return Err(ApiError::MediaTypeUnsupported);
    }
    let unparsed = match serde_json::from_slice(body) {
        Ok(Json::Object(members)) => members,
        Ok(_) => return Err(ApiError::invalid(ROOT, "must be an object")),
        Err(error) => return Err(ApiError::invalid(ROOT, syntax_error(body, &error))),
    };
    let mut members = Members { unparsed, pointer: ROOT.to_owned(), errors };
    let value = read(&mut members);
    members.finish();
    Ok(value)
}

/// Parses a quantity of any size; sales have limits, and `limit` is only for the error.
pub(crate) fn parse_quantity(json: &Json, limit: impl FnOnce() -> i32) -> Result<Quantity, String> {
    let quantity = json.positive_integer().ok().and_then(Quantity::new);
    quantity.ok_or_else(|| quantity_out_of_range(limit()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(media_type), None) = (types.next(), types.next()) else {
        return false;
    };
    let media_type = media_type.to_str().unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let is_uncompressed =
        headers.get_all(header::CONTENT_ENCODING).iter().all(|coding| coding == "identity");
    is_uncompressed && MEDIA_TYPES.iter().any(|known| known.eq_ignore_ascii_case(media_type))
}

/// The parser's message. It names kinds of tokens and a position, and quotes nothing of the body.
fn syntax_error(body: &[u8], error: &serde_json::Error) -> String {
    if body.is_empty() {
        return "must not be empty".to_owned();
    }
    format!("is not valid JSON: {error}")
}

impl Members<'_> {
    /// Parses a member that must be present.
    pub(crate) fn required<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Json) -> Result<T, E>,
    ) -> Option<T> {
        if !self.unparsed.contains_key(name) {
            self.add_error(name, "is required");
            return None;
        }
        self.optional(name, parse)
    }

    /// Parses a member that may be absent.
    pub(crate) fn optional<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Json) -> Result<T, E>,
    ) -> Option<T> {
        match parse(&self.unparsed.remove(name)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.add_error(name, error);
                None
            }
        }
    }

    /// Whether a member is present, valid or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.unparsed.contains_key(name)
    }

    /// Parses a member that must be a list of 1 to `max` objects. Invalid entries are left out of the result.
    pub(crate) fn objects<T>(
        &mut self,
        name: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Members<'_>) -> Option<T>,
    ) -> Vec<T> {
        let list = match self.unparsed.remove(name) {
            None => {
                self.add_error(name, "is required");
                return Vec::new();
            }
            Some(Json::List(list)) if (1..=max).contains(&list.len()) => list,
            Some(_) => {
                self.add_error(name, format!("must be a list of 1 to {max} entries"));
                return Vec::new();
            }
        };
        let mut entries = Vec::with_capacity(list.len());
        for (index, entry) in list.into_iter().enumerate() {
            let pointer = format!("{}/{name}/{index}", self.pointer);
            let Json::Object(unparsed) = entry else {
                self.errors.insert(pointer.into(), "must be an object".to_owned());
                continue;
            };
            let mut members = Members { unparsed, pointer, errors: &mut *self.errors };
            entries.extend(read(&mut members));
            members.finish();
        }
        entries
    }

    /// Adds the error of a member.
    pub(crate) fn add_error(&mut self, name: &str, error: impl Display) {
        self.errors.insert(format!("{}/{name}", self.pointer).into(), error.to_string());
    }

    /// Refuses unknown members: a misspelled optional member would otherwise be ignored. The error does not repeat the name,
    /// because a client chose it.
    fn finish(self) {
        if !self.unparsed.is_empty() {
            self.errors.insert(self.pointer.into(), "has an unknown member".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(media_type: &str) -> HeaderMap {
        let media_type = HeaderValue::from_str(media_type).unwrap();
        HeaderMap::from_iter([(header::CONTENT_TYPE, media_type)])
    }

    /// The errors of a body that must have a string `who`, and `lines` with a `count` each.
    fn errors(body: &[u8]) -> Vec<(String, String)> {
        let mut errors = ValidationErrors::new();
        let read = read_object(&headers("application/json"), body, &mut errors, |members| {
            members.required("who", |who| who.text(|who| Ok::<_, String>(who.len())));
            members.objects("lines", 2, |line| line.required("count", Json::positive_integer));
        });
        match read {
            Err(ApiError::Validation(whole)) => errors = whole,
            read => read.unwrap(),
        }
        errors.into_iter().map(|(pointer, error)| (pointer.into_owned(), error)).collect()
    }

    fn pointers(body: &str) -> Vec<String> {
        errors(body.as_bytes()).into_iter().map(|(pointer, _)| pointer).collect()
    }

    #[test]
    fn a_valid_body_has_no_errors() {
        assert_eq!(pointers(r#"{"who": "ann", "lines": [{"count": 1}, {"count": 2.0}]}"#), [""; 0]);
    }

    #[test]
    fn every_error_has_the_pointer_of_its_value() {
        for (body, expected) in [
            ("{}", &["#/lines", "#/who"][..]),
            (r#"{"who": 1, "lines": {}}"#, &["#/lines", "#/who"]),
            (r#"{"who": null, "lines": []}"#, &["#/lines", "#/who"]),
            (r#"{"who": "", "lines": [{}, 1]}"#, &["#/lines/0/count", "#/lines/1"]),
            (r#"{"who": "", "lines": [{"count": 1}, {"count": 1}, {"count": 1}]}"#, &["#/lines"]),
            (r#"{"who": "", "lines": [{"count": 1, "x": 1}], "y": 1}"#, &["#", "#/lines/0"]),
            (
                r#"{"who": "", "lines": [{"count": 0}, {"count": 1.5}]}"#,
                &["#/lines/0/count", "#/lines/1/count"],
            ),
            (
                r#"{"who": "", "lines": [{"count": "1"}, {"count": -1}]}"#,
                &["#/lines/0/count", "#/lines/1/count"],
            ),
        ] {
            assert_eq!(pointers(body), expected, "{body}");
        }
    }

    #[test]
    fn a_body_that_is_not_an_object_has_one_error() {
        let deep = "[".repeat(100_000);
        let deep_object = "{\"a\":".repeat(5_000);
        for body in [
            "",
            " ",
            "[]",
            "1",
            "null",
            "\"x\"",
            "{",
            r#"{"who": "a"#,
            r#"{"who": "a"}}"#,
            "{who: 1}",
            "NaN",
            r#"{"who": "a", "who": "b"}"#,
            r#"{"lines": [{"count": 1, "count": 1}]}"#,
            r#"{"who": "\ud800"}"#,
            &deep,
            &deep_object,
        ] {
            assert_eq!(pointers(body), ["#"], "{}", &body[..body.len().min(40)]);
        }
        assert_eq!(errors(b"{\"who\": \"\xff\"}")[0].0, "#");
    }

    #[test]
    fn a_body_must_have_a_json_media_type() {
        for media_type in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.flash-sale.v2+json",
        ] {
            assert!(is_json(&headers(media_type)), "{media_type}");
        }
        for media_type in
            ["text/plain", "application/jsonp", "application/x-www-form-urlencoded", ""]
        {
            assert!(!is_json(&headers(media_type)), "{media_type}");
        }
        let mut twice = headers("application/json");
        twice.append(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let mut encoded = headers("application/json");
        encoded.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!is_json(&twice) && !is_json(&encoded) && !is_json(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn no_body_causes_a_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            errors(&body);
        }
    }
}
