//! JSON values without repeated members, which serde's own value type would accept.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The error of anything but a whole number from 1.
const NOT_POSITIVE: &str = "must be a whole number from 1";

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
