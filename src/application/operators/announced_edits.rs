//! Announced edits: changes of sales of which all instances are notified at once. Without the announcement each learns of them at its
//! next poll.

use std::sync::Arc;

use async_trait::async_trait;

use crate::application::ports::{EditedSale, PortError, SaleEditor, SaleNotifications};
use crate::domain::ids::{ItemId, SaleId};
use crate::domain::restock::{RestockRefusal, Stock};
use crate::domain::sale_edit::{SaleEdit, SaleEditRefusal};

/// Announces what another editor changes.
pub struct AnnouncedEdits {
    editor: Arc<dyn SaleEditor>,
    notifications: Arc<dyn SaleNotifications>,
}

impl AnnouncedEdits {
    /// Announces the changes of this editor.
    #[must_use]
    pub fn new(editor: Arc<dyn SaleEditor>, notifications: Arc<dyn SaleNotifications>) -> Self {
        Self { editor, notifications }
    }

    /// The adapter reports failures; here they cost time alone.
    async fn announce(&self, sale: SaleId) {
        let _ = self.notifications.changed(sale).await;
    }
}

#[async_trait]
impl SaleEditor for AnnouncedEdits {
    async fn edit(
        &self,
        sale: SaleId,
        edit: &SaleEdit,
        actor: &str,
    ) -> Result<Result<EditedSale, SaleEditRefusal>, PortError> {
        let edited = self.editor.edit(sale, edit, actor).await?;
        if edited.as_ref().is_ok_and(|edited| edited.is_changed) {
            self.announce(sale).await;
        }
        Ok(edited)
    }

    async fn restock(
        &self,
        sale: SaleId,
        item: &ItemId,
        pieces: i32,
        actor: &str,
    ) -> Result<Result<Stock, RestockRefusal>, PortError> {
        let restocked = self.editor.restock(sale, item, pieces, actor).await?;
        if restocked.is_ok() {
            self.announce(sale).await;
        }
        Ok(restocked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{MockSaleEditor, MockSaleNotifications};
    use crate::testing::builders::{a_sale, item_id, sale_id, unavailable};

    /// An editor that announces its changes through this port.
    fn announced(editor: MockSaleEditor, notifications: MockSaleNotifications) -> AnnouncedEdits {
        AnnouncedEdits::new(Arc::new(editor), Arc::new(notifications))
    }

    #[tokio::test]
    async fn a_restock_stands_though_no_instance_can_be_told() {
        let stock = Stock { pieces: 2, sold: 1 };
        let (mut editor, mut notifications) = (MockSaleEditor::new(), MockSaleNotifications::new());
        editor.expect_restock().return_once(move |_, _, _, _| Ok(Ok(stock)));
        let is_of_sale = |sale: &SaleId| *sale == sale_id(7);
        notifications.expect_changed().withf(is_of_sale).once().returning(|_| Err(unavailable()));

        let edits = announced(editor, notifications);
        let restocked = edits.restock(sale_id(7), &item_id("1"), 1, "ann").await.unwrap();

        assert_eq!(restocked, Ok(stock));
    }

    #[tokio::test]
    async fn what_changes_nothing_is_not_announced() {
        let mut editor = MockSaleEditor::new();
        editor.expect_edit().return_once(|_, _, _| {
            Ok(Ok(EditedSale { sale: a_sale(7), is_cancelled: false, is_changed: false }))
        });
        editor.expect_restock().return_once(|_, _, _, _| Ok(Err(RestockRefusal::Ended)));

        let edits = announced(editor, MockSaleNotifications::new());

        edits.edit(sale_id(7), &SaleEdit::End, "ann").await.unwrap().unwrap();
        assert!(edits.restock(sale_id(7), &item_id("1"), 1, "ann").await.unwrap().is_err());
    }
}
