//! Import items: an operator adds up to a million items of their own to a sale, from a file.

use std::sync::Arc;

use crate::application::ports::{
    ImportRefusal, ImportStop, ImportTarget, Imported, ItemBatches, ItemImporter, ItemSource,
    PortError, ReadItem,
};
use crate::domain::import::{KnownIds, NewItem, Rejected};

/// Maximum number of items in a batch.
const BATCH: usize = 5_000;
/// Maximum number of faults that are reported: more mean that the file is not what it is taken for.
const MAX_FAULTS: usize = 1_000_000;

/// Why nothing is imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The sale or the source does not allow it.
    #[error(transparent)]
    Refused(#[from] ImportRefusal),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What became of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportReport {
    /// What was imported; `None` if nothing was, because of what was rejected.
    pub imported: Option<Imported>,
    /// Every fault, in order of the lines.
    pub rejected: Vec<Rejected>,
}

/// The use case.
pub struct ImportItems {
    importer: Arc<dyn ItemImporter>,
}

impl ImportItems {
    /// Imports through this port.
    #[must_use]
    pub fn new(importer: Arc<dyn ItemImporter>) -> Self {
        Self { importer }
    }

    /// Imports all items of a source, or with `partial` those that are right. Without it one bad row means that nothing is
    /// imported; the report names every bad row all the same.
    pub async fn execute(
        &self,
        target: &ImportTarget,
        source: Box<dyn ItemSource>,
        partial: bool,
        actor: &str,
    ) -> Result<ImportReport, ImportError> {
        let mut rows =
            Rows { source, is_partial: partial, known: KnownIds::default(), rejected: Vec::new() };
        let imported = self.importer.import(target, &mut rows, actor).await?;
        let imported = match imported {
            Ok(imported) => Some(imported),
            Err(ImportRefusal::Stopped(ImportStop::Rejected)) => None,
            // All rows were bad: the report says so.
            Err(ImportRefusal::Nothing) if !rows.rejected.is_empty() => None,
            Err(refusal) => return Err(refusal.into()),
        };
        Ok(ImportReport { imported, rejected: rows.rejected })
    }
}

/// Checks rows while they are read.
struct Rows {
    source: Box<dyn ItemSource>,
    is_partial: bool,
    known: KnownIds,
    rejected: Vec<Rejected>,
}

impl Rows {
    fn read(&mut self) -> Result<Option<NewItem>, ImportStop> {
        while let Some(read) = self.source.next().map_err(ImportStop::Source)? {
            match read {
                ReadItem::Unreadable(fault) => self.rejected.push(fault),
                ReadItem::Item(raw) => {
                    if let Some(item) = raw.checked(&mut self.known, &mut self.rejected) {
                        return Ok(Some(item));
                    }
                }
            }
            if self.rejected.len() > MAX_FAULTS {
                let many = format!("more than {MAX_FAULTS} faults");
                return Err(ImportStop::Source(many.into()));
            }
        }
        Ok(None)
    }
}

impl ItemBatches for Rows {
    fn exclude(&mut self, id: &str) {
        self.known.add(id);
    }

    fn next(&mut self) -> Result<Vec<NewItem>, ImportStop> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(item) = self.read()? else { break };
            batch.push(item);
            if !self.rejected.is_empty() && !self.is_partial {
                // Nothing will be imported: only the faults of the rest are wanted.
                batch.clear();
            }
        }
        if !self.rejected.is_empty() && !self.is_partial {
            while self.read()?.is_some() {}
            return Err(ImportStop::Rejected);
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use async_trait::async_trait;

    use super::*;
    use crate::domain::import::RawItem;
    use crate::testing::builders::{at, sale_id};

    struct Lines(VecDeque<ReadItem>);

    impl ItemSource for Lines {
        fn next(&mut self) -> Result<Option<ReadItem>, crate::application::ports::BoxError> {
            Ok(self.0.pop_front())
        }
    }

    /// Items with these numbers of pieces.
    fn source(stocks: &[&str]) -> Box<dyn ItemSource> {
        let lines = stocks.iter().enumerate().map(|(no, stock)| {
            ReadItem::Item(RawItem {
                line: u64::try_from(no).unwrap() + 2,
                id: format!("i{no}"),
                name: "a name".to_owned(),
                image_url: "a link".to_owned(),
                stock: (*stock).to_owned(),
            })
        });
        Box::new(Lines(lines.collect()))
    }

    /// A store that takes all it gets.
    struct Takes;

    #[async_trait]
    impl ItemImporter for Takes {
        async fn import(
            &self,
            _: &ImportTarget,
            items: &mut dyn ItemBatches,
            _: &str,
        ) -> Result<Result<Imported, ImportRefusal>, PortError> {
            let mut count = 0;
            loop {
                match items.next() {
                    Ok(batch) if batch.is_empty() => break,
                    Ok(batch) => count += i32::try_from(batch.len()).unwrap(),
                    Err(stop) => return Ok(Err(stop.into())),
                }
            }
            let imported = Imported { sale: sale_id(1), items: count, starts_at: at(0) };
            Ok(if count == 0 { Err(ImportRefusal::Nothing) } else { Ok(imported) })
        }
    }

    async fn report(stocks: &[&str], partial: bool) -> ImportReport {
        let import = ImportItems::new(Arc::new(Takes));
        let target = ImportTarget::Sale(sale_id(1));
        import.execute(&target, source(stocks), partial, "ann").await.unwrap()
    }

    fn lines(report: &ImportReport) -> Vec<u64> {
        report.rejected.iter().map(|fault| fault.line).collect()
    }

    #[tokio::test]
    async fn one_bad_row_means_that_nothing_is_imported_and_all_bad_rows_are_reported() {
        let report = report(&["1", "0", "2", "x", "3"], false).await;

        assert_eq!(report.imported, None);
        assert_eq!(lines(&report), [3, 5]);
    }

    #[tokio::test]
    async fn a_partial_import_takes_the_good_rows() {
        let report = report(&["1", "0", "2", "x", "3"], true).await;

        assert_eq!(report.imported.unwrap().items, 3);
        assert_eq!(lines(&report), [3, 5]);
    }

    #[tokio::test]
    async fn where_every_row_is_bad_nothing_is_imported() {
        let report = report(&["0", "0"], true).await;

        assert_eq!(report.imported, None);
        assert_eq!(lines(&report), [2, 3]);
    }
}
