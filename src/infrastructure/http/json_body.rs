//! A JSON body, read strictly: every member known and at most once, every fault told at once, each by its place (RFC 6901).

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use axum::http::{HeaderMap, header};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::{ApiError, Faults};

/// Where a whole body is.
const ROOT: &str = "#";
/// What a body may be called; a character set may follow, which says nothing: JSON is UTF-8 (RFC 8259, section 8.1).
const MEDIA_TYPES: [&str; 2] = ["application/json", "application/vnd.flash-sale.v2+json"];

/// Any JSON, with no member twice. Depth is bounded by the parser, size by the body's own bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool,
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

/// An object's members, and the faults of the whole body.
#[derive(Debug)]
pub(crate) struct Members<'f> {
    given: BTreeMap<String, Json>,
    place: String,
    faults: &'f mut Faults,
}

/// Reads a body that must be an object. What is at fault in it is put to the other faults, and then `read` sees no members.
pub(crate) fn object<T>(
    headers: &HeaderMap,
    body: &[u8],
    faults: &mut Faults,
    read: impl FnOnce(&mut Members<'_>) -> T,
) -> Result<T, ApiError> {
    if !is_json(headers) {
        return Err(ApiError::MediaTypeUnsupported);
    }
    let parsed = serde_json::from_slice(body);
    let (given, fault) = match parsed {
        Ok(Json::Object(given)) => (given, None),
        Ok(_) => (BTreeMap::new(), Some("must be an object".to_owned())),
        Err(error) => (BTreeMap::new(), Some(what_is_wrong(body, &error))),
    };
    if let Some(fault) = fault {
        return Err(ApiError::invalid(ROOT, fault));
    }
    let mut members = Members { given, place: ROOT.to_owned(), faults };
    let value = read(&mut members);
    members.finish();
    Ok(value)
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(media_type), None) = (types.next(), types.next()) else {
        return false;
    };
    let media_type = media_type.to_str().unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let is_plain =
        headers.get_all(header::CONTENT_ENCODING).iter().all(|coding| coding == "identity");
    is_plain && MEDIA_TYPES.iter().any(|known| known.eq_ignore_ascii_case(media_type))
}

/// In the parser's words, which hold nothing of the body but names of things that it may be.
fn what_is_wrong(body: &[u8], error: &serde_json::Error) -> String {
    if body.is_empty() {
        return "must not be empty".to_owned();
    }
    format!("is not valid JSON: {error}")
}

impl Members<'_> {
    /// A member that must be there.
    pub(crate) fn required<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Json) -> Result<T, E>,
    ) -> Option<T> {
        if !self.given.contains_key(name) {
            self.fault(name, "is required");
            return None;
        }
        self.optional(name, parse)
    }

    /// A member that may be left out.
    pub(crate) fn optional<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Json) -> Result<T, E>,
    ) -> Option<T> {
        match parse(&self.given.remove(name)?) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(name, fault);
                None
            }
        }
    }

    /// A member that must be there and be a list of 1 to `most` objects. An entry in which something is wrong is left out.
    pub(crate) fn objects<T>(
        &mut self,
        name: &'static str,
        most: usize,
        mut read: impl FnMut(&mut Members<'_>) -> Option<T>,
    ) -> Vec<T> {
        let list = match self.given.remove(name) {
            None => {
                self.fault(name, "is required");
                return Vec::new();
            }
            Some(Json::List(list)) if (1..=most).contains(&list.len()) => list,
            Some(_) => {
                self.fault(name, format!("must be a list of 1 to {most} entries"));
                return Vec::new();
            }
        };
        let mut entries = Vec::with_capacity(list.len());
        for (number, entry) in list.into_iter().enumerate() {
            let place = format!("{}/{name}/{number}", self.place);
            let Json::Object(given) = entry else {
                self.faults.insert(place.into(), "must be an object".to_owned());
                continue;
            };
            let mut members = Members { given, place, faults: &mut *self.faults };
            entries.extend(read(&mut members));
            members.finish();
        }
        entries
    }

    /// Notes what is wrong with a member.
    pub(crate) fn fault(&mut self, name: &str, fault: impl Display) {
        self.faults.insert(format!("{}/{name}", self.place).into(), fault.to_string());
    }

    /// Whoever misspells a member that may be left out would otherwise never know. Its name is the client's: it is not told
    /// back.
    fn finish(self) {
        if !self.given.is_empty() {
            let fault = "has a member that is not known here".to_owned();
            self.faults.insert(self.place.into(), fault);
        }
    }
}

impl Json {
    /// A text that can be parsed.
    pub(crate) fn text<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, String> {
        let Self::Text(text) = self else {
            return Err("must be a string".to_owned());
        };
        parse(text).map_err(|fault| fault.to_string())
    }

    /// A whole number from 1 on.
    pub(crate) fn count(&self) -> Result<i32, &'static str> {
        const FAULT: &str = "must be a whole number from 1";
        let Self::Number(number) = *self else {
            return Err(FAULT);
        };
        if number.fract() != 0.0 || number < 1.0 {
            return Err(FAULT);
        }
        // What is too large for the type is too large for any limit.
        #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
        Ok(number as i32)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct AnyJson;

        impl<'de> Visitor<'de> for AnyJson {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
                Ok(Json::Bool)
            }

            #[expect(clippy::cast_precision_loss, reason = "counts that matter are small")]
            fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
                Ok(Json::Number(number as f64))
            }

            #[expect(clippy::cast_precision_loss, reason = "counts that matter are small")]
            fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Number(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
                Ok(Json::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    entries.push(entry);
                }
                Ok(Json::List(entries))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = object.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(de::Error::custom("a member comes twice"));
                    }
                }
                Ok(Json::Object(members))
            }
        }

        from.deserialize_any(AnyJson)
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

    /// The faults of a body that must have a text `who` and `lines` with a count each.
    fn faults(body: &[u8]) -> Vec<(String, String)> {
        let mut faults = Faults::new();
        let read = object(&headers("application/json"), body, &mut faults, |members| {
            members.required("who", |who| who.text(|who| Ok::<_, String>(who.len())));
            members.objects("lines", 2, |line| line.required("count", Json::count));
        });
        match read {
            Err(ApiError::Validation(whole)) => faults = whole,
            read => read.unwrap(),
        }
        faults.into_iter().map(|(place, fault)| (place.into_owned(), fault)).collect()
    }

    fn places(body: &str) -> Vec<String> {
        faults(body.as_bytes()).into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn a_good_body_has_no_fault() {
        assert_eq!(places(r#"{"who": "ann", "lines": [{"count": 1}, {"count": 2.0}]}"#), [""; 0]);
    }

    #[test]
    fn every_fault_is_told_by_its_place() {
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
            assert_eq!(places(body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_object_is_told_as_a_whole() {
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
            assert_eq!(places(body), ["#"], "{}", &body[..body.len().min(40)]);
        }
        assert_eq!(faults(b"{\"who\": \"\xff\"}")[0].0, "#");
    }

    #[test]
    fn a_body_must_be_called_json() {
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
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            faults(&body);
        }
    }
}
