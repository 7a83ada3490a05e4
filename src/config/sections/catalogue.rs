//! `catalogue.*`: texts of generated items.

use crate::config::reader::Reader;

/// `catalogue.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct CatalogueConfig {
    pub item_name: String,
    pub image_url: String,
}

impl CatalogueConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self {
            item_name: read.filled("catalogue.item_name"),
            image_url: read.filled("catalogue.image_url"),
        }
    }
}
