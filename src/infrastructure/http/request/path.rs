//! Parameters in the path.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::Uri;

use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, SaleId};
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::request::params::{Params, escapes_are_whole};

/// The error of a path segment that cannot be decoded.
pub(crate) const NOT_UTF8: &str = "is not valid percent-encoded UTF-8";

/// Parses a sale id. A text that cannot be a sale id names a sale that does not exist.
pub(crate) fn sale_id(sale_id: Result<Path<String>, PathRejection>) -> Result<SaleId, ApiError> {
    let text = sale_id.map_err(|_| ApiError::SaleNotFound)?;
    SaleId::parse(&text).ok_or(ApiError::SaleNotFound)
}

/// Parses a checkout's code, without verifying its signature.
pub(crate) fn code_claim(code: Result<Path<String>, PathRejection>) -> Result<CodeClaim, ApiError> {
    let code = code.map_err(|_| ApiError::CodeNotFound)?;
    CodeClaim::parse(&code).ok_or(ApiError::CodeNotFound)
}

/// Parses a buyer id. Its error is added to the query's errors under `name`.
pub(crate) fn buyer_id(
    params: &mut Params<'_>,
    name: &'static str,
    uri: &Uri,
    buyer_id: Result<Path<String>, PathRejection>,
) -> Option<BuyerId> {
    match buyer_id {
        Ok(Path(text)) if escapes_are_whole(uri.path()) => {
            params.path_parameter(name, BuyerId::parse_new(&text))
        }
        Ok(_) | Err(_) => params.path_parameter(name, Err(NOT_UTF8)),
    }
}
