//! The query, parsed strictly: every parameter at most once, with valid percent-encoding and UTF-8. All errors are collected.
//! Unknown parameters are ignored.

use std::borrow::Cow;
use std::fmt::Display;

use percent_encoding::percent_decode;

use crate::domain::ids::{Quantity, SaleId};
use crate::infrastructure::http::error::{ApiError, ValidationErrors};

/// Maximum length of a sale id, in characters.
const MAX_SALE_ID_CHARS: usize = 64;

/// As many parameters as a request usually has.
const USUAL: usize = 4;

/// The parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct Params<'a> {
    /// In their order. A name is looked up a few times at most, so each look-up may pass all of them.
    values: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>,
    errors: ValidationErrors,
}

enum Value<'v> {
    Single(&'v str),
    Repeated,
    /// Not percent-encoded UTF-8.
    Malformed,
}

impl<'a> Params<'a> {
    /// Splits and decodes a query.
    pub(crate) fn parse(query: Option<&'a str>) -> Self {
        let mut params = Self { values: Vec::with_capacity(USUAL), ..Self::default() };
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name) else {
                params.errors.insert(
                    "query".into(),
                    "has a name that is not valid percent-encoded UTF-8".to_owned(),
                );
                continue;
            };
            params.values.push((name, decode(value)));
        }
        params
    }

    fn value(&self, name: &str) -> Option<Value<'_>> {
        let mut values = self.values.iter().filter(|(given, _)| given == name);
        let (_, value) = values.next()?;
        Some(match (value, values.next()) {
            (_, Some(_)) => Value::Repeated,
            (Some(value), None) => Value::Single(value),
            (None, None) => Value::Malformed,
        })
    }

    /// Parses a parameter that must be present.
    pub(crate) fn required<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if !self.has(name) {
            self.errors.insert(name.into(), "is required".to_owned());
            return None;
        }
        self.optional(name, parse)
    }

    /// Parses a parameter that may be absent.
    pub(crate) fn optional<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let error = match self.value(name)? {
            Value::Repeated => "must be given once".to_owned(),
            Value::Malformed => "is not valid percent-encoded UTF-8".to_owned(),
            Value::Single("") => "must not be empty".to_owned(),
            Value::Single(value) => match parse(value) {
                Ok(value) => return Some(value),
                Err(error) => error.to_string(),
            },
        };
        self.errors.insert(name.into(), error);
        None
    }

    /// Parses a parameter that must be present under one of two names.
    pub(crate) fn required_as<T, E: Display>(
        &mut self,
        name: &'static str,
        alias: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match (self.has(name), self.has(alias)) {
            (true, true) => {
                self.errors
                    .insert(name.into(), format!("must be given once, as {name} or as {alias}"));
                None
            }
            (false, true) => self.required(alias, parse),
            (true | false, false) => self.required(name, parse),
        }
    }

    /// Parses a whole number from `min` to `max`.
    pub(crate) fn number(&mut self, name: &'static str, min: u32, max: u32) -> Option<u32> {
        self.optional(name, |text| {
            whole_number(text)
                .filter(|number| (min..=max).contains(number))
                .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
        })
    }

    /// Whether a parameter is present, valid or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(given, _)| given == name)
    }

    /// Adds `error` if a parameter is present.
    pub(crate) fn refuse_if_present(&mut self, name: &'static str, error: &str) {
        if self.has(name) {
            self.errors.insert(name.into(), error.to_owned());
        }
    }

    /// Parses `true` or `false`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.optional(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        })
    }

    /// Parses `sale_id`. The inner error, a sale that does not exist, is returned only if the request has no invalid parameter.
    pub(crate) fn sale_id(&mut self) -> Option<Result<SaleId, ApiError>> {
        self.optional("sale_id", sale_id)
    }

    /// Adds the error of a path parameter, which is parsed elsewhere.
    pub(crate) fn path_parameter<T, E: Display>(
        &mut self,
        name: &'static str,
        parsed: Result<T, E>,
    ) -> Option<T> {
        parsed.map_err(|error| self.errors.insert(name.into(), error.to_string())).ok()
    }

    /// Returns all errors, if there are any.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::Validation(self.errors)) }
    }
}

/// Parses a sale id. A text that cannot be a sale id names a sale that does not exist: the inner error.
pub(crate) fn sale_id(text: &str) -> Result<Result<SaleId, ApiError>, &'static str> {
    let is_plain = (1..=MAX_SALE_ID_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain {
        Ok(SaleId::parse(text).ok_or(ApiError::SaleNotFound))
    } else {
        Err("is not a sale id")
    }
}

/// Parses a quantity of any size; sales have limits.
pub(crate) fn parse_quantity(text: &str) -> Option<Quantity> {
    Quantity::new(i32::try_from(whole_number(text)?).ok()?)
}

/// The error of a quantity above the sale's limit.
pub(crate) fn quantity_out_of_range(limit: i32) -> String {
    format!("must be a whole number from 1 to {limit}")
}

/// Parses digits only: no sign, point or space.
fn whole_number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether two hexadecimal digits follow every percent sign.
pub(crate) fn escapes_are_whole(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(index, _)| {
        let digits = bytes.get(index + 1..index + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Decodes a name or value of the query; `None` if it is not percent-encoded UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(text));
    }
    if !escapes_are_whole(text) {
        return None;
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::{BuyerId, ItemId};

    fn errors(query: &str) -> ValidationErrors {
        let mut params = Params::parse(Some(query));
        params.required("user_id", BuyerId::parse);
        params.required_as("item_id", "id", ItemId::parse);
        params.number("quantity", 1, 10);
        params.sale_id();
        match params.finish() {
            Ok(()) => ValidationErrors::new(),
            Err(ApiError::Validation(errors)) => errors,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn valid_parameters_have_no_errors() {
        for query in [
            "user_id=ann&item_id=1",
            "user_id=ann&id=1&quantity=10&sale_id=S-1",
            "user_id=a%2Bb&item_id=%C3%A9&utm_source=x",
        ] {
            assert_eq!(errors(query), ValidationErrors::new(), "{query}");
        }
    }

    #[test]
    fn all_invalid_parameters_are_named_at_once() {
        let errors = errors("user_id=&item_id=%ff&quantity=1.5&sale_id=a%20b");

        let names: Vec<_> = errors.keys().map(AsRef::as_ref).collect();
        assert_eq!(names, ["item_id", "quantity", "sale_id", "user_id"]);
    }

    #[test]
    fn invalid_parameters_are_refused() {
        for query in [
            "",
            "user_id",
            "user_id=&item_id=1",
            "user_id=a&user_id=b&item_id=1",
            "user_id=a&item_id=1&id=1",
            "user_id=a%zz&item_id=1",
            "user_id=a%&item_id=1",
            "user_id=a%0&item_id=1",
            "user_id=a%00&item_id=1",
            "user_id=a&item_id=a%00",
            "user_id=a+b&item_id=1",
            "user_id=a&item_id=1&quantity=-1",
            "user_id=a&item_id=1&quantity=%2B1",
            "user_id=a&item_id=1&quantity=99999999999999999999",
            "user_id=a&item_id=1&quantity=0",
            "%ff=1&user_id=a&item_id=1",
        ] {
            assert_ne!(errors(query), ValidationErrors::new(), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_query_causes_a_panic(query in "\\PC{0,80}") {
            errors(&query);
        }
    }
}
