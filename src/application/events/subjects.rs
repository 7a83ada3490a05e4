//! What an instance knows of the subjects of events.

use std::sync::Arc;

use async_trait::async_trait;

use crate::application::catalogue::Item;
use crate::application::codes::Codes;
use crate::application::ports::{EventSubjects, PortError};
use crate::application::sale_cache::SaleCache;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::sale::Sale;

/// Sales and items from the sale cache, and codes that are signed here.
pub struct KnownSubjects {
    /// Knows sales and their items.
    pub sale_cache: Arc<SaleCache>,
    /// Signs codes.
    pub codes: Arc<Codes>,
}

#[async_trait]
impl EventSubjects for KnownSubjects {
    async fn sale(&self, id: SaleId) -> Result<Option<Sale>, PortError> {
        let cached = self.sale_cache.find(id).await?;
        Ok(cached.map(|cached| (*cached.sale).clone()))
    }

    async fn items(&self, sale: SaleId, numbers: Vec<ItemNo>) -> Result<Vec<Item>, PortError> {
        self.sale_cache.items_by_number(sale, &numbers).await
    }

    async fn codes(
        &self,
        sale: SaleId,
        attempts: Vec<AttemptId>,
    ) -> Result<Vec<CodeClaim>, PortError> {
        let mut codes = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            codes.push(self.codes.sign(sale, attempt).await?);
        }
        Ok(codes)
    }
}
