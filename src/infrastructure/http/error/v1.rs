//! The error body of version 1.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::catalogue::{ApiError, Entry, ValidationErrors};
use super::facts::Facts;
use crate::infrastructure::http::model::version::Version;

/// As [`Json`] has it.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An error of version 1.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody<'e> {
    /// A short explanation for people.
    #[schema(examples("the sale has ended"))]
    message: &'static str,
    /// The error code. It does not change.
    #[schema(examples("sale_ended"))]
    code: &'static str,
    /// What else there is to say, for `unauthorized` and `rate_limited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    error: Option<&'static str>,
    /// The error of each invalid parameter, for `validation_failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = HashMap<String, String>, required = false)]
    errors: Option<&'e ValidationErrors>,
    /// The existing versions, for `unsupported_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    supported: Option<[&'static str; 2]>,
    #[serde(flatten)]
    facts: Facts,
}

/// The status and body of an error.
pub(crate) fn response(error: &ApiError) -> Response {
    if has_only_its_code(error) { plain(error.entry()) } else { whole(error) }
}

/// Whether the body says nothing but the code and its message, as that of nearly every refusal.
fn has_only_its_code(error: &ApiError) -> bool {
    let has_more = matches!(error, ApiError::Validation(_) | ApiError::UnsupportedVersion);
    !has_more && error.detail().is_none() && !Facts::belong_to(error)
}

/// [`whole`] without the serializer, which takes several times as long: refusals are most of a sale's responses.
fn plain(entry: &Entry) -> Response {
    let parts = [r#"{"message":""#, entry.message, r#"","code":""#, entry.code, r#""}"#];
    let mut response = Response::new(Body::from(parts.concat()));
    *response.status_mut() = entry.status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

fn whole(error: &ApiError) -> Response {
    let entry = error.entry();
    let body = ErrorBody {
        message: entry.message,
        code: entry.code,
        error: error.detail(),
        errors: if let ApiError::Validation(errors) = error { Some(errors) } else { None },
        supported: matches!(error, ApiError::UnsupportedVersion).then_some(Version::NAMES),
        facts: Facts::of(error),
    };
    (entry.status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::infrastructure::http::error::with_page;

    #[test]
    fn no_code_or_message_needs_escapes_in_json() {
        for (entry, _) in with_page() {
            for text in [entry.code, entry.message] {
                assert_eq!(serde_json::to_string(text).unwrap(), format!("\"{text}\""));
            }
        }
    }

    #[tokio::test]
    async fn a_plain_body_is_that_of_the_serializer() {
        for error in [ApiError::ItemSoldOut, ApiError::SaleSoldOut, ApiError::SaleEnded] {
            let both = [plain(error.entry()), whole(&error)];
            assert!(has_only_its_code(&error));

            let [plain, whole] = both.map(|response| async {
                let (parts, body) = response.into_parts();
                (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
            });

            assert_eq!(plain.await, whole.await);
        }
    }

    #[test]
    fn what_has_more_to_say_is_not_plain() {
        for error in [ApiError::invalid("user_id", "must be given"), ApiError::UnsupportedVersion] {
            assert!(!has_only_its_code(&error));
        }
    }
}
