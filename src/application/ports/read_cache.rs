//! The read cache: pages of lists, and sums, that many readers ask for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::system::PortError;
use crate::domain::ids::{BuyerId, SaleId};

/// What is cached, each kind for a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheKind {
    /// Lists of sales, and how much of a sale is sold.
    Sales,
    /// Pages of a sale's items.
    Items,
    /// Pages of a buyer's purchases.
    Purchases,
}

impl CacheKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Sales, Self::Items, Self::Purchases];

    /// The name in keys and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sales => "sales",
            Self::Items => "items",
            Self::Purchases => "purchases",
        }
    }
}

/// What a page is about: a change of it makes the page outdated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CacheScope {
    /// All sales.
    Sales,
    /// One sale and its items.
    Sale(SaleId),
    /// One buyer's purchases.
    Buyer(BuyerId),
}

/// Identifies a page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// Its kind.
    pub kind: CacheKind,
    /// What it is about.
    pub scope: CacheScope,
    /// A number that another state of the sales has not: an older page is found no more.
    pub generation: u64,
    /// The request: version, filters, position. Visible ASCII without spaces.
    pub request: Arc<str>,
}

/// The key as operators and Redis see it: `items:S-7:1:v2:limit=50`.
impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, Self { generation, request, .. }) = (self.kind.as_str(), self);
        match &self.scope {
            CacheScope::Sales => write!(f, "{kind}:all:{generation}:{request}"),
            CacheScope::Sale(sale) => write!(f, "{kind}:{sale}:{generation}:{request}"),
            CacheScope::Buyer(buyer) => {
                write!(f, "{kind}:{}:{generation}:{request}", buyer.as_str())
            }
        }
    }
}

/// A page as clients get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedPage {
    /// The body.
    pub body: Bytes,
    /// The entity tag of the body; empty if it has none.
    pub tag: Box<str>,
    /// Path and query of the next page, if there is one.
    pub next: Option<Box<str>>,
}

/// Reads what is not cached; `None` if there is no such thing.
pub type LoadPage<'a> = BoxFuture<'a, Result<Option<CachedPage>, PortError>>;

/// Caches pages. Nothing that is sold is decided from it.
#[async_trait]
pub trait ReadCache: Send + Sync {
    /// The page, if this process has it.
    fn peek(&self, key: &CacheKey) -> Option<Arc<CachedPage>>;

    /// The page under this key, or what `load` returns, which all who ask meanwhile share.
    ///
    /// MUST NOT return a page that is older than the time of its kind, nor a buyer's page from before a purchase that this instance
    /// has acknowledged.
    async fn page<'a>(
        &self,
        key: CacheKey,
        load: LoadPage<'a>,
    ) -> Result<Option<Arc<CachedPage>>, PortError>;

    /// A purchase is committed, and its buyer does not know it yet.
    async fn purchased(&self, buyer: &BuyerId, sale: SaleId);
}

/// A generation of a scope in the shared cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SharedGeneration(pub Arc<str>);

/// What the shared cache knows of a key.
#[derive(Debug, Clone)]
pub struct SharedLookup {
    /// The page, and how much longer it lives.
    pub found: Option<(CachedPage, Duration)>,
    /// The generation of its scope now.
    pub generation: SharedGeneration,
}

/// The cache that all instances share.
#[async_trait]
pub trait SharedPages: Send + Sync {
    /// The page under this key.
    async fn find(&self, key: &CacheKey) -> Result<SharedLookup, PortError>;

    /// Stores a page for this time. MUST store nothing if the scope has another generation by now.
    async fn store(
        &self,
        key: &CacheKey,
        page: &CachedPage,
        (lives, generation): (Duration, &SharedGeneration),
    ) -> Result<(), PortError>;

    /// The generation of a scope now.
    async fn generation(&self, scope: &CacheScope) -> Result<SharedGeneration, PortError>;

    /// Begins another generation of these scopes, and notifies the other instances.
    async fn forget(&self, scopes: &[CacheScope]) -> Result<(), PortError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_kind_its_scope_and_its_request() {
        let key =
            |kind, scope| CacheKey { kind, scope, generation: 2, request: "v2:limit=5".into() };
        let sale = CacheScope::Sale(SaleId::new(7).unwrap());
        let buyer = CacheScope::Buyer(BuyerId::parse("ann").unwrap());

        assert_eq!(key(CacheKind::Items, sale).to_string(), "items:S-7:2:v2:limit=5");
        assert_eq!(key(CacheKind::Purchases, buyer).to_string(), "purchases:ann:2:v2:limit=5");
        assert_eq!(key(CacheKind::Sales, CacheScope::Sales).to_string(), "sales:all:2:v2:limit=5");
    }
}
