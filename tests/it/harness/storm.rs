//! The rush: buyers who repeat every request until it is answered, whatever happens to the service meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::{Answer, Client, checkout_path, purchase_path};
use super::eventually::{PATIENCE, PAUSE, until};

/// Items that one buyer wants; each gets a checkout and a purchase of its own.
const ITEMS_EACH: usize = 5;
/// After this time without a response, a buyer asks another instance.
const ONE_TRY: Duration = Duration::from_secs(3);

/// A rush for unique items. Two buyers want each item, and continue until it is sold.
#[derive(Debug)]
pub(crate) struct Storm {
    buyers: JoinSet<Vec<Receipt>>,
    sold: Arc<AtomicUsize>,
}

/// A code with the response to its purchase.
#[derive(Debug)]
pub(crate) struct Receipt {
    /// The code.
    pub(crate) code: String,
    /// The response.
    pub(crate) answer: Answer,
}

/// One buyer of the rush.
#[derive(Debug)]
struct Shopper {
    clients: Vec<Client>,
    /// The client in use; the next one after a failure.
    at: usize,
    sold: Arc<AtomicUsize>,
}

impl Storm {
    /// Starts a rush for items 1 to `items` of a sale, over all these instances.
    pub(crate) fn over(clients: &[Client], sale: &str, items: usize) -> Self {
        let sold = Arc::new(AtomicUsize::new(0));
        let mut buyers = JoinSet::new();
        for number in 0..2 * items / ITEMS_EACH {
            let shopper =
                Shopper { clients: clients.to_vec(), at: number, sold: Arc::clone(&sold) };
            let first = number * ITEMS_EACH % items + 1;
            buyers.spawn(shopper.shop(sale.to_owned(), format!("storm-{number}"), first));
        }
        Self { buyers, sold }
    }

    /// Waits until this many purchases have been acknowledged.
    pub(crate) async fn has_sold(&self, items: usize) {
        until("the rush goes on selling", async || self.sold.load(Ordering::Relaxed) >= items)
            .await;
    }

    /// Waits until all buyers have finished.
    pub(crate) async fn receipts(self) -> Vec<Receipt> {
        self.buyers.join_all().await.into_iter().flatten().collect()
    }
}

impl Shopper {
    async fn shop(mut self, sale: String, user: String, first: usize) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        for item in first..first + ITEMS_EACH {
            let wish = checkout_path(&sale, &user, &item.to_string());
            let checkout = self.insist(&wish).await;
            if checkout.status != 200 {
                let (status, code) = checkout.status_and_code();
                assert_eq!(status, 409, "{}", checkout.body);
                assert!(["item_sold_out", "sale_sold_out"].contains(&code.as_str()), "{code}");
                continue;
            }
            let code = checkout.checkout_code();
            let answer = self.insist(&purchase_path(&code)).await;
            if answer.status == 200 {
                self.sold.fetch_add(1, Ordering::Relaxed);
            } else {
                assert_eq!(answer.status_and_code(), (409, "items_already_sold".to_owned()));
            }
            receipts.push(Receipt { code, answer });
        }
        receipts
    }

    /// Repeats a request until it gets a final response, which is always safe by the contract.
    async fn insist(&mut self, path: &str) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let client = &self.clients[self.at % self.clients.len()];
            match client.attempt(Method::POST, path, ONE_TRY).await {
                Some(answer) if answer.status == 503 || is_in_progress(&answer) => {
                    assert!(answer.header("retry-after").is_some(), "{}", answer.body);
                }
                Some(answer) => {
                    assert!(answer.status < 500, "{}: {}", answer.status, answer.body);
                    return answer;
                }
                None => {}
            }
            self.at += 1;
            tokio::time::sleep(PAUSE).await;
        }
        panic!("no final response to {path} within {PATIENCE:?}")
    }
}

fn is_in_progress(answer: &Answer) -> bool {
    answer.status == 409 && answer.status_and_code().1 == "purchase_in_progress"
}

/// Fails the test unless every acknowledged outcome is stored as it was returned.
pub(crate) async fn assert_on_record(client: &Client, receipts: &[Receipt]) {
    assert!(!receipts.is_empty());
    for receipt in receipts {
        let stored = client.get(&format!("/purchases/{}", receipt.code)).await.is(200);
        for field in ["/success", "/purchased_items", "/total_purchased", "/failed_items"] {
            assert_eq!(stored.at(field), receipt.answer.at(field), "{}", stored.body);
        }
    }
}
