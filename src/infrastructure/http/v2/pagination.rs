//! Lists of version 2. With `page`, a client gets that page and the length of the list. Otherwise it gets entries and a cursor
//! that continues the list after them.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::application::ports::{
    CURSOR_MAC_BYTES, CachedPage, Cursor, CursorMac, CursorPage, CursorSigner, PageRequest,
    PortError,
};
use crate::infrastructure::http::cached::{self, rendered};
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::page::PageBody;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::request::paging::{limit, page_request};
use crate::infrastructure::http::request::params::Params;

/// Maximum length of a cursor, in bytes.
const MAX_CURSOR_BYTES: usize = 256;

/// Parses and issues the cursors of one list with its filters. A cursor is signed together with both, so a forged cursor and
/// one of another list are refused.
pub(crate) struct Paginator<'a> {
    pub(crate) signer: &'a dyn CursorSigner,
    /// The path of the list.
    pub(crate) path: &'a str,
    /// The filters, as parts of a query that end with `&`.
    pub(crate) filters: String,
}

/// The requested part of a list.
pub(crate) enum PageOrCursor<K> {
    Page(PageRequest),
    Cursor(Cursor<K>),
}

/// Entries of a list, and where it continues.
#[derive(Serialize, ToSchema)]
pub(crate) struct CursorPageBody<T> {
    /// At most `limit` entries. There can be fewer, or none, before the end of the list.
    data: Vec<T>,
    /// The `cursor` of the next request; null at the end of the list.
    #[schema(value_type = Option<schema::Cursor>, required = true)]
    next_cursor: Option<String>,
}

/// A page if the request has `page`, else entries with a cursor.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it documents the two bodies of one status")]
pub(crate) enum ListBody<T> {
    CursorPage(CursorPageBody<T>),
    Page(PageBody<T>),
}

impl Paginator<'_> {
    /// Parses `page`, `cursor` and `limit`. `parse_position` parses the position in a cursor.
    pub(crate) fn page_or_cursor<K>(
        &self,
        params: &mut Params<'_>,
        parse_position: impl Fn(&str) -> Option<K>,
    ) -> PageOrCursor<K> {
        if params.has("page") {
            params.refuse_if_present("cursor", "must not be given together with page");
            return PageOrCursor::Page(page_request(params));
        }
        PageOrCursor::Cursor(self.cursor(params, parse_position))
    }

    /// Parses `cursor` and `limit`, for lists without pages.
    pub(crate) fn cursor<K>(
        &self,
        params: &mut Params<'_>,
        parse_position: impl Fn(&str) -> Option<K>,
    ) -> Cursor<K> {
        let entry = params.optional("cursor", |cursor| {
            self.verified_position(cursor)
                .and_then(|position| parse_position(&position))
                .ok_or("is not a cursor of this list")
        });
        Cursor { entry, limit: limit(params) }
    }

    /// The request in its normal form, as the read cache knows it.
    pub(crate) fn request(&self, position: Option<String>, limit: u32) -> String {
        let Self { path, filters, .. } = self;
        let after = position.map_or_else(String::new, |position| format!("after={position}&"));
        format!("{path}?{filters}{after}limit={limit}")
    }

    /// The page with entries and a cursor. `format_position` writes the position at which the list continues.
    pub(crate) fn page<T, K, B: Serialize + From<T>>(
        &self,
        page: CursorPage<T, K>,
        (limit, is_tagged): (u32, bool),
        format_position: impl Fn(&K) -> String,
    ) -> Result<CachedPage, PortError> {
        let next_cursor = page.next.map(|next| self.signed_cursor(&format_position(&next)));
        let next = next_cursor.as_ref().map(|cursor| {
            let Self { path, filters, .. } = self;
            format!("{path}?{filters}limit={limit}&cursor={cursor}")
        });
        let data: Vec<B> = page.entries.into_iter().map(B::from).collect();
        rendered(&CursorPageBody { data, next_cursor }, is_tagged, next)
    }

    /// The response with a page that is not cached.
    pub(crate) fn response<T, K, B: Serialize + From<T>>(
        &self,
        page: CursorPage<T, K>,
        limit: u32,
        format_position: impl Fn(&K) -> String,
    ) -> Response {
        match self.page::<T, K, B>(page, (limit, false), format_position) {
            Ok(page) => cached::response(&HeaderMap::new(), &page),
            Err(error) => Problem::from(ApiError::from(error)).into_response(),
        }
    }

    /// What a cursor is valid for.
    fn scope(&self) -> String {
        format!("{}?{}", self.path, self.filters)
    }

    pub(crate) fn signed_cursor(&self, position: &str) -> String {
        let mac = self.signer.sign(&self.scope(), position);
        BASE64.encode([&mac, position.as_bytes()].concat())
    }

    fn verified_position(&self, cursor: &str) -> Option<String> {
        if cursor.len() > MAX_CURSOR_BYTES {
            return None;
        }
        let bytes = BASE64.decode(cursor).ok()?;
        let (mac, position) = bytes.split_at_checked(CURSOR_MAC_BYTES)?;
        let mac = CursorMac::try_from(mac).ok()?;
        let position = std::str::from_utf8(position).ok()?;
        self.signer.is_genuine(&self.scope(), position, &mac).then(|| position.to_owned())
    }
}

/// Writes a position in a list by time: microseconds and an id.
pub(crate) fn format_time_and_id(time: DateTime<Utc>, id: i64) -> String {
    format!("{}.{id}", time.timestamp_micros())
}

/// Parses what [`format_time_and_id`] writes.
pub(crate) fn parse_time_and_id(position: &str) -> Option<(DateTime<Utc>, i64)> {
    let (micros, id) = position.split_once('.')?;
    Some((DateTime::from_timestamp_micros(micros.parse().ok()?)?, id.parse().ok()?))
}
