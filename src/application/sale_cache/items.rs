//! The items of sales: loaded when a request needs them, and ahead for the sale of now and the next ones, within the memory for
//! items. Where there is no room, the few items of a request are looked up.

use std::sync::Arc;

use super::cached_sale::CachedSale;
use super::{ActiveSale, SaleCache};
use crate::application::catalogue::{Catalogue, CatalogueBuilder, Item};
use crate::application::ports::PortError;
use crate::domain::ids::{ItemId, ItemNo, SaleId};

/// A request waits for a catalogue of this many items at most, some tenths of a second. A larger one is loaded in the
/// background, and the items of requests are looked up meanwhile.
pub(super) const MAX_AWAITED_ITEMS: i32 = 50_000;

/// Sales that start within this time are loaded ahead, as far as there is room. So is the next one, whenever it starts.
const LOADED_AHEAD: chrono::Duration = chrono::Duration::minutes(10);

/// Why a catalogue was not loaded.
enum NotLoaded {
    NoRoom,
    Failed(PortError),
}

impl From<PortError> for NotLoaded {
    fn from(error: PortError) -> Self {
        Self::Failed(error)
    }
}

impl SaleCache {
    /// Items of a sale, with at least those of these ids that it has; all of them if they are in memory or can be.
    pub async fn catalogue(
        &self,
        cached: &CachedSale,
        ids: impl Iterator<Item = &ItemId> + Send,
    ) -> Result<Arc<Catalogue>, PortError> {
        if let Some(catalogue) = cached.loaded_catalogue() {
            return Ok(Arc::clone(catalogue));
        }
        cached.mark_items_wanted();
        if cached.sale.items <= MAX_AWAITED_ITEMS
            && let Some(catalogue) = self.load(cached, Some(self.idle_since())).await?
        {
            return Ok(catalogue);
        }
        let ids: Vec<ItemId> = ids.cloned().collect();
        let items = self.items.by_id(cached.sale.id, &ids).await?;
        some_items(items).map(Arc::new)
    }

    /// Items by number, from memory if the catalogue is loaded, as it is for every sale that was sold recently.
    pub async fn items_by_number(
        &self,
        sale: SaleId,
        numbers: &[ItemNo],
    ) -> Result<Vec<Item>, PortError> {
        if let Some(cached) = self.find(sale).await?
            && let Some(catalogue) = cached.loaded_catalogue()
        {
            return Ok(numbers.iter().filter_map(|no| catalogue.item(*no)).collect());
        }
        self.items.by_number(sale, numbers).await
    }

    /// Loads the items and the stock of the sale of now: the one that requests get that name none.
    pub async fn warm_active(&self) -> Result<(), PortError> {
        match self.active_cached(None) {
            ActiveSale::Found(cached) => self.warm_sale(&cached, Some(self.idle_since())).await,
            ActiveSale::Several | ActiveSale::None => Ok(()),
        }
    }

    /// Loads the items and the stock of the sale of now, of open sales whose items requests have asked for, and, into room that
    /// is free, of the sales that start next.
    pub async fn warm(&self) -> Result<(), PortError> {
        self.warm_active().await?;
        let Some(reading) = self.clock.database() else {
            return Ok(());
        };
        let idle_since = self.idle_since();
        for cached in self.cached.open(reading) {
            if cached.used_at() > idle_since && cached.are_items_wanted() {
                self.warm_sale(&cached, Some(idle_since)).await?;
            }
        }
        let soon = reading.at + LOADED_AHEAD;
        for (place, cached) in self.cached.upcoming(reading).iter().enumerate() {
            if place > 0 && cached.sale.window.starts_at() > soon {
                break;
            }
            self.warm_sale(cached, None).await?;
        }
        Ok(())
    }

    async fn warm_sale(
        &self,
        cached: &CachedSale,
        idle_since: Option<u64>,
    ) -> Result<(), PortError> {
        if self.load(cached, idle_since).await?.is_some() && !cached.is_warm() {
            cached.apply_stock(&self.items.stock(cached.sale.id).await?.facts);
            cached.mark_warm();
        }
        Ok(())
    }

    /// The catalogue of a sale, which concurrent callers load once; `None` if there is no room for it, also if sales that were
    /// not used since `idle_since` make room.
    async fn load(
        &self,
        cached: &CachedSale,
        idle_since: Option<u64>,
    ) -> Result<Option<Arc<Catalogue>>, PortError> {
        let load = || async {
            let reserved = self.memory.reserve(&self.cached, cached, idle_since);
            let _reserved = reserved.ok_or(NotLoaded::NoRoom)?;
            let catalogue = self.items.catalogue(cached.sale.id).await?;
            cached.record_catalogue_bytes(catalogue.bytes());
            Ok(Arc::new(catalogue))
        };
        match cached.catalogue.get_or_try_init(load).await {
            Ok(catalogue) => Ok(Some(Arc::clone(catalogue))),
            Err(NotLoaded::NoRoom) => Ok(None),
            Err(NotLoaded::Failed(error)) => Err(error),
        }
    }
}

/// A catalogue of these items only.
fn some_items(mut items: Vec<Item>) -> Result<Catalogue, PortError> {
    items.sort_by_key(|item| item.no);
    let mut builder = CatalogueBuilder::default();
    for item in items {
        builder
            .push(item.no, item.id.as_str(), &item.name, &item.image_url)
            .map_err(|error| PortError::Broken { what: "the items", source: Box::new(error) })?;
    }
    Ok(builder.build())
}
