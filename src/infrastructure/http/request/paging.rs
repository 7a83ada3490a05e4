//! `page` and `limit`, the parameters of lists.

use super::params::Params;
use crate::application::ports::PageRequest;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

/// Parses `page` and `limit`.
pub(crate) fn page_request(params: &mut Params<'_>) -> PageRequest {
    PageRequest { page: params.number("page", 1, u32::MAX).unwrap_or(1), limit: limit(params) }
}

/// Parses `limit`.
pub(crate) fn limit(params: &mut Params<'_>) -> u32 {
    params.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT)
}
