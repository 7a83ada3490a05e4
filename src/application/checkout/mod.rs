//! Checkout: change the buyer's open checkout and return its code. Nothing is reserved.
//!
//! Most refusals come from the sale cache, without I/O. A hint from the hint cache never refuses by itself: PostgreSQL
//! confirms it, and a confirmed refusal is cached for a second, so that a buyer who keeps requesting at the limit costs
//! one query per second. The hint cache is queried only where the hint can change the result: for a buyer whom PostgreSQL
//! has refused, and for a sale whose stock this instance has not read yet. It stores buyers' totals from half of the limit
//! on, so a refusal below that, of many pieces at once, takes a query each time.

mod cached_refusal;
mod command;
mod limit_refusals;
mod tests;

use std::convert::Infallible;
use std::sync::Arc;

pub use command::{CheckoutAnswer, CheckoutCommand, CheckoutRefusal, LineChange, RequestedLine};

use super::catalogue::Catalogue;
use super::codes::Codes;
use super::ports::{
    BusinessMetrics, CheckoutStore, Collect, Collected, CommittedTotals, Done, FilterResult, Hint,
    HintCache, Keyed, KeyedRequest, Operation, PortError, PrecheckRequest, Refusal, RefusalReason,
};
use super::refusal_facts::StartFacts;
use super::refusals::Refusals;
use super::sale_cache::{ActiveSale, CachedSale, SaleCache};
use crate::domain::checkout::{Change, Line};
use crate::domain::ids::{AttemptId, ItemId, SaleId};
use crate::domain::sale::{MAX_BUYER_LIMIT, Sale};

use cached_refusal::{item_refusal, refusal, sold_out_reason};
use limit_refusals::LimitRefusalCache;

/// The checkout use case.
pub struct Checkout {
    ports: CheckoutPorts,
    limit_refusals: LimitRefusalCache,
}

/// The ports of [`Checkout`].
pub struct CheckoutPorts {
    /// Sales and their sold-out items.
    pub sale_cache: Arc<SaleCache>,
    /// Stores the checkouts.
    pub checkouts: Arc<dyn CheckoutStore>,
    /// Hints and totals that all instances share.
    pub hints: Arc<dyn HintCache>,
    /// Signs the codes.
    pub codes: Arc<Codes>,
    /// Records refusals.
    pub refusals: Arc<Refusals>,
    /// Counts answers.
    pub business_metrics: Arc<dyn BusinessMetrics>,
}

/// Why the store has neither changed nor refused a checkout.
enum NotCollected<S> {
    Failed(PortError),
    /// Because of the request's idempotency key. A request without a key cannot be stopped: its `S` has no values.
    Stopped(S),
}

impl<S> From<PortError> for NotCollected<S> {
    fn from(error: PortError) -> Self {
        Self::Failed(error)
    }
}

impl Checkout {
    /// Creates the use case on these ports.
    #[must_use]
    pub fn new(ports: CheckoutPorts) -> Self {
        Self { ports, limit_refusals: LimitRefusalCache::default() }
    }

    /// A final refusal from memory; `None` if only [`Self::execute`] can answer.
    #[must_use]
    pub fn refuse_from_cache(&self, command: &CheckoutCommand) -> Option<CheckoutAnswer> {
        let sale_cache = &self.ports.sale_cache;
        let cached = match command.sale {
            Some(id) => sale_cache.find_cached(id)?,
            None => match sale_cache.active_cached(None) {
                ActiveSale::Found(cached) => cached,
                ActiveSale::Several | ActiveSale::None => return None,
            },
        };
        let answer = refusal(sale_cache, &cached, command)?;
        // If the request names no sale, the next one may be open already.
        if command.sale.is_none() && answer.is_outside_window() {
            return None;
        }
        self.record::<Infallible>(&cached.sale, command, Ok(answer)).ok()
    }

    /// The limit of the sale that a request without or with this sale is for, as far as memory knows it; else that of the most
    /// generous sale.
    #[must_use]
    pub fn buyer_limit(&self, sale: Option<SaleId>) -> i32 {
        let sale_cache = &self.ports.sale_cache;
        let cached = match sale {
            Some(sale) => sale_cache.find_cached(sale),
            None => match sale_cache.active_cached(None) {
                ActiveSale::Found(cached) => Some(cached),
                ActiveSale::Several | ActiveSale::None => None,
            },
        };
        cached.map_or(MAX_BUYER_LIMIT, |cached| cached.sale.buyer_limit)
    }

    /// Executes the command. Durable before it returns `Accepted`. All or nothing, also if the future is dropped.
    pub async fn execute(&self, command: &CheckoutCommand) -> Result<CheckoutAnswer, PortError> {
        let collect = |request| {
            let collected = self.ports.checkouts.collect(request);
            async move { Ok(collected.await?) }
        };
        match self.execute_with(command, collect).await {
            Ok(answer) => Ok(answer),
            Err(NotCollected::<Infallible>::Failed(error)) => Err(error),
        }
    }

