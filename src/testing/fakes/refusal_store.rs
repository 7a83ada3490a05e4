//! A store of refusals.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::application::ports::{
    PortError, Refusal, RefusalFlush, RefusalReason, RefusalStore, RefusalTotal,
};
use crate::domain::ids::SaleId;

/// The refusals of all instances.
#[derive(Default)]
pub(crate) struct FakeRefusals {
    stored: Mutex<Stored>,
}

#[derive(Default)]
struct Stored {
    totals: BTreeMap<(SaleId, &'static str, RefusalReason), RefusalTotal>,
    details: Vec<Refusal>,
    /// The last flush of each instance.
    flushed: HashMap<u32, i64>,
}

/// One instance.
pub(crate) struct FakeRefusalStore {
    instance: u32,
    refusals: Arc<FakeRefusals>,
}

impl FakeRefusals {
    pub(crate) fn instance(self: &Arc<Self>, instance: u32) -> Arc<FakeRefusalStore> {
        Arc::new(FakeRefusalStore { instance, refusals: Arc::clone(self) })
    }

    pub(crate) fn totals(&self, sale: SaleId) -> Vec<RefusalTotal> {
        let stored = self.stored.lock().unwrap();
        stored.totals.values().filter(|total| total.sale == sale).copied().collect()
    }

    pub(crate) fn details(&self, sale: SaleId) -> Vec<Refusal> {
        let stored = self.stored.lock().unwrap();
        stored.details.iter().filter(|refusal| refusal.sale == sale).cloned().collect()
    }
}

#[async_trait]
impl RefusalStore for FakeRefusalStore {
    async fn append(&self, flush: &RefusalFlush) -> Result<(), PortError> {
        let mut stored = self.refusals.stored.lock().unwrap();
        let last = stored.flushed.entry(self.instance).or_default();
        if *last >= flush.sequence {
            return Ok(());
        }
        *last = flush.sequence;
        for total in &flush.totals {
            let key = (total.sale, total.operation.as_str(), total.reason);
            let none = RefusalTotal { total: 0, detailed: 0, ..*total };
            let sum = stored.totals.entry(key).or_insert(none);
            sum.total += total.total;
            sum.detailed += total.detailed;
        }
        stored.details.extend(flush.details.iter().cloned());
        Ok(())
    }
}
