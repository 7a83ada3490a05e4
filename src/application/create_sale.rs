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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::MockSaleBook;
    use crate::testing::builders::away;
    use crate::testing::house::House;

    #[tokio::test]
    async fn the_sale_is_created_and_its_creator_on_record() {
        let house = House::open();
        let create = CreateSale::new(house.shop());

        let sale = create.execute(house.new_sale(3), "ann@shop").await.unwrap().unwrap();

        assert_eq!(house.shop.find(sale.id).await.unwrap(), Some(sale.clone()));
        assert_eq!(house.shop.created_by(sale.id), "ann@shop");
    }

    #[tokio::test]
    async fn a_sale_out_of_bounds_reaches_no_book() {
        let house = House::open();
        let create = CreateSale::new(Arc::new(MockSaleBook::new()));

        let refused = create.execute(house.new_sale(0), "ann@shop").await;

        assert!(matches!(refused, Err(CreateSaleError::Invalid(InvalidSale::Items))));
    }

    #[tokio::test]
    async fn a_book_that_is_away_is_an_error() {
        let house = House::open();
        let mut away_book = MockSaleBook::new();
        away_book.expect_create().returning(|_, _| Err(away()));
        let create = CreateSale::new(Arc::new(away_book));

        let failed = create.execute(house.new_sale(3), "ann@shop").await;

        assert!(matches!(failed, Err(CreateSaleError::Port(_))));
    }
}
