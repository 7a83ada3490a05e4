//! Others who use the same servers: another installation on the same Redis, and many more sales.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use nix::sys::signal::Signal;
use reqwest::{Method, Url};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::arena::Arena;
use crate::harness::client::{Client, checkout_path, purchase_path};
use crate::harness::database::Database;
use crate::harness::instance::Instance;
use crate::harness::sales::{Many, open_sales};
use crate::harness::{Dice, Program};

/// Items of the other installation: all that most buyers of ours want.
const ITEMS: usize = 60;
/// Sales at once, of one piece each of two items. They end by themselves.
const SALES: Many = Many { sales: 400, items: 2, seconds: 30.0 };
/// Buyers at a time, of each neighbour.
const BUYERS: usize = 16;
/// A buyer of the many sales waits for a response for this long.
const ONE_TRY: Duration = Duration::from_secs(3);

/// Another installation: its own database, but the same Redis and key prefix, in another database number. Publish and subscribe
/// ignore that number.
#[derive(Debug)]
pub(crate) struct Installation {
    instance: Instance,
    _database: Database,
}

impl Installation {
    /// Starts it, and sells all of its items. They have the numbers of some of ours, and its sale that of ours.
    pub(crate) async fn sell_out_beside(arena: &Arena) -> Self {
        let database = Database::create(arena.server()).await;
        let program = arena.direct.clone().variable("DATABASE_URL", &database.url);
        let mut redis = Url::parse(program.value("REDIS_URL")).unwrap();
        redis.set_path("/1");
        let program = program.variable("REDIS_URL", redis.as_str());
        let instance = Instance::listening(program.start(&["serve"])).await;
        instance.ready().await;
        let sale = create_sale(&program).await;
        stream::iter(1..=ITEMS)
            .for_each_concurrent(BUYERS, async |item| {
                let (buyer, item) = (format!("neighbour-{item}"), item.to_string());
                instance.client.buys(&sale, &buyer, &item).await;
            })
            .await;
        Self { instance, _database: database }
    }

    /// Stops it.
    pub(crate) async fn leave(mut self) {
        self.instance.process.signal(Signal::SIGTERM);
        assert_eq!(self.instance.process.exit().await, Some(0));
    }
}

async fn create_sale(program: &Program) -> String {
    let items = ITEMS.to_string();
    let create = ["sale", "create", "--items", &items, "--stock", "1", "--duration", "1h"];
    let created = program.run(&create).await.succeeded().documents().remove(0);
    created["sale_id"].as_str().unwrap().to_owned()
}

/// Buyers in many more sales.
#[derive(Debug)]
pub(crate) struct Bazaar {
    /// Each returns the buyers whose purchase was acknowledged.
    buyers: JoinSet<Vec<String>>,
    closing: CancellationToken,
}

impl Bazaar {
    /// Opens the sales.
    pub(crate) async fn open(arena: &Arena) -> Self {
        let sales = open_sales(arena.pool(), SALES).await;
        let closing = CancellationToken::new();
        let mut buyers = JoinSet::new();
        for place in 0..BUYERS {
            let (sales, clients, closing) = (sales.clone(), arena.clients(), closing.clone());
            buyers.spawn(async move {
                let (mut dice, mut acknowledged) = (Dice::new(place as u64), Vec::new());
                for number in 0.. {
                    if closing.is_cancelled() {
                        break;
                    }
                    let sale = &sales[dice.below(sales.len())];
                    let item = (dice.below(2) + 1).to_string();
                    let buyer = format!("of-{}-{place}-{number}", sales[0]);
                    let client = &clients[dice.below(clients.len())];
                    if buys(client, &checkout_path(sale, &buyer, &item)).await.is_some() {
                        acknowledged.push(buyer);
                    }
                }
                acknowledged
            });
        }
        Self { buyers, closing }
    }

    /// Stops the buyers. Fails the test if an acknowledged purchase is not in the database.
    pub(crate) async fn close(self, arena: &Arena) {
        self.closing.cancel();
        let acknowledged = self.buyers.join_all().await.concat();
        assert!(!acknowledged.is_empty(), "nothing was bought in many sales");
        let owned =
            "SELECT count(*) FROM purchase_items WHERE user_id = ANY($1) AND outcome = 'sold'";
        let owned: i64 =
            sqlx::query_scalar(owned).bind(&acknowledged).fetch_one(arena.pool()).await.unwrap();
        assert_eq!(owned, i64::try_from(acknowledged.len()).unwrap());
    }
}

/// A checkout and its purchase, each sent once. `None` unless both were acknowledged.
async fn buys(client: &Client, checkout: &str) -> Option<()> {
    let collected = client.attempt(Method::POST, checkout, ONE_TRY).await?;
    if collected.status != 200 {
        return None;
    }
    let purchase = purchase_path(&collected.checkout_code());
    let bought = client.attempt(Method::POST, &purchase, ONE_TRY).await?;
    (bought.status == 200).then_some(())
}
