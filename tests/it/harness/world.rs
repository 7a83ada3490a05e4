//! A world: some instances of the service on a database and a key prefix of their own.

use nix::sys::signal::Signal;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::client::{Answer, Client};
use super::database::Database;
use super::eventually::until;
use super::instance::Instance;
use super::metrics::Metrics;
use super::process::Process;
use super::program::Program;
use super::proxy::Proxy;
use super::servers::{PrivateServers, Urls};

/// Remaining items of a sale that are really bought to see that they can be.
const SAMPLE: usize = 5;

/// How a world shall be.
#[derive(Debug)]
pub(crate) struct Plan {
    instances: usize,
    program: Program,
    private_postgres: bool,
    private_redis: bool,
    through_a_proxy: bool,
}

/// The instances, and what they stand on. Fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct World {
    /// The running instances.
    pub(crate) instances: Vec<Instance>,
    /// The binary with the environment that they share.
    pub(crate) program: Program,
    /// Prefix of all their Redis keys.
    pub(crate) key_prefix: String,
    /// This test's own PostgreSQL, if it asked for one.
    pub(crate) postgres_server: Option<PrivateServers>,
    /// This test's own Redis, if it asked for one.
    pub(crate) redis_server: Option<PrivateServers>,
    /// What stands between the instances and PostgreSQL, if the test asked for it.
    pub(crate) proxy: Option<Proxy>,
    database: Database,
    redis_url: String,
}

impl Plan {
    /// With another value for a configuration key.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.program = self.program.set(key, value);
        self
    }

    /// With a PostgreSQL that may be killed.
    pub(crate) fn private_postgres(mut self) -> Self {
        self.private_postgres = true;
        self
    }

    /// With a Redis that may be flushed and killed.
    pub(crate) fn private_redis(mut self) -> Self {
        self.private_redis = true;
        self
    }

    /// With a proxy before PostgreSQL that may fall silent.
    pub(crate) fn through_a_proxy(mut self) -> Self {
        self.through_a_proxy = true;
        self
    }

    /// Starts all instances at once, on an empty database, and waits until they are ready.
    pub(crate) async fn start(self) -> World {
        let mut urls = Urls::shared();
        let postgres_server = self.private_postgres.then(|| {
            let (server, url) = PrivateServers::postgres();
            urls.database = url;
            server
        });
        let redis_server = self.private_redis.then(|| {
            let (server, url) = PrivateServers::redis();
            urls.redis = url;
            server
        });
        let database = Database::create(&urls.database).await;
        let key_prefix = format!("it-{}:", Uuid::now_v7().simple());
        let mut proxy = None;
        let mut database_url = database.url.clone();
        if self.through_a_proxy {
            let standing = Proxy::before(database.address()).await;
            database_url = database.url_through(standing.address);
            proxy = Some(standing);
        }
        let program = self
            .program
            .variable("DATABASE_URL", &database_url)
            .variable("REDIS_URL", &urls.redis)
            .set("redis.key_prefix", &key_prefix);
        let redis_url = urls.redis;
        let instances = Vec::new();
        let mut world = World {
            instances,
            program,
            key_prefix,
            postgres_server,
            redis_server,
            proxy,
            database,
            redis_url,
        };
        world.start(self.instances).await;
        world
    }
}

impl World {
    /// A world with this many instances.
    pub(crate) async fn of(instances: usize) -> Self {
        Self::plan(instances).start().await
    }

    /// The same, to be changed before it starts.
    pub(crate) fn plan(instances: usize) -> Plan {
        Plan {
            instances,
            program: Program::new(),
            private_postgres: false,
            private_redis: false,
            through_a_proxy: false,
        }
    }

    /// Starts more instances, all at once.
    pub(crate) async fn start(&mut self, count: usize) {
        let starting: Vec<Process> = (0..count).map(|_| self.program.start(&["serve"])).collect();
        for process in starting {
            self.adopt(process).await;
        }
        for instance in &self.instances {
            instance.ready().await;
        }
    }

    /// Takes in an instance that was started otherwise, as soon as it listens.
    pub(crate) async fn adopt(&mut self, process: Process) {
        self.instances.push(Instance::listening(process).await);
    }

    /// Stops all instances as an operator does; each must end well.
    pub(crate) async fn stop(&mut self) {
        for instance in &self.instances {
            instance.process.signal(Signal::SIGTERM);
        }
        for mut instance in self.instances.drain(..) {
            assert_eq!(instance.process.exit().await, Some(0), "an instance did not end well");
        }
    }

    /// Stops all instances and starts as many again.
    pub(crate) async fn restart(&mut self) {
        let count = self.instances.len();
        self.stop().await;
        self.start(count).await;
    }

    /// The client of an instance.
    pub(crate) fn at(&self, instance: usize) -> &Client {
        &self.instances[instance].client
    }

    /// The clients of all instances.
    pub(crate) fn clients(&self) -> Vec<Client> {
        self.instances.iter().map(|instance| instance.client.clone()).collect()
    }

    /// The test's own way to the database.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// The test's own connection to Redis.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.redis_url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Creates a sale as an operator does, such as `--items 100 --stock 1`; its id.
    pub(crate) async fn create_sale(&self, options: &str) -> String {
        let arguments: Vec<&str> =
            ["sale", "create"].into_iter().chain(options.split(' ')).collect();
        let created = self.program.run(&arguments).await.succeeded();
        let sale = created.documents().remove(0)["sale_id"].take();
        sale.as_str().unwrap().to_owned()
    }

    /// What the first instance tells about a sale.
    pub(crate) async fn sale(&self, sale: &str) -> Value {
        self.at(0).get(&format!("/sales/{sale}")).await.is(200).json()
    }

    /// Waits until a sale is in a state.
    pub(crate) async fn sale_is(&self, sale: &str, state: &str) {
        until(&format!("{sale} is {state}"), async || self.sale(sale).await["state"] == state)
            .await;
    }

    /// Waits until exactly so many pieces are told as sold.
    pub(crate) async fn sells_exactly(&self, sale: &str, pieces: usize) {
        until(&format!("{pieces} pieces are sold"), async || {
            self.sale(sale).await["sold"] == pieces
        })
        .await;
    }

    /// The numbers of an instance.
    pub(crate) async fn metrics(&self, instance: usize) -> Metrics {
        Metrics::parse(&self.instances[instance].monitor.get("/metrics").await.is(200).body)
    }

    /// Passes if `flash-sale verify` finds every promise kept.
    pub(crate) async fn verify(&self) {
        let audit = self.program.run(&["verify"]).await.succeeded();
        assert!(!audit.documents().is_empty(), "{audit}");
    }

    /// Passes if no piece of the sale is lost: all are sold, or can be bought now, of which a sample is.
    pub(crate) async fn every_piece_is_sold_or_buyable(&self, sale: &str, pieces: usize) {
        let told = self.sale(sale).await;
        let (sold, remaining) = (told["sold"].as_u64(), told["remaining"].as_u64());
        assert_eq!(sold.unwrap() + remaining.unwrap(), u64::try_from(pieces).unwrap(), "{told}");
        let left = format!("/sales/{sale}/items?available=true&limit={SAMPLE}");
        let left: Answer = self.at(0).get(&left).await.is(200);
        for item in left.at("/data").as_array().unwrap() {
            let item = item["id"].as_str().unwrap();
            self.at(0).buys(sale, &format!("sample-{item}"), item).await;
        }
    }
}
