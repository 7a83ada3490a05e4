//! Buyers with a skewed taste who never give up: they hang up at any byte, come back, are slow, ask everything three times
//! or at two instances at once. Each writes down what it asked and what it was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::history::{Asked, Event, History, Told};
use super::manner::Manner;
use crate::harness::client::{checkout_path, purchase_path};
use crate::harness::{Client, Dice};

/// After this time without an answer a buyer asks another instance.
const ONE_TRY: Duration = Duration::from_secs(3);
/// Longest time that a buyer insists on an answer: longer than any fault lasts.
const INSISTS: Duration = Duration::from_mins(2);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(40);
/// Who hangs up waits for at most so many milliseconds.
const HANGS_UP_WITHIN: usize = 6;
/// Requests and answers have about so many bytes: who goes away in the middle has sent or read less, or all.
const BYTES: usize = 400;

/// Where buyers shop.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    /// All instances.
    pub(crate) doors: Vec<Client>,
    /// The sale.
    pub(crate) sale: String,
    /// Its items are numbered from 1.
    pub(crate) items: usize,
    /// Pieces that a buyer may have.
    pub(crate) limit: i64,
    /// Between two visits to a place.
    pub(crate) pause: Duration,
    /// What is asked and told.
    pub(crate) history: History,
}

/// Buyers who come until they are told to stop.
#[derive(Debug)]
pub(crate) struct Crowd {
    buyers: JoinSet<()>,
    came: Arc<AtomicUsize>,
    closing: CancellationToken,
}

impl Crowd {
    /// So many at a time, as the seed says.
    pub(crate) fn gather(shop: &Shop, seed: u64, at_a_time: usize) -> Self {
        let (closing, came) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let mut buyers = JoinSet::new();
        for place in 0..at_a_time {
            let (shop, closing, came) = (shop.clone(), closing.clone(), Arc::clone(&came));
            let dice = Dice::new(seed.wrapping_mul(1_000).wrapping_add(place as u64));
            buyers.spawn(async move {
                let mut dice = dice;
                while !closing.is_cancelled() {
                    let number = came.fetch_add(1, Ordering::Relaxed);
                    let name = format!("buyer-{seed}-{number}");
                    Visitor { shop: &shop, name, dice: &mut dice }.visit().await;
                    tokio::time::sleep(shop.pause).await;
                }
            });
        }
        Self { buyers, came, closing }
    }

    /// Visits so far.
    pub(crate) fn visits(&self) -> usize {
        self.came.load(Ordering::Relaxed)
    }

    /// Nobody comes any more; waits until everybody has their answers.
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
    /// One to three items, then the purchase; one in eight comes once more. One wish in twenty is for all that a buyer may have.
    async fn visit(&mut self) {
        for _ in 0..=usize::from(self.one_in(8)) {
            let mut code = None;
            for _ in 0..=self.dice.below(3) {
                let item = self.item();
                let quantity = if self.one_in(20) { self.shop.limit } else { 1 };
                let told = self.insist(Asked::Checkout { item, quantity }).await;
                if told.status == 200 {
                    code = Some(told.code());
                }
            }
            if let Some(code) = code {
                self.insist(Asked::Purchase { code }).await;
            }
        }
    }

    /// The first items are wanted most: a tenth of them by more than two fifths of all.
    fn item(&mut self) -> String {
        let items = self.shop.items;
        let chance = self.dice.below(items) * self.dice.below(items) / items;
        (chance * self.dice.below(items) / items + 1).to_string()
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.dice.below(sides) == 0
    }

    /// Asks until there is an answer for good.
    async fn insist(&mut self, asked: Asked) -> Told {
        if self.one_in(8) {
            let at = self.dice.below(self.shop.doors.len());
            let manner = self.bad_manner();
            self.shop.ask(&self.name, &asked, at, manner).await;
        }
        if self.one_in(8) {
            let [one, other] = [0, 1].map(|more| self.dice.below(self.shop.doors.len()) + more);
            tokio::join!(
                self.shop.ask(&self.name, &asked, one, Manner::Patient),
                self.shop.ask(&self.name, &asked, other, Manner::Patient)
            );
        }
        let repeats = if self.one_in(8) { 3 } else { 1 };
        let mut told = self.answer(&asked).await;
        for _ in 1..repeats {
            told = self.answer(&asked).await;
        }
        told
    }

