//! Live: the state of sales for clients that follow them.
//!
//! An instance reads the followed sales once a tick, whatever the number of its listeners, and reads nothing while there are none. A
//! change is written once and handed to all listeners of its sale. Each has only the newest state in front of it: a slow one misses
//! those between, and nothing waits for it.

mod facts;
mod feed;
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use facts::{LiveFacts, LiveState};

use super::browse::{Browse, SaleView};
use super::ports::{Pause, PortError};
use super::sale_cache::SaleCache;
use crate::domain::ids::SaleId;

use feed::{Feed, Subscription};

/// Time between two events: no second has more than four.
pub const TICK: Duration = Duration::from_millis(250);
/// A purchase that began before the end may be committed after it: listeners learn of it within this time, then their streams end.
const SETTLE: chrono::Duration = chrono::Duration::seconds(2);
/// Maximum number of sales that listeners follow: it bounds the work of a tick.
const MAX_SALES: usize = 1_000;

/// How a sale is followed.
#[derive(Debug)]
pub enum Followed {
    /// By a listener.
    Listening(Listener),
    /// The sale has ended, and this is its last state.
    Over(LiveState),
    /// There is no such sale.
    NotFound,
}

/// The use case: listeners, and what is sent to them.
pub struct Live {
    ports: LivePorts,
    /// Writes an event, once for all listeners.
    write: fn(&LiveState) -> Bytes,
    feeds: Mutex<Feeds>,
    max_listeners: usize,
    slots: Arc<Semaphore>,
    /// Number of readings that have begun.
    readings: AtomicU64,
    /// Monotonic time of the last events.
    told_at: Mutex<Option<Duration>>,
}

/// The ports of [`Live`].
pub struct LivePorts {
    /// Knows which sales exist, and the clock.
    pub sale_cache: Arc<SaleCache>,
    /// Reads the sales, and shares its sums with the requests that read them.
    pub browse: Arc<Browse>,
    /// Waits until there may be events again.
    pub pause: Arc<dyn Pause>,
}

/// The feeds of all followed sales.
#[derive(Default)]
struct Feeds {
    of: HashMap<SaleId, Arc<Feed>>,
    is_closed: bool,
}

/// A client that follows a sale. It no longer counts when this is dropped.
#[derive(Debug)]
pub struct Listener {
    subscription: Subscription,
    _slot: OwnedSemaphorePermit,
}

impl Live {
    /// The use case for at most this many listeners.
    #[must_use]
    pub fn new(ports: LivePorts, max_listeners: usize, write: fn(&LiveState) -> Bytes) -> Self {
        Self {
            ports,
            write,
            feeds: Mutex::default(),
            max_listeners,
            slots: Arc::new(Semaphore::new(max_listeners)),
            readings: AtomicU64::new(0),
            told_at: Mutex::default(),
        }
    }

