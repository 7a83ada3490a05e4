//! Buyers with a skewed taste who repeat every request until it is answered: they hang up after any byte, come back, are slow,
//! send everything three times or to two instances at once. Each request and response is recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::Method;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::exchange::{Request, Response};
use super::history::{Event, History};
use super::manner::Manner;
use crate::harness::client::{checkout_path, purchase_path};
use crate::harness::{Client, Dice, PATIENCE, eventually};

/// After this time without a response, a buyer asks another instance.
const ONE_TRY: Duration = Duration::from_secs(3);
/// A buyer fails the test after this time without a final response: longer than a round may take to recover.
const INSISTS: Duration = Duration::from_mins(6);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(40);
/// A client that hangs up waits for fewer milliseconds than this.
const HANGS_UP_WITHIN: usize = 6;
/// Approximate size of a request or a response: a client that hangs up in the middle has sent or read fewer bytes.
const BYTES: usize = 400;
/// Concurrent buyers of what is left at the end.
const LAST_BUYERS: usize = 64;
/// Items on a page.
const PAGE: usize = 100;

/// A sale, with the instances that sell it.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    /// Clients of all instances.
    pub(crate) clients: Vec<Client>,
    /// The sale.
    pub(crate) sale: String,
    /// Its items are numbered from 1.
    pub(crate) items: usize,
    /// The buyer limit.
    pub(crate) limit: i64,
    /// Pause of a buyer's place between two visits.
    pub(crate) pause: Duration,
    /// Records all requests.
    pub(crate) history: History,
}

/// Buyers who come until they are stopped.
#[derive(Debug)]
pub(crate) struct Crowd {
    buyers: JoinSet<()>,
    visits: Arc<AtomicUsize>,
    closing: CancellationToken,
}

impl Crowd {
    /// Starts this many concurrent buyers, whose choices depend on the seed.
    pub(crate) fn gather(shop: &Shop, seed: u64, at_a_time: usize) -> Self {
        let (closing, visits) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let mut buyers = JoinSet::new();
        for place in 0..at_a_time {
            let (shop, closing, visits) = (shop.clone(), closing.clone(), Arc::clone(&visits));
            let dice = Dice::new(seed.wrapping_mul(1_000).wrapping_add(place as u64));
            buyers.spawn(async move {
                let mut dice = dice;
                while !closing.is_cancelled() {
                    let number = visits.fetch_add(1, Ordering::Relaxed);
                    let name = format!("buyer-{seed}-{number}");
                    Visitor { shop: &shop, name, dice: &mut dice }.visit().await;
                    tokio::time::sleep(shop.pause).await;
                }
            });
        }
        Self { buyers, visits, closing }
    }

    /// Visits so far.
    pub(crate) fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }

    /// Starts no further visit, and waits until every buyer has the final responses.
    pub(crate) async fn disperse(self) {
        self.closing.cancel();
        self.buyers.join_all().await;
    }
}

struct Visitor<'a> {
    shop: &'a Shop,
    name: String,
    dice: &'a mut Dice,
}

impl Visitor<'_> {
    /// Collects one to three items and purchases them. One buyer in eight comes a second time, and one checkout in twenty is
    /// for as many pieces as the limit allows.
    async fn visit(&mut self) {
        for _ in 0..=usize::from(self.one_in(8)) {
            let mut code = None;
            for _ in 0..=self.dice.below(3) {
                let item = self.item();
                let quantity = if self.one_in(20) { self.shop.limit } else { 1 };
                let response = self.insist(Request::Checkout { item, quantity }).await;
                if response.status == 200 {
                    code = Some(response.code);
                }
            }
            if let Some(code) = code {
                self.insist(Request::Purchase { code }).await;
            }
        }
    }

    /// The first items are wanted most: a tenth of the items gets more than two fifths of the requests.
    fn item(&mut self) -> String {
        let items = self.shop.items;
        let chance = self.dice.below(items) * self.dice.below(items) / items;
        (chance * self.dice.below(items) / items + 1).to_string()
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.dice.below(sides) == 0
    }

    /// Sends a request until there is a final response; sometimes with bad manners first, to two instances at once, or three
    /// times.
    async fn insist(&mut self, request: Request) -> Response {
        if self.one_in(8) {
            let at = self.dice.below(self.shop.clients.len());
            let manner = self.bad_manner();
            self.shop.send(&self.name, &request, at, (manner, ONE_TRY)).await;
        }
        if self.one_in(8) {
            let [one, other] = [0, 1].map(|more| self.dice.below(self.shop.clients.len()) + more);
            tokio::join!(
                self.shop.send(&self.name, &request, one, (Manner::Patient, ONE_TRY)),
                self.shop.send(&self.name, &request, other, (Manner::Patient, ONE_TRY))
            );
        }
        let repeats = if self.one_in(8) { 3 } else { 1 };
        let mut response = self.final_response(&request).await;
        for _ in 1..repeats {
            response = self.final_response(&request).await;
        }
        response
    }

    fn bad_manner(&mut self) -> Manner {
        match self.dice.below(4) {
            0 => Manner::Impatient(Duration::from_millis(self.dice.below(HANGS_UP_WITHIN) as u64)),
            1 => Manner::SendsPart(self.dice.below(BYTES)),
            2 => Manner::ReadsPart(self.dice.below(BYTES)),
            _ => Manner::Slow,
        }
    }

    async fn final_response(&mut self, request: &Request) -> Response {
        let since = Instant::now();
        while since.elapsed() < INSISTS {
            let at = self.dice.below(self.shop.clients.len());
            match self.shop.send(&self.name, request, at, (Manner::Patient, ONE_TRY)).await {
                Some(response)
                    if response.status < 500 && response.code != "purchase_in_progress" =>
                {
                    return response;
                }
                Some(_) | None => tokio::time::sleep(PAUSE).await,
            }
        }
        panic!("no final response to {request:?} within {INSISTS:?}")
    }
}

