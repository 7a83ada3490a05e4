//! Edit a sale: an operator changes its name, window or limit, ends it, or takes it back before it starts.

use std::sync::Arc;

use crate::application::ports::{EditedSale, PortError, SaleEditor};
use crate::domain::ids::SaleId;
use crate::domain::sale_edit::{SaleEdit, SaleEditRefusal};

/// Why a sale is not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditSaleError {
    /// The change is empty.
    #[error("nothing to change: give at least one of name, start, end and buyer limit")]
    Empty,
    /// The sale may not be changed like this.
    #[error(transparent)]
    Refused(#[from] SaleEditRefusal),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The use case.
pub struct EditSale {
    editor: Arc<dyn SaleEditor>,
}

impl EditSale {
    /// Edits sales through this port.
    #[must_use]
    pub fn new(editor: Arc<dyn SaleEditor>) -> Self {
        Self { editor }
    }

    /// Edits the sale, and records `actor` with the change. A repeat changes nothing and returns the same sale.
    pub async fn execute(
        &self,
        sale: SaleId,
        edit: &SaleEdit,
        actor: &str,
    ) -> Result<EditedSale, EditSaleError> {
        if let SaleEdit::Change(change) = edit
            && change.is_empty()
        {
            return Err(EditSaleError::Empty);
        }
        Ok(self.editor.edit(sale, edit, actor).await??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::MockSaleEditor;
    use crate::domain::sale_edit::SaleChange;
    use crate::testing::builders::{sale_id, unavailable};

    #[tokio::test]
    async fn an_empty_change_does_not_reach_the_store() {
        let edit = EditSale::new(Arc::new(MockSaleEditor::new()));
        let nothing = SaleEdit::Change(SaleChange::default());

        let refused = edit.execute(sale_id(1), &nothing, "ann").await;

        assert!(matches!(refused, Err(EditSaleError::Empty)));
    }

    #[tokio::test]
    async fn a_refusal_is_none_of_the_port() {
        let mut editor = MockSaleEditor::new();
        let unknown = SaleEditRefusal::Unknown(sale_id(1));
        editor.expect_edit().return_once(move |_, _, _| Ok(Err(unknown)));
        let mut broken = MockSaleEditor::new();
        broken.expect_edit().returning(|_, _, _| Err(unavailable()));

        let (editor, broken) = (EditSale::new(Arc::new(editor)), EditSale::new(Arc::new(broken)));

        let refused = editor.execute(sale_id(1), &SaleEdit::End, "ann").await;
        let failed = broken.execute(sale_id(1), &SaleEdit::End, "ann").await;

        assert!(matches!(refused, Err(EditSaleError::Refused(_))));
        assert!(matches!(failed, Err(EditSaleError::Port(_))));
    }
}