    /// Executes the command like [`Self::execute`], once for each key.
    pub async fn execute_keyed(
        &self,
        command: &CheckoutCommand,
        key: &KeyedRequest,
    ) -> Result<Keyed<CheckoutAnswer, Done>, PortError> {
        let collect = |request| {
            let keyed = self.ports.checkouts.collect_keyed(request, key.clone());
            async move { keyed.await?.into_new().map_err(NotCollected::Stopped) }
        };
        match self.execute_with(command, collect).await {
            Ok(answer) => Ok(Keyed::New(answer)),
            Err(NotCollected::Stopped(keyed)) => Ok(keyed),
            Err(NotCollected::Failed(error)) => Err(error),
        }
    }

    async fn execute_with<S, F>(
        &self,
        command: &CheckoutCommand,
        collect: impl Fn(Collect) -> F,
    ) -> Result<CheckoutAnswer, NotCollected<S>>
    where
        F: Future<Output = Result<Collected, NotCollected<S>>>,
    {
        let sale_cache = &self.ports.sale_cache;
        let cached = match command.sale {
            Some(id) => match sale_cache.find(id).await? {
                Some(cached) => cached,
                None => {
                    // Boxed, as is all that is rare: the usual request has no room for it.
                    return Ok(CheckoutAnswer::Refused(Box::pin(self.absent(id)).await?));
                }
            },
            None => match sale_cache.active(None).await? {
                ActiveSale::Found(cached) => cached,
                ActiveSale::Several => {
                    return Ok(CheckoutAnswer::Refused(CheckoutRefusal::SaleIdRequired));
                }
                ActiveSale::None => {
                    return Ok(CheckoutAnswer::Refused(CheckoutRefusal::NoActiveSale));
                }
            },
        };
        let answer = self.collect(&cached, command, &collect).await;
        // On the hour, PostgreSQL may find the sale closed that this instance considers open: then the request is for the
        // other sale. The first one may open while the other one is tried.
        if command.sale.is_none()
            && is_outside_window(&answer)
            && let Ok(ActiveSale::Found(other)) = sale_cache.active(Some(cached.sale.id)).await
        {
            let second = Box::pin(self.collect(&other, command, &collect)).await;
            if !is_outside_window(&second) {
                return self.record(&other.sale, command, second);
            }
            let third = Box::pin(self.collect(&cached, command, &collect)).await;
            return self.record(&cached.sale, command, third);
        }
        self.record(&cached.sale, command, answer)
    }

    /// The refusal of a request for a sale that does not exist.
    async fn absent(&self, id: SaleId) -> Result<CheckoutRefusal, PortError> {
        let archived = self.ports.sale_cache.is_archived(id).await?;
        Ok(if archived { CheckoutRefusal::SaleArchived } else { CheckoutRefusal::SaleNotFound })
    }

    async fn collect<S, F>(
        &self,
        cached: &CachedSale,
        command: &CheckoutCommand,
        collect: &impl Fn(Collect) -> F,
    ) -> Result<CheckoutAnswer, NotCollected<S>>
    where
        F: Future<Output = Result<Collected, NotCollected<S>>>,
    {
        let (sale, sale_cache) = (&cached.sale, &self.ports.sale_cache);
        if let Some(answer) = refusal(sale_cache, cached, command) {
            return Ok(answer);
        }
        let catalogue = if let Some(catalogue) = cached.loaded_catalogue() {
            Arc::clone(catalogue)
        } else {
            let items = command.line_change.items();
            let catalogue = Box::pin(sale_cache.catalogue(cached, items)).await?;
            if let Some(answer) = item_refusal(sale_cache, cached, command, &catalogue) {
                return Ok(answer);
            }
            catalogue
        };
        let Some(edit) = command.line_change.edit(&catalogue) else {
            return Ok(CheckoutAnswer::refused(RefusalReason::ItemNotFound));
        };
        let mut version = None;
        let mut hint = None;
        // The hint cache answers for one item at a time.
        if let [line] = *edit.lines()
            && (!cached.is_warm() || self.limit_refusals.contains(sale.id, &command.buyer))
        {
            let given = Box::pin(self.hint(sale, command, line)).await;
            if let Hint::OverLimit { version: of } = given {
                version = Some(of);
                let now = sale_cache.clock().monotonic();
                let confirmed = self.limit_refusals.confirmed(sale, &command.buyer, of, now);
                if let Some(pieces) = confirmed {
                    return Ok(CheckoutAnswer::at_limit(sale.buyer_limit, pieces));
                }
            }
            hint = Some(given);
        }
        let (buyer, attempt, tags) = (command.buyer.clone(), command.attempt, command.tags.clone());
        let collected = collect(Collect { sale: sale.id, buyer, attempt, edit, tags }).await?;
        if let Some(hint) = hint {
            self.count_filter(hint, &collected);
        }
        if let Collected::OverLimit(pieces) = collected {
            let now = sale_cache.clock().monotonic();
            self.limit_refusals.insert(sale, &command.buyer, (version, pieces), now);
        }
        Ok(self.answer((cached, &catalogue), command, collected).await?)
    }

