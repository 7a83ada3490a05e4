//! The query, parsed strictly: every parameter at most once, percent-encoding and UTF-8 intact. All faults are gathered and told
//! at once. Parameters that nobody asks for are ignored.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;

use percent_encoding::percent_decode;

use super::error::{ApiError, Faults};
use crate::domain::ids::SaleId;

/// Longest number of a sale, in characters.
const MAX_SALE_ID_CHARS: usize = 64;

/// The parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct Params<'a> {
    given: BTreeMap<Cow<'a, str>, Given<'a>>,
    faults: Faults,
}

#[derive(Debug)]
enum Given<'a> {
    Once(Cow<'a, str>),
    Twice,
    Broken,
}

impl<'a> Params<'a> {
    /// Takes a query apart.
    pub(crate) fn parse(query: Option<&'a str>) -> Self {
        let mut params = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name) else {
                params.faults.insert("query".into(), "has a name that is not valid".to_owned());
                continue;
            };
            let given = decode(value).map_or(Given::Broken, Given::Once);
            params.given.entry(name).and_modify(|before| *before = Given::Twice).or_insert(given);
        }
        params
    }

    /// A parameter that must be there.
    pub(crate) fn required<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if !self.given.contains_key(name) {
            self.faults.insert(name.into(), "is required".to_owned());
            return None;
        }
        self.optional(name, parse)
    }

    /// A parameter that may be left out.
    pub(crate) fn optional<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let fault = match self.given.get(name)? {
            Given::Twice => "must be given once".to_owned(),
            Given::Broken => "is not valid percent-encoded UTF-8".to_owned(),
            Given::Once(value) if value.is_empty() => "must not be empty".to_owned(),
            Given::Once(value) => match parse(value) {
                Ok(value) => return Some(value),
                Err(fault) => fault.to_string(),
            },
        };
        self.faults.insert(name.into(), fault);
        None
    }

    /// A parameter that goes by a second name too.
    pub(crate) fn required_as<T, E: Display>(
        &mut self,
        name: &'static str,
        alias: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match (self.given.contains_key(name), self.given.contains_key(alias)) {
            (true, true) => {
                self.faults
                    .insert(name.into(), format!("must be given once, as {name} or as {alias}"));
                None
            }
            (false, true) => self.required(alias, parse),
            (true | false, false) => self.required(name, parse),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, name: &'static str, low: u32, high: u32) -> Option<u32> {
        self.optional(name, |text| {
            whole_number(text)
                .filter(|number| (low..=high).contains(number))
                .ok_or_else(|| format!("must be a whole number from {low} to {high}"))
        })
    }

    /// Whether a parameter is there, good or bad.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// A parameter that must not be there.
    pub(crate) fn refuse_if_given(&mut self, name: &'static str, fault: &str) {
        if self.has(name) {
            self.faults.insert(name.into(), fault.to_owned());
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.optional(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        })
    }

    /// A sale's public number. A text that cannot be one names a sale that does not exist, which is told only after
    /// all faults.
    pub(crate) fn sale_id(&mut self) -> Option<Result<SaleId, ApiError>> {
        self.optional("sale_id", sale_id)
    }

    /// Takes in a part of the path that was parsed elsewhere.
    pub(crate) fn path<T, E: Display>(
        &mut self,
        name: &'static str,
        parsed: Result<T, E>,
    ) -> Option<T> {
        parsed.map_err(|fault| self.faults.insert(name.into(), fault.to_string())).ok()
    }

    /// Ends the parsing: all faults, or none.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.faults.is_empty() { Ok(()) } else { Err(ApiError::Validation(self.faults)) }
    }
}

/// A sale's public number. A text that cannot be one names a sale that does not exist.
pub(crate) fn sale_id(text: &str) -> Result<Result<SaleId, ApiError>, &'static str> {
    let is_plain = (1..=MAX_SALE_ID_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain {
        Ok(SaleId::parse(text).ok_or(ApiError::SaleNotFound))
    } else {
        Err("is not the number of a sale")
    }
}

/// Digits only: no sign, no point, no space.
fn whole_number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether two digits follow every percent sign.
pub(crate) fn escapes_are_whole(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(place, _)| {
        let digits = bytes.get(place + 1..place + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Decodes a part of the query; `None` if it is not what an encoder would have made.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
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

    fn faults(query: &str) -> Faults {
        let mut params = Params::parse(Some(query));
        params.required("user_id", BuyerId::parse);
        params.required_as("item_id", "id", ItemId::parse);
        params.number("quantity", 1, 10);
        params.sale_id();
        match params.finish() {
            Ok(()) => Faults::new(),
            Err(ApiError::Validation(faults)) => faults,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn good_parameters_have_no_fault() {
        for query in [
            "user_id=ann&item_id=1",
            "user_id=ann&id=1&quantity=10&sale_id=S-1",
            "user_id=a%2Bb&item_id=%C3%A9&utm_source=x",
        ] {
            assert_eq!(faults(query), Faults::new(), "{query}");
        }
    }

    #[test]
    fn every_bad_parameter_is_named_at_once() {
        let faults = faults("user_id=&item_id=%ff&quantity=1.5&sale_id=a%20b");

        let names: Vec<_> = faults.keys().map(AsRef::as_ref).collect();
        assert_eq!(names, ["item_id", "quantity", "sale_id", "user_id"]);
    }

    #[test]
    fn bad_parameters_are_refused() {
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
            assert_ne!(faults(query), Faults::new(), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic(query in "\\PC{0,80}") {
            faults(&query);
        }
    }
}
