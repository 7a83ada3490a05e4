//! Sums in the read cache.

use std::fmt::Write;

use crate::application::ports::{
    CacheKey, CacheKind, CacheScope, CachedPage, ItemReader, PortError, ReadCache,
};
use crate::domain::ids::SaleId;
use crate::domain::sale::Progress;

/// The sum of a sale of this generation, if this process has it.
pub(super) fn known_sum(cache: &dyn ReadCache, sale: (SaleId, i64)) -> Option<(SaleId, Progress)> {
    Some((sale.0, parse(&cache.peek(&key(sale))?.body)?))
}

/// The sum of a sale of this generation; `None` if there is no such sale.
pub(super) async fn cached_sum(
    items: &dyn ItemReader,
    cache: &dyn ReadCache,
    (sale, generation): (SaleId, i64),
) -> Result<Option<(SaleId, Progress)>, PortError> {
    let load = async {
        let sums = items.progress(&[sale]).await?;
        Ok(sums.first().map(|(_, progress)| format(*progress)))
    };
    let Some(page) = cache.page(key((sale, generation)), Box::pin(load)).await? else {
        return Ok(None);
    };
    match parse(&page.body) {
        Some(progress) => Ok(Some((sale, progress))),
        // Another release has written it.
        None => Ok(items.progress(&[sale]).await?.pop()),
    }
}

fn key((sale, generation): (SaleId, i64)) -> CacheKey {
    CacheKey {
        kind: CacheKind::Sales,
        scope: CacheScope::Sale(sale),
        generation: u64::try_from(generation).unwrap_or(0),
        request: "progress".into(),
    }
}

fn format(progress: Progress) -> CachedPage {
    let Progress { sold, remaining, available_items } = progress;
    let mut text = String::new();
    // Writing into a text cannot fail.
    let _ = write!(text, "{sold} {remaining} {available_items}");
    CachedPage { body: text.into(), tag: Box::default(), next: None }
}

fn parse(body: &[u8]) -> Option<Progress> {
    let mut numbers = std::str::from_utf8(body).ok()?.split(' ').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Progress { sold: next()?, remaining: next()?, available_items: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_parsed_from_its_text() {
        let progress = Progress { sold: 17, remaining: 9_983, available_items: 9_900 };

        assert_eq!(parse(&format(progress).body), Some(progress));
        assert_eq!(parse(b"17 x 1"), None);
        assert_eq!(parse(b"17"), None);
    }
}
