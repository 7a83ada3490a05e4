//! A world: some instances of the service on a database and a key prefix of their own.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use super::client::{Answer, Client};
use super::database::{Database, address_of};
use super::eventually::until;
use super::instance::Instance;
use super::metrics::Metrics;
use super::process::Process;
use super::redis_server;
use super::servers::{PrivateServers, Urls};
use crate::program::Program;
use crate::proxy::Proxy;

/// Remaining items of a sale that are bought to show that they can be.
const SAMPLE: usize = 5;
/// A sale lasts this many times as long as a command and a request take.
const PACES: u32 = 10;

/// Time limits of the service that no machine reaches, however slow. A test about one of these limits sets its own.
pub(crate) const PATIENT: [(&str, &str); 12] = [
    ("http.request_timeout", "1m"),
    ("http.body_read_timeout", "1m"),
    ("monitoring.check_timeout", "1m"),
    ("batch.queue_timeout", "1m"),
    ("batch.wait_limit", "1m"),
    ("database.connect_timeout", "1m"),
    ("database.statement_timeout", "1m"),
    ("database.lock_timeout", "30s"),
    ("redis.connect_timeout", "10s"),
    ("redis.response_timeout", "10s"),
    ("redis.lock_wait", "1m"),
    ("shutdown.drain", "2m"),
];

/// How a world is built.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is chosen for itself")]
pub(crate) struct Plan {
    instances: usize,
    program: Program,
    private_postgres: bool,
    private_redis: bool,
    through_a_proxy: bool,
    empty_database: bool,
}

/// The instances, and what they are built on. Fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct World {
    /// The running instances.
    pub(crate) instances: Vec<Instance>,
    /// The binary with the environment that they share.
    pub(crate) program: Program,
    /// The prefix of all their Redis keys.
    pub(crate) key_prefix: String,
    /// The test's private PostgreSQL, if it has one.
    pub(crate) postgres_server: Option<PrivateServers>,
    /// The test's private Redis, if it has one.
    pub(crate) redis_server: Option<PrivateServers>,
    /// The proxy between the instances and PostgreSQL, if there is one.
    pub(crate) proxy: Option<Proxy>,
    database: Database,
    redis_url: String,
}

impl Plan {
    /// Sets a configuration key.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.program = self.program.set(key, value);
        self
    }

    /// Sets configuration keys.
    pub(crate) fn set_all(mut self, settings: &[(&str, &str)]) -> Self {
        self.program = self.program.set_all(settings);
        self
    }

    /// With a private PostgreSQL, which may be killed.
    pub(crate) fn private_postgres(mut self) -> Self {
        self.private_postgres = true;
        self
    }

    /// With a private Redis, which may be flushed and killed.
    pub(crate) fn private_redis(mut self) -> Self {
        self.private_redis = true;
        self
    }

    /// With a proxy in front of PostgreSQL.
    pub(crate) fn through_a_proxy(mut self) -> Self {
        self.through_a_proxy = true;
        self
    }

    /// With a database without a schema.
    pub(crate) fn empty_database(mut self) -> Self {
        self.empty_database = true;
        self
    }

    /// Starts all instances concurrently, on a database without sales, and waits until they are ready.
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
        let program = if self.private_redis {
            redis_settings().iter().fold(self.program, |program, (key, _)| {
                program.without(&format!("FLASH_SALE__{}", key.to_uppercase().replace('.', "__")))
            })
        } else {
            self.program
        };
        let database = if self.empty_database || postgres_server.is_some() {
            Database::create(&urls.database).await
        } else {
            Database::migrated(&urls.database, &Program::new()).await
        };
        let key_prefix = format!("it-{}:", Uuid::now_v7().simple());
        let mut proxy = None;
        let mut database_url = database.url.clone();
        if self.through_a_proxy {
            let started = Proxy::before(database.address()).unwrap();
            database_url = database.url_through(started.address);
            proxy = Some(started);
        }
        let program = program
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

