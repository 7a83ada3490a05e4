//! `shop_page.*`: the page for buyers.

use crate::config::reader::Reader;

/// `shop_page.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct ShopPageConfig {
    pub enabled: bool,
}

impl ShopPageConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self { enabled: read.flag("shop_page.enabled") }
    }
}
