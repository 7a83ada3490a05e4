//! Pages of lists, from the read cache where it is on.
//!
//! A handler says what its page is about and how it is read. Without the cache the page is read for each request.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use lru::LruCache;
use serde::Serialize;

use super::model::etag::{if_none_match, not_modified, tag_of};
use super::model::links;
use crate::application::ports::{
    CacheKey, CacheKind, CacheScope, CachedPage, LoadPage, PortError, ReadCache,
};
use crate::application::sale_cache::SaleCache;
use crate::domain::ids::{BuyerId, SaleId};

/// Requests for lists of sales whose meaning is remembered.
const KNOWN_REQUESTS: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();
/// Longer requests are not remembered.
const MAX_KNOWN_BYTES: usize = 512;

/// The read cache, as handlers use it.
pub(crate) struct HttpCache {
    pages: Arc<dyn ReadCache>,
    sale_cache: Arc<SaleCache>,
    /// What requests for lists of sales mean: their path and query as sent, and as in keys.
    known: Mutex<LruCache<Box<str>, Arc<str>>>,
}

/// What a page is about.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// All sales.
    Sales,
    /// The items of a sale.
    Items(SaleId),
    /// A buyer's purchases.
    Purchases(BuyerId),
}

impl HttpCache {
    pub(crate) fn new(pages: Arc<dyn ReadCache>, sale_cache: Arc<SaleCache>) -> Self {
        Self { pages, sale_cache, known: Mutex::new(LruCache::new(KNOWN_REQUESTS)) }
    }

    /// The key of a request in its normal form. `None` if nothing is known of the sale yet.
    fn key(&self, subject: Subject, request: Arc<str>) -> Option<CacheKey> {
        let (kind, scope, generation) = match subject {
            Subject::Sales => (CacheKind::Sales, CacheScope::Sales, self.sale_cache.fingerprint()),
            Subject::Items(sale) => {
                // A restock begins another generation of the sale.
                let generation = self.sale_cache.find_cached(sale)?.sale.generation;
                let generation = u64::try_from(generation).ok()?;
                (CacheKind::Items, CacheScope::Sale(sale), generation)
            }
            Subject::Purchases(buyer) => (CacheKind::Purchases, CacheScope::Buyer(buyer), 0),
        };
        Some(CacheKey { kind, scope, generation, request })
    }

    /// A list of sales that this process has, by path and query as they were sent.
    pub(crate) fn peek(&self, sent: &str) -> Option<Arc<CachedPage>> {
        let request = Arc::clone(self.known().get(sent)?);
        self.pages.peek(&self.key(Subject::Sales, request)?)
    }

    /// Remembers what a request for a list of sales means.
    fn remember(&self, sent: &str, request: &Arc<str>) {
        if sent.len() <= MAX_KNOWN_BYTES {
            self.known().put(sent.into(), Arc::clone(request));
        }
    }

    fn known(&self) -> MutexGuard<'_, LruCache<Box<str>, Arc<str>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The page of a request in its normal form, cached if there is a cache; `None` if `load` finds nothing.
pub(crate) async fn page(
    cache: Option<&HttpCache>,
    subject: Subject,
    (sent, request): (&str, String),
    load: LoadPage<'_>,
) -> Result<Option<Arc<CachedPage>>, PortError> {
    let Some(cache) = cache else {
        return Ok(load.await?.map(Arc::new));
    };
    let request: Arc<str> = request.into();
    if matches!(subject, Subject::Sales) {
        cache.remember(sent, &request);
    }
    match cache.key(subject, request) {
        Some(key) => cache.pages.page(key, load).await,
        None => Ok(load.await?.map(Arc::new)),
    }
}

/// A page with this body.
pub(crate) fn rendered(
    body: &impl Serialize,
    is_tagged: bool,
    next: Option<String>,
) -> Result<CachedPage, PortError> {
    let body = serde_json::to_vec(body)
        .map_err(|error| PortError::Broken { what: "the response", source: Box::new(error) })?;
    let tag = if is_tagged { tag_of(&body).into() } else { Box::default() };
    Ok(CachedPage { body: body.into(), tag, next: next.map(Box::from) })
}

/// The response with a page, or the empty 304 if the client has it already.
pub(crate) fn response(request_headers: &HeaderMap, page: &CachedPage) -> Response {
    let mut response = Response::new(Body::from(page.body.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let link = page.next.as_deref().map(|next| format!("<{}>; rel=\"next\"", links::link(next)));
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        headers.insert(header::LINK, link);
    }
    let Some(tag) = Some(&*page.tag).filter(|tag| !tag.is_empty()) else { return response };
    let Ok(tag) = HeaderValue::from_str(tag) else { return response };
    let is_current = if_none_match(request_headers, &tag);
    headers.insert(header::ETAG, tag);
    // A cache may store the response, and must revalidate it before each use.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if is_current { not_modified(response) } else { response }
}