    /// Number of listeners.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.max_listeners.saturating_sub(self.slots.available_permits())
    }

    /// Follows a sale. `seen` is what a client that comes back received last, perhaps by another instance.
    pub async fn follow(
        &self,
        sale: SaleId,
        seen: Option<LiveFacts>,
    ) -> Result<Followed, PortError> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let slot = slot.map_err(|_| PortError::Overloaded("the events of sales"))?;
        if self.ports.sale_cache.find(sale).await?.is_none() {
            return Ok(Followed::NotFound);
        }
        let feed = self.feed(sale)?;
        let subscription = feed.subscribe(seen, self.readings.load(Ordering::Relaxed));
        if !feed.has_state() {
            // If PostgreSQL is away, the listener waits for the first reading that succeeds.
            match self.ports.browse.sale(sale).await {
                Ok(Some(view)) if is_over(&view) => return Ok(Followed::Over(state_of(&view))),
                Ok(Some(view)) => self.tell_first(&feed, &view),
                Ok(None) => return Ok(Followed::NotFound),
                Err(_) => {}
            }
        }
        Ok(Followed::Listening(Listener { subscription, _slot: slot }))
    }

    /// One tick: reads the followed sales, and sends their listeners what has changed. It runs once at a time.
    pub async fn tell(&self) -> Result<(), PortError> {
        if !self.is_followed() {
            return Ok(());
        }
        self.keep_distance().await;
        let feeds = self.followed();
        let reading = self.readings.fetch_add(1, Ordering::Relaxed) + 1;
        let returned: Vec<bool> = feeds.iter().map(|feed| feed.take_returned()).collect();
        let mut sales = Vec::with_capacity(feeds.len());
        for feed in &feeds {
            match self.ports.sale_cache.find(feed.sale).await? {
                Some(cached) => sales.push(cached),
                None => self.end(feed),
            }
        }
        let views = self.ports.browse.renewed(&sales).await?;
        *self.told_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.now());
        let views: HashMap<SaleId, SaleView> =
            views.into_iter().map(|view| (view.sale.id, view)).collect();
        for (feed, has_returned) in feeds.iter().zip(returned) {
            let Some(view) = views.get(&feed.sale) else { continue };
            let state = state_of(view);
            feed.tell(state.facts, (self.write)(&state), (reading, has_returned));
            if is_over(view) {
                self.end(feed);
            }
        }
        Ok(())
    }

    /// Ends all streams, because the instance stops. Clients come back to another one.
    pub fn close(&self) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.is_closed = true;
        feeds.of.drain().for_each(|(_, feed)| feed.close());
    }

    /// The feed of a sale, which the next tick reads.
    fn feed(&self, sale: SaleId) -> Result<Arc<Feed>, PortError> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if feeds.is_closed {
            let source = "this instance is stopping".into();
            return Err(PortError::Unavailable { what: "the events of sales", source });
        }
        if let Some(feed) = feeds.of.get(&sale) {
            return Ok(Arc::clone(feed));
        }
        if feeds.of.len() >= MAX_SALES {
            return Err(PortError::Overloaded("the events of sales"));
        }
        let feed = Arc::new(Feed::new(sale));
        feeds.of.insert(sale, Arc::clone(&feed));
        Ok(feed)
    }

    /// Waits until a tick has passed since the last events, also when reading them took long: then the next tick is due already.
    async fn keep_distance(&self) {
        let told_at = *self.told_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = told_at.map_or(Duration::ZERO, |told_at| told_at.saturating_add(TICK));
        let pause = next.saturating_sub(self.now());
        if !pause.is_zero() {
            self.ports.pause.pause(pause).await;
        }
    }

    fn now(&self) -> Duration {
        self.ports.sale_cache.clock().monotonic()
    }

    fn is_followed(&self) -> bool {
        !self.feeds.lock().unwrap_or_else(PoisonError::into_inner).of.is_empty()
    }

    /// The feeds that have listeners. The others are dropped.
    fn followed(&self) -> Vec<Arc<Feed>> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        // A task that holds the feed beside the map is about to subscribe.
        feeds.of.retain(|_, feed| feed.has_listeners() || Arc::strong_count(feed) > 1);
        feeds.of.values().map(Arc::clone).collect()
    }

    fn tell_first(&self, feed: &Feed, view: &SaleView) {
        let state = state_of(view);
        feed.tell_first(state.facts, (self.write)(&state));
    }

    /// Ends the streams of a sale that has ended or is gone.
    fn end(&self, feed: &Feed) {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner).of.remove(&feed.sale);
        feed.close();
    }
}

impl Listener {
    /// The next event; `None` at the end of the stream. Nothing is lost if this is dropped before it is done.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.subscription.next().await
    }
}

/// Whether the sale has ended, and no purchase that it accepted is under way.
fn is_over(view: &SaleView) -> bool {
    let end = view.sale.window.ends_at();
    end.checked_add_signed(SETTLE).is_some_and(|settled| view.server_time >= settled)
}

fn state_of(view: &SaleView) -> LiveState {
    let facts = LiveFacts {
        state: view.state,
        sold: view.progress.sold,
        remaining: view.progress.remaining,
    };
    LiveState { facts, server_time: view.server_time }
}
