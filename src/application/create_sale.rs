//! Create a sale: an operator adds a sale of any size.

use std::sync::Arc;

use super::ports::{PortError, SaleStore};
use crate::domain::sale::{InvalidSale, NewSale, Sale};

/// Why a sale is not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateSaleError {
    /// The sale is out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidSale),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The use case.
pub struct CreateSale {
    sales: Arc<dyn SaleStore>,
}

impl CreateSale {
    /// Creates sales in this store.
    #[must_use]
    pub fn new(sales: Arc<dyn SaleStore>) -> Self {
        Self { sales }
    }

    /// Creates the sale with all its items and records `actor` as its creator. `None` if a scheduled sale with this start
    /// exists.
    pub async fn execute(
        &self,
        sale: NewSale,
        actor: &str,
    ) -> Result<Option<Sale>, CreateSaleError> {
        Ok(self.sales.create(&sale.validated()?, actor).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::MockSaleStore;
    use crate::testing::builders::unavailable;
    use crate::testing::test_shop::TestShop;

    #[tokio::test]
    async fn the_sale_is_created_and_its_creator_recorded() {
        let test_shop = TestShop::open();
        let create = CreateSale::new(test_shop.shop());

        let sale = create.execute(test_shop.new_sale(3), "ann@shop").await.unwrap().unwrap();

        assert_eq!(test_shop.shop.find(sale.id).await.unwrap(), Some(sale.clone()));
        assert_eq!(test_shop.shop.created_by(sale.id), "ann@shop");
    }

    #[tokio::test]
    async fn a_sale_out_of_bounds_does_not_reach_the_store() {
        let test_shop = TestShop::open();
        let create = CreateSale::new(Arc::new(MockSaleStore::new()));

        let refused = create.execute(test_shop.new_sale(0), "ann@shop").await;

        assert!(matches!(refused, Err(CreateSaleError::Invalid(InvalidSale::Items))));
    }

    #[tokio::test]
    async fn an_unavailable_store_is_an_error() {
        let test_shop = TestShop::open();
        let mut store = MockSaleStore::new();
        store.expect_create().returning(|_, _| Err(unavailable()));
        let create = CreateSale::new(Arc::new(store));

        let failed = create.execute(test_shop.new_sale(3), "ann@shop").await;

        assert!(matches!(failed, Err(CreateSaleError::Port(_))));
    }
}