impl Shop {
    /// Sends a request to an instance once, and records it.
    pub(crate) async fn send(
        &self,
        buyer: &str,
        request: &Request,
        instance: usize,
        (manner, timeout): (Manner, Duration),
    ) -> Option<Response> {
        let instance = instance % self.clients.len();
        let path = match request {
            Request::Checkout { item, quantity } => {
                format!("{}&quantity={quantity}", checkout_path(&self.sale, buyer, item))
            }
            Request::Purchase { code } => purchase_path(code),
        };
        let sent_at = self.history.now();
        let response = manner.send(&self.clients[instance], &path, timeout).await;
        self.history.record(Event {
            sent_at,
            ended_at: self.history.now(),
            instance,
            buyer: buyer.to_owned(),
            request: request.clone(),
            response: response.clone(),
            manner,
        });
        response
    }

    /// Buys everything that is left, up to the limit with each checkout. Fails the test if nothing is sold for [`PATIENCE`].
    /// Returns how long it took.
    pub(crate) async fn sell_out(&self) -> Duration {
        let began = Instant::now();
        let (mut fewest, mut progress) = (i64::MAX, began);
        let mut buyers = 0;
        loop {
            let left = self.left().await;
            let pieces: i64 = left.iter().map(|(_, pieces)| pieces).sum();
            if pieces == 0 {
                return began.elapsed();
            }
            if pieces < fewest {
                (fewest, progress) = (pieces, Instant::now());
            }
            assert!(progress.elapsed() < PATIENCE, "no progress, and this is left: {left:?}");
            let step = usize::try_from(self.limit).unwrap();
            let checkouts = left.into_iter().flat_map(|(item, pieces)| {
                let first = (0..pieces).step_by(step);
                first.map(move |first| (item.clone(), self.limit.min(pieces - first)))
            });
            let numbered = checkouts.zip(buyers..).collect::<Vec<_>>();
            buyers += numbered.len();
            let buy = |((item, quantity), buyer)| self.buy(buyer, item, quantity);
            stream::iter(numbered).for_each_concurrent(LAST_BUYERS, buy).await;
        }
    }

    /// One checkout and its purchase, each sent once.
    async fn buy(&self, buyer: usize, item: String, quantity: i64) {
        let (name, patient) = (format!("last-{buyer}"), (Manner::Patient, PATIENCE));
        let checkout = Request::Checkout { item, quantity };
        if let Some(response) = self.send(&name, &checkout, buyer, patient).await
            && response.status == 200
        {
            let purchase = Request::Purchase { code: response.code };
            self.send(&name, &purchase, buyer, patient).await;
        }
    }

    /// Items that are not sold out, with the pieces that are left.
    async fn left(&self) -> Vec<(String, i64)> {
        let mut left = Vec::new();
        for page in 1.. {
            let path =
                format!("/sales/{}/items?available=true&limit={PAGE}&page={page}", self.sale);
            let items = eventually("a page of items is read", async || {
                let answer = self.clients[0].attempt(Method::GET, &path, PATIENCE).await?;
                (answer.status == 200).then(|| answer.at("/data"))
            })
            .await;
            let items = items.as_array().unwrap();
            left.extend(items.iter().map(|item| {
                (item["id"].as_str().unwrap().to_owned(), item["remaining"].as_i64().unwrap())
            }));
            if items.len() < PAGE {
                break;
            }
        }
        left
    }
}
