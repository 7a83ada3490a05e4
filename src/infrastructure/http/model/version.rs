//! The versions of the API.

use axum::http::HeaderValue;

/// A version of the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Version {
    #[default]
    One,
    Two,
}

impl Version {
    /// The numbers of all versions, by `Version as usize`.
    pub(crate) const NAMES: [&str; 2] = ["1", "2"];

    /// The number of the version.
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The number of the version, as a header value.
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }

    /// The version with this number.
    pub(crate) fn numbered(number: &str) -> Option<Self> {
        match number {
            "1" => Some(Self::One),
            "2" => Some(Self::Two),
            _ => None,
        }
    }
}