    async fn hint(&self, sale: &Arc<Sale>, command: &CheckoutCommand, line: Line) -> Hint {
        let request =
            PrecheckRequest { sale: Arc::clone(sale), buyer: command.buyer.clone(), line };
        // The hint cache is optional. Its adapter reports failures; here they mean that there is no hint.
        self.ports.hints.precheck(request).await.unwrap_or(Hint::Cold)
    }

    async fn answer(
        &self,
        (cached, catalogue): (&CachedSale, &Catalogue),
        command: &CheckoutCommand,
        collected: Collected,
    ) -> Result<CheckoutAnswer, PortError> {
        let sale = &cached.sale;
        Ok(match collected {
            Collected::Added { attempt, created, totals, change, version } => {
                let (sale, buyer) = (Arc::clone(sale), command.buyer.clone());
                let totals = CommittedTotals { sale, buyer, totals, version };
                self.accepted(attempt, (change, created), totals).await?
            }
            Collected::SoldOut(facts) => {
                cached.apply_stock(&facts);
                let is_sold_out = |item: &&ItemId| {
                    catalogue.find(item).is_some_and(|no| facts.sold_out.contains(&no))
                };
                let items = command.line_change.items().filter(is_sold_out).cloned().collect();
                let reason = sold_out_reason(&self.ports.sale_cache, cached);
                CheckoutAnswer::refused_for(reason, items)
            }
            Collected::OverLimit(pieces) => CheckoutAnswer::at_limit(sale.buyer_limit, pieces),
            Collected::NotStarted => {
                CheckoutAnswer::before_start(StartFacts::of(&self.ports.sale_cache, cached))
            }
            Collected::Ended => CheckoutAnswer::refused(RefusalReason::Ended),
            Collected::Closed => CheckoutAnswer::refused(RefusalReason::Closed),
            Collected::OtherTag => CheckoutAnswer::refused(RefusalReason::Changed),
        })
    }

    async fn accepted(
        &self,
        attempt: AttemptId,
        (change, created): (Change, bool),
        committed: CommittedTotals,
    ) -> Result<CheckoutAnswer, PortError> {
        let sale = Arc::clone(&committed.sale);
        // Totals far below the limit refuse no checkout. A smaller line is stored, because older totals could refuse.
        let is_stored =
            change == Change::Replaced || committed.totals.is_near_limit(sale.buyer_limit);
        let lines = if is_stored {
            let lines = committed.totals.lines.clone();
            self.ports.hints.update_totals(committed);
            lines
        } else {
            committed.totals.lines
        };
        let code = self.ports.codes.sign(sale.id, attempt).await?;
        self.ports.business_metrics.checkout(None);
        Ok(CheckoutAnswer::Accepted { code, lines, created, sale })
    }

    fn count_filter(&self, hint: Hint, collected: &Collected) {
        let sold_out = matches!(collected, Collected::SoldOut(_));
        self.ports.business_metrics.filter(match hint {
            Hint::Cold => FilterResult::Cold,
            Hint::ItemInFilter if sold_out => FilterResult::Confirmed,
            Hint::ItemInFilter => FilterResult::FalsePositive,
            Hint::Clear | Hint::OverLimit { .. } | Hint::SaleSoldOut => FilterResult::Miss,
        });
    }

    /// Records the final answer if it is a refusal: an attempt is refused once, however many sales were tried.
    fn record<S>(
        &self,
        sale: &Sale,
        command: &CheckoutCommand,
        answer: Result<CheckoutAnswer, NotCollected<S>>,
    ) -> Result<CheckoutAnswer, NotCollected<S>> {
        let (reason, refused_item) = match &answer {
            Ok(CheckoutAnswer::Refused(CheckoutRefusal::BySale { reason, items, .. })) => {
                (*reason, items.first())
            }
            Err(NotCollected::Failed(_)) => (RefusalReason::Unavailable, None),
            Ok(_) | Err(NotCollected::Stopped(_)) => return answer,
        };
        let item = refused_item.or_else(|| command.line_change.items().next());
        if let Some(reading) = self.ports.sale_cache.clock().database() {
            self.ports.refusals.record(Refusal {
                sale: sale.id,
                operation: Operation::Checkout,
                reason,
                buyer: Some(command.buyer.clone()),
                item: item.cloned(),
                attempt: command.attempt,
                refused_at: reading.at,
                request: None,
            });
        }
        self.ports.business_metrics.checkout(Some(reason));
        self.ports.business_metrics.refused(reason);
        answer
    }
}

fn is_outside_window<S>(answer: &Result<CheckoutAnswer, NotCollected<S>>) -> bool {
    answer.as_ref().is_ok_and(CheckoutAnswer::is_outside_window)
}
