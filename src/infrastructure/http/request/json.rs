//! JSON values without repeated members, which serde's own value type would accept.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The error of anything but a whole number from 1.
const NOT_POSITIVE: &str = "must be a whole number from 1";

/// The largest whole number below which all are exact.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// Any JSON without repeated members. The parser bounds its depth, `http.max_body_bytes` its size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Parses a string.
    pub(crate) fn text<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, String> {
        let Self::Text(text) = self else {
            return Err("must be a string".to_owned());
        };
        parse(text).map_err(|error| error.to_string())
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self) -> Result<bool, &'static str> {
        let Self::Bool(value) = *self else {
            return Err("must be true or false");
        };
        Ok(value)
    }

    /// A whole number from `min` to `max`.
    pub(crate) fn integer(&self, min: i32, max: i32) -> Result<i32, String> {
        match *self {
            Self::Number(number)
                if number.fract() == 0.0
                    && number >= f64::from(min)
                    && number <= f64::from(max) =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "it is within the bounds")]
                Ok(number as i32)
            }
            _ => Err(format!("must be a whole number from {min} to {max}")),
        }
    }

    /// A list of 1 to `max` different texts.
    pub(crate) fn texts<T: PartialEq>(
        &self,
        max: usize,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let fault = || format!("must be a list of 1 to {max} different texts");
        let Self::List(entries) = self else { return Err(fault()) };
        if !(1..=max).contains(&entries.len()) {
            return Err(fault());
        }
        let mut parsed = Vec::with_capacity(entries.len());
        for entry in entries {
            let one = entry.text(&parse)?;
            if parsed.contains(&one) {
                return Err(fault());
            }
            parsed.push(one);
        }
        Ok(parsed)
    }

    /// The same value, as the library has it.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            #[expect(clippy::cast_possible_truncation, reason = "it is within the bounds")]
            Self::Number(number) if number.fract() == 0.0 && number.abs() <= MAX_EXACT => {
                Value::from(*number as i64)
            }
            Self::Number(number) => Value::from(*number),
            Self::Text(text) => Value::String(text.clone()),
            Self::List(entries) => entries.iter().map(Self::to_value).collect(),
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| (name.clone(), value.to_value()));
                Value::Object(members.collect())
            }
        }
    }

    /// A whole number from 1.
    pub(crate) fn positive_integer(&self) -> Result<i32, &'static str> {
        let Self::Number(number) = *self else {
            return Err(NOT_POSITIVE);
        };
        if number.fract() != 0.0 || number < 1.0 {
            return Err(NOT_POSITIVE);
        }
        // A number that saturates is above every limit.
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

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            #[expect(clippy::cast_precision_loss, reason = "valid quantities are small")]
            fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
                Ok(Json::Number(number as f64))
            }

            #[expect(clippy::cast_precision_loss, reason = "valid quantities are small")]
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
                        return Err(de::Error::custom("a member occurs twice"));
                    }
                }
                Ok(Json::Object(members))
            }
        }

        from.deserialize_any(AnyJson)
    }
}