    fn bad_manner(&mut self) -> Manner {
        match self.dice.below(4) {
            0 => Manner::Impatient(Duration::from_millis(self.dice.below(HANGS_UP_WITHIN) as u64)),
            1 => Manner::SendsPart(self.dice.below(BYTES)),
            2 => Manner::ReadsPart(self.dice.below(BYTES)),
            _ => Manner::Slow,
        }
    }

    async fn answer(&mut self, asked: &Asked) -> Told {
        let since = Instant::now();
        while since.elapsed() < INSISTS {
            let at = self.dice.below(self.shop.doors.len());
            match self.shop.ask(&self.name, asked, at, Manner::Patient).await {
                Some(told) if told.status < 500 && told.code() != "purchase_in_progress" => {
                    return told;
                }
                Some(_) | None => tokio::time::sleep(PAUSE).await,
            }
        }
        panic!("nobody answered {asked:?} within {INSISTS:?}")
    }
}

impl Shop {
    /// Asks an instance once, and writes it down.
    pub(crate) async fn ask(
        &self,
        buyer: &str,
        asked: &Asked,
        instance: usize,
        manner: Manner,
    ) -> Option<Told> {
        let instance = instance % self.doors.len();
        let path = match asked {
            Asked::Checkout { item, quantity } => {
                format!("{}&quantity={quantity}", checkout_path(&self.sale, buyer, item))
            }
            Asked::Purchase { code } => purchase_path(code),
        };
        let sent_at = self.history.now();
        let told = manner.ask(&self.doors[instance], &path, ONE_TRY).await;
        self.history.note(Event {
            sent_at,
            ended_at: self.history.now(),
            instance,
            buyer: buyer.to_owned(),
            asked: asked.clone(),
            told: told.clone(),
            manner,
        });
        told
    }

    /// Buys all that is left, up to the limit with each checkout; how long that took.
    pub(crate) async fn sell_out(&self, within: Duration) -> Duration {
        let since = Instant::now();
        let mut came = 0;
        loop {
            let left = self.left().await;
            if left.is_empty() {
                return since.elapsed();
            }
            assert!(since.elapsed() < within, "after {within:?} this is left: {left:?}");
            let mut sweep = JoinSet::new();
            for (item, pieces) in left {
                for first in (0..pieces).step_by(usize::try_from(self.limit).unwrap()) {
                    came += 1;
                    let (shop, item) = (self.clone(), item.clone());
                    let (buyer, quantity) =
                        (format!("last-{came}"), self.limit.min(pieces - first));
                    sweep.spawn(async move {
                        let wish = Asked::Checkout { item, quantity };
                        if let Some(told) = shop.ask(&buyer, &wish, came, Manner::Patient).await
                            && told.status == 200
                        {
                            let buys = Asked::Purchase { code: told.code() };
                            shop.ask(&buyer, &buys, came, Manner::Patient).await;
                        }
                    });
                }
            }
            sweep.join_all().await;
        }
    }

    /// Items that can be had, with the pieces that are left.
    async fn left(&self) -> Vec<(String, i64)> {
        let mut left = Vec::new();
        for page in 1.. {
            let path = format!("/sales/{}/items?available=true&limit=100&page={page}", self.sale);
            let Some(answer) = self.doors[0].attempt(Method::GET, &path, ONE_TRY).await else {
                continue;
            };
            let items = answer.is(200).at("/data");
            let items = items.as_array().unwrap();
            left.extend(items.iter().map(|item| {
                (item["id"].as_str().unwrap().to_owned(), item["remaining"].as_i64().unwrap())
            }));
            if items.len() < 100 {
                break;
            }
        }
        left
    }
}
