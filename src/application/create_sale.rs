//! Create a sale: an operator adds one of any size.

use std::sync::Arc;

use super::ports::{PortError, SaleBook};
use crate::domain::sale::{InvalidSale, NewSale, Sale};

/// Why a sale is not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateSaleError {
    /// It is out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidSale),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Adds sales.
pub struct CreateSale {
    sales: Arc<dyn SaleBook>,
}

impl CreateSale {
    /// Adds sales to this book.
    #[must_use]
    pub fn new(sales: Arc<dyn SaleBook>) -> Self {
        Self { sales }
    }

    /// Creates the sale with all its items; `actor` goes on record. `None`: the schedule has this start already.
    pub async fn execute(
        &self,
        sale: NewSale,
        actor: &str,
    ) -> Result<Option<Sale>, CreateSaleError> {
        Ok(self.sales.create(&sale.validated()?, actor).await?)
    }
}
