//! Restock: an operator adds pieces to an item, or takes some of those that are left.

use std::sync::Arc;

use crate::application::ports::{PortError, SaleEditor};
use crate::domain::ids::{ItemId, SaleId};
use crate::domain::restock::{RestockRefusal, Stock};

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestockCommand {
    /// The sale.
    pub sale: SaleId,
    /// The item.
    pub item: ItemId,
    /// Pieces to add; negative to take.
    pub pieces: i32,
}

/// Why an item is not restocked.
#[derive(Debug, thiserror::Error)]
pub enum RestockError {
    /// No pieces.
    #[error("pieces must not be 0")]
    Nothing,
    /// The item may not be restocked like this.
    #[error(transparent)]
    Refused(#[from] RestockRefusal),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The use case.
pub struct Restock {
    editor: Arc<dyn SaleEditor>,
}

impl Restock {
    /// Restocks through this port.
    #[must_use]
    pub fn new(editor: Arc<dyn SaleEditor>) -> Self {
        Self { editor }
    }

    /// Restocks the item, and records `actor` with the change. A repeat adds the pieces again.
    pub async fn execute(
        &self,
        command: &RestockCommand,
        actor: &str,
    ) -> Result<Stock, RestockError> {
        let RestockCommand { sale, item, pieces } = command;
        if *pieces == 0 {
            return Err(RestockError::Nothing);
        }
        Ok(self.editor.restock(*sale, item, *pieces, actor).await??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::MockSaleEditor;
    use crate::testing::builders::{item_id, sale_id};

    fn command(pieces: i32) -> RestockCommand {
        RestockCommand { sale: sale_id(1), item: item_id("17"), pieces }
    }

    #[tokio::test]
    async fn no_pieces_do_not_reach_the_store() {
        let restock = Restock::new(Arc::new(MockSaleEditor::new()));

        let refused = restock.execute(&command(0), "ann").await;

        assert!(matches!(refused, Err(RestockError::Nothing)));
    }

    #[tokio::test]
    async fn the_operator_is_passed_on() {
        let mut editor = MockSaleEditor::new();
        editor
            .expect_restock()
            .withf(|_, item, pieces, actor| (item.as_str(), *pieces, actor) == ("17", 5, "ann"))
            .return_once(|_, _, _, _| Ok(Ok(Stock { pieces: 6, sold: 1 })));

        let stock = Restock::new(Arc::new(editor)).execute(&command(5), "ann").await;

        assert_eq!(stock.unwrap(), Stock { pieces: 6, sold: 1 });
    }
}