/// How instances find the shared Redis where `make redis-modes` has made it a cluster, or has put Sentinels beside it.
fn redis_settings() -> Vec<(String, String)> {
    let settings = std::env::var_os("FLASH_SALE_TEST_REDIS_SETTINGS").unwrap_or_default();
    let settings = settings.into_string().unwrap();
    let settings = settings.split_whitespace().filter_map(|setting| setting.split_once('='));
    settings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl World {
    /// A world with this many instances.
    pub(crate) async fn of(instances: usize) -> Self {
        Self::plan(instances).start().await
    }

    /// A plan of this many instances, to be changed before it starts.
    pub(crate) fn plan(instances: usize) -> Plan {
        Plan {
            instances,
            program: redis_settings()
                .iter()
                .fold(Program::new().set_all(&PATIENT), |program, (key, value)| {
                    program.set(key, value)
                }),
            private_postgres: false,
            private_redis: false,
            through_a_proxy: false,
            empty_database: false,
        }
    }

    /// Starts more instances, all concurrently.
    pub(crate) async fn start(&mut self, count: usize) {
        let starting: Vec<Process> = (0..count).map(|_| self.program.start(&["serve"])).collect();
        for process in starting {
            self.adopt(process).await;
        }
        for instance in &self.instances {
            instance.ready().await;
        }
    }

    /// Adds an instance that the test has started itself, as soon as it listens.
    pub(crate) async fn adopt(&mut self, process: Process) {
        self.instances.push(Instance::listening(process).await);
    }

    /// Stops all instances with `SIGTERM`. Each must exit with code 0.
    pub(crate) async fn stop(&mut self) {
        for instance in &self.instances {
            instance.process.signal(Signal::SIGTERM);
        }
        for mut instance in self.instances.drain(..) {
            assert_eq!(instance.process.exit().await, Some(0), "an instance did not stop in order");
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

    /// The test's own connections to the database.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// The test's own connections to the same database on another server, such as a standby.
    pub(crate) fn pool_on(&self, server: &str) -> PgPool {
        self.database.on(server)
    }

    /// The URL of the test's database through another address, such as that of a replica.
    pub(crate) fn url_through(&self, address: SocketAddr) -> String {
        self.database.url_through(address)
    }

    /// The URL of this database through another server, such as a pooler.
    pub(crate) fn through(&self, server: &str) -> String {
        self.database.url_through(address_of(server))
    }

    /// The TCP address of PostgreSQL, without a proxy.
    pub(crate) fn postgres_address(&self) -> SocketAddr {
        self.database.address()
    }

    /// The test's own connection to Redis.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.redis_url.as_str()).unwrap();
        redis_server::connect(&client).await.unwrap()
    }

    /// The URL of Redis as clients of other languages write it.
    pub(crate) fn redis_url_for_clients(&self) -> String {
        self.redis_url.replace("redis+unix://", "unix://")
    }

    /// Creates a sale with `sale create` and these options, such as `--items 100 --stock 1`. Returns its id.
    pub(crate) async fn create_sale(&self, options: &str) -> String {
        let arguments: Vec<&str> =
            ["sale", "create"].into_iter().chain(options.split(' ')).collect();
        let created = self.program.run(&arguments).await.succeeded();
        let sale = created.documents().remove(0)["sale_id"].take();
        sale.as_str().unwrap().to_owned()
    }

    /// Ends a sale now.
    pub(crate) async fn end(&self, sale: &str) {
        self.program.run(&["sale", "end", sale]).await.succeeded();
    }

    /// What `attempt` does with a duration for a sale's options that is over soon. It returns `None` if it was over too soon, because
    /// the machine stood still, and is tried again with a longer one.
    pub(crate) async fn in_time<T>(&self, attempt: impl AsyncFn(String) -> Option<T>) -> T {
        for at_least in [3, 6, 12, 24] {
            let brief = self.seconds(at_least).await;
            if let Some(done) = attempt(brief).await {
                return done;
            }
        }
        panic!("the machine is too slow");
    }

    /// A duration for a sale's options: at least this many seconds, and enough for several requests on this machine.
    pub(crate) async fn seconds(&self, at_least: u64) -> String {
        let began = Instant::now();
        self.program.run(&["sale", "list"]).await.succeeded();
        self.at(0).get("/sales/active").await.is(200);
        let long = Duration::from_secs(at_least).max(began.elapsed() * PACES);
        format!("{}ms", long.as_millis())
    }

    /// A sale as the first instance returns it.
    pub(crate) async fn sale(&self, sale: &str) -> Value {
        self.at(0).get(&format!("/sales/{sale}")).await.is(200).json()
    }

    /// Waits until a sale has this state.
    pub(crate) async fn sale_is(&self, sale: &str, state: &str) {
        until(&format!("{sale} is {state}"), async || self.sale(sale).await["state"] == state)
            .await;
    }

    /// Waits until the first instance counts exactly this many pieces as sold.
    pub(crate) async fn sells_exactly(&self, sale: &str, pieces: usize) {
        until(&format!("{pieces} pieces are sold"), async || {
            self.sale(sale).await["sold"] == pieces
        })
        .await;
    }

    /// The metrics of an instance.
    pub(crate) async fn metrics(&self, instance: usize) -> Metrics {
        Metrics::parse(&self.instances[instance].monitor.get("/metrics").await.is(200).body)
    }

    /// Fails the test unless `flash-sale verify` finds every promise kept.
    pub(crate) async fn verify(&self) {
        let audit = self.program.run(&["verify"]).await.succeeded();
        assert!(!audit.documents().is_empty(), "{audit}");
    }

    /// Fails the test if a piece of the sale is lost: each is sold or can be bought now. A sample of the latter is bought.
    pub(crate) async fn every_piece_is_sold_or_buyable(&self, sale: &str, pieces: usize) {
        let read = self.sale(sale).await;
        let (sold, remaining) = (read["sold"].as_u64(), read["remaining"].as_u64());
        assert_eq!(sold.unwrap() + remaining.unwrap(), u64::try_from(pieces).unwrap(), "{read}");
        let left = format!("/sales/{sale}/items?available=true&limit={SAMPLE}");
        let left: Answer = self.at(0).get(&left).await.is(200);
        for item in left.at("/data").as_array().unwrap() {
            let item = item["id"].as_str().unwrap();
            self.at(0).buys(sale, &format!("sample-{item}"), item).await;
        }
    }
}
