//! Lists of version 2. Whoever names a page gets that page and the list's length; everybody else goes on from where the last
//! answer ended, by its cursor.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::Serialize;
use utoipa::ToSchema;

use crate::application::ports::{
    After, CURSOR_MAC_BYTES, CursorMac, CursorSigner, PageRequest, Stretch,
};
use crate::infrastructure::http::openapi::schema;
use crate::infrastructure::http::paging::{PageBody, limit_of, page_request};
use crate::infrastructure::http::params::Params;

/// Longest cursor that is looked at, in bytes.
const MAX_CURSOR: usize = 256;

/// One list, with its filters: a cursor of another one means nothing here.
pub(crate) struct Listing<'a> {
    pub(crate) signer: &'a dyn CursorSigner,
    /// Its path.
    pub(crate) path: &'a str,
    /// Its filters, as a query has them; each ends with `&`.
    pub(crate) filters: String,
}

/// Which part of a list is wanted.
pub(crate) enum Part<K> {
    Page(PageRequest),
    After(After<K>),
}

/// What follows a cursor, as it is answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct StretchBody<T> {
    /// Perhaps fewer entries than `limit`, or none, although the list goes on.
    data: Vec<T>,
    /// Where it goes on; null at its end.
    #[schema(value_type = Option<schema::Cursor>, required = true)]
    next_cursor: Option<String>,
}

/// Part of a list: a page where `page` was given, else a stretch.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what one status may have for a body")]
pub(crate) enum ListBody<T> {
    Stretch(StretchBody<T>),
    Page(PageBody<T>),
}

impl Listing<'_> {
    /// Reads `page`, `cursor` and `limit`; `place` reads the entry in a cursor.
    pub(crate) fn part<K>(
        &self,
        params: &mut Params<'_>,
        place: impl Fn(&str) -> Option<K>,
    ) -> Part<K> {
        if params.has("page") {
            params.refuse_if_given("cursor", "must not be given beside page");
            return Part::Page(page_request(params));
        }
        Part::After(self.after(params, place))
    }

    /// Reads `cursor` and `limit`, for lists without pages.
    pub(crate) fn after<K>(
        &self,
        params: &mut Params<'_>,
        place: impl Fn(&str) -> Option<K>,
    ) -> After<K> {
        let entry = params.optional("cursor", |text| {
            self.place_in(text)
                .and_then(|text| place(&text))
                .ok_or("is not a cursor that this list gave")
        });
        After { entry, limit: limit_of(params) }
    }

    /// Answers a stretch; `place` writes where it goes on.
    pub(crate) fn answer<T, K, B: Serialize + From<T>>(
        &self,
        stretch: Stretch<T, K>,
        limit: u32,
        place: impl Fn(&K) -> String,
    ) -> Response {
        let next_cursor = stretch.next.map(|next| self.cursor(&place(&next)));
        let link = next_cursor.as_ref().and_then(|cursor| {
            let Self { path, filters, .. } = self;
            let link = format!("<{path}?{filters}limit={limit}&cursor={cursor}>; rel=\"next\"");
            HeaderValue::try_from(link).ok()
        });
        let data = stretch.entries.into_iter().map(B::from).collect();
        let mut response = Json(StretchBody { data, next_cursor }).into_response();
        if let Some(link) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }

    fn name(&self) -> String {
        format!("{}?{}", self.path, self.filters)
    }

    fn cursor(&self, place: &str) -> String {
        let mac = self.signer.sign(&self.name(), place);
        BASE64.encode([&mac, place.as_bytes()].concat())
    }

    fn place_in(&self, cursor: &str) -> Option<String> {
        if cursor.len() > MAX_CURSOR {
            return None;
        }
        let bytes = BASE64.decode(cursor).ok()?;
        let (mac, place) = bytes.split_at_checked(CURSOR_MAC_BYTES)?;
        let mac = CursorMac::try_from(mac).ok()?;
        let place = std::str::from_utf8(place).ok()?;
        self.signer.is_genuine(&self.name(), place, &mac).then(|| place.to_owned())
    }
}

/// Two numbers of a place.
pub(crate) fn pair(place: &str) -> Option<(i64, i64)> {
    let (one, other) = place.split_once('.')?;
    Some((one.parse().ok()?, other.parse().ok()?))
}
