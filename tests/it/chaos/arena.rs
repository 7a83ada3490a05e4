//! Three instances on private servers. Each has proxies of its own to PostgreSQL and to Redis, so that a fault can affect one
//! instance alone.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use redis::aio::MultiplexedConnection;
use reqwest::Url;
use sqlx::PgPool;
use uuid::Uuid;

use super::growth::Growth;
use super::listener::Listener;
use crate::harness::client::Client;
use crate::harness::database::{Database, address_of};
use crate::harness::instance::Instance;
use crate::harness::redis_nodes::RedisCluster;
use crate::harness::servers::PrivateServers;
use crate::harness::standby::Standby;
use crate::harness::{Program, eventually, redis_server};
use crate::proxy::Proxy;

/// Number of instances.
pub(crate) const INSTANCES: usize = 3;

/// The lease of the instance that rebuilds the filter lasts for two of these intervals: a stopped instance outlasts it.
pub(crate) const SHORT_LEASE: (&str, &str) = ("redis.filter_interval", "2s");

/// An instance with its proxies.
#[derive(Debug)]
pub(crate) struct Station {
    /// The running instance.
    pub(crate) instance: Instance,
    /// Its binary and environment; it restarts on the same ports.
    program: Program,
    /// The proxy to PostgreSQL.
    pub(crate) to_postgres: Proxy,
    /// The proxy to Redis.
    pub(crate) to_redis: Proxy,
}

/// The instances and servers. Fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct Arena {
    /// The instances.
    pub(crate) stations: Vec<Station>,
    database: Database,
    /// A superuser's URL of the private PostgreSQL.
    server: String,
    /// The binary with an environment without proxies.
    pub(crate) direct: Program,
    redis_url: String,
    /// The epoch that the first failover began: commits are lost from then on.
    first_loss: Option<i64>,
    /// The private PostgreSQL.
    pub(crate) postgres: PrivateServers,
    /// The private Redis.
    pub(crate) redis: PrivateServers,
    /// What receives events of purchases, if the run has it.
    pub(crate) listener: Option<Listener>,
    /// What stands beside one PostgreSQL and one Redis, in a run of its own.
    pub(crate) growth: Option<Growth>,
}

impl Arena {
    /// Starts servers and instances, with a short lease, and a listener.
    pub(crate) async fn open() -> Self {
        let Some(listener) = Listener::start().await else {
            return Self::with(&[SHORT_LEASE]).await;
        };
        let settings = [
            SHORT_LEASE,
            ("jobs.enabled", "true"),
            ("events.nats.url", &listener.url),
            ("webhooks.allow_private", "true"),
        ];
        let arena = Self::with(&settings).await;
        let listener = listener.listens_to(&arena.direct).await;
        Self { listener: Some(listener), ..arena }
    }

    /// Starts servers and instances with these settings.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let mut arena = Self::without_instances(settings).await;
        arena.start_instances(arena.postgres_address()).await;
        arena
    }

    /// Starts instances on a Redis Cluster, with a replica, and behind a pooler.
    pub(crate) async fn grown() -> Self {
        let cluster = RedisCluster::start(true).await;
        let settings = [
            SHORT_LEASE,
            ("redis.mode", "cluster"),
            ("redis.nodes", &cluster.nodes()),
            ("database.pooler", "session"),
        ];
        let mut arena = Self::without_instances(&settings).await;
        let replica = Standby::of(&arena.postgres, |server| arena.database.on(server));
        replica.catches_up(arena.pool()).await;
        let answers_lists = arena.database.url_through(address_of(&replica.url));
        arena.direct = arena.direct.clone().set("database.replicas", &answers_lists);
        let (pooler, address) = Growth::pooler(&arena.postgres);
        arena.start_instances(address).await;
        arena.growth = Some(Growth::of(replica, cluster, pooler));
        arena
    }

    async fn start_instances(&mut self, postgres: SocketAddr) {
        for _ in 0..INSTANCES {
            let ways = (postgres, self.redis_url.as_str());
            self.stations.push(Station::start(&self.direct, &self.database, ways).await);
        }
    }

    async fn without_instances(settings: &[(&str, &str)]) -> Self {
        let (postgres, server) = PrivateServers::postgres();
        let (redis, redis_url) = PrivateServers::redis();
        let database = Database::create(&server).await;
        let direct = Program::new()
            .variable("DATABASE_URL", &database.url)
            .variable("REDIS_URL", &redis_url)
            .set("redis.key_prefix", &format!("it-{}:", Uuid::now_v7().simple()))
            // An instance that stops under load must have the time for it.
            .set("shutdown.drain", "2m")
            .set_all(settings);
        Self {
            stations: Vec::new(),
            database,
            server,
            direct,
            redis_url,
            first_loss: None,
            postgres,
            redis,
            listener: None,
            growth: None,
        }
    }

    /// The clients of all instances, which remain valid when an instance restarts.
    pub(crate) fn clients(&self) -> Vec<Client> {
        self.stations.iter().map(|station| station.instance.client.clone()).collect()
    }

    /// Runs a command beside the instances. Returns the documents that it prints.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        self.direct.run(arguments).await.succeeded().documents()
    }

    /// Creates a sale. Returns its id.
    pub(crate) async fn create_sale(&self, options: &[&str]) -> String {
        let created = self.run(&[&["sale", "create"], options].concat()).await.remove(0);
        created["sale_id"].as_str().unwrap().to_owned()
    }

    /// Audits the database. What failovers have lost is known, and nothing else may be lost.
    pub(crate) async fn verify(&self) {
        let known = "DELETE FROM lost_writes WHERE epoch >= $1";
        sqlx::query(known).bind(self.first_loss).execute(self.pool()).await.unwrap();
        assert!(!self.run(&["verify"]).await.is_empty());
    }

    /// A superuser's URL of the private PostgreSQL.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The address of the private PostgreSQL.
    pub(crate) fn postgres_address(&self) -> SocketAddr {
        self.database.address()
    }

    /// Starts a standby that lacks all commits from now on.
    pub(crate) async fn outdated_standby(&self) -> Standby {
        let standby = Standby::of(&self.postgres, |server| self.database.on(server));
        standby.catches_up(self.pool()).await;
        standby.is_cut_off().await;
        standby
    }

    /// Kills PostgreSQL, and leads all instances to the standby.
    pub(crate) async fn fail_over_to(&mut self, standby: Standby) {
        self.postgres.run("kill-postgres");
        standby.servers.run("promote-postgres");
        self.database = self.database.taken_over_by(&standby.url);
        // Of those that it has: another one may have begun since it was cut off.
        let next = "SELECT max(number) + 1 FROM epochs";
        let next: i64 = sqlx::query_scalar(next).fetch_one(self.pool()).await.unwrap();
        self.first_loss.get_or_insert(next);
        for station in &self.stations {
            station.to_postgres.move_to(self.database.address());
        }
        self.direct = self.direct.clone().variable("DATABASE_URL", &self.database.url);
        self.server = standby.url;
        self.postgres = standby.servers;
    }

    /// Starts or ends holding back all bytes between all instances and PostgreSQL.
    pub(crate) fn stall_postgres(&self, is_stalled: bool) {
        for station in &self.stations {
            station.to_postgres.stall(is_stalled);
        }
    }

    /// The test's own connections to the database.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// The channel on which instances announce sold-out items.
    pub(crate) fn notification_channel(&self) -> String {
        format!("{}news", self.direct.value("FLASH_SALE__REDIS__KEY_PREFIX"))
    }

    /// Runs these statements, each until PostgreSQL accepts it.
    pub(crate) async fn run_in_postgres(&self, statements: &[&'static str]) {
        for statement in statements {
            eventually("postgresql accepts the statement", async || {
                sqlx::raw_sql(*statement).execute(self.pool()).await.ok()
            })
            .await;
        }
    }

    /// The test's own connection to Redis, with a password.
    pub(crate) async fn redis_with_password(&self, password: &str) -> MultiplexedConnection {
        let mut url = Url::parse(&self.redis_url).unwrap();
        url.set_password(Some(password)).unwrap();
        connection(url.as_str()).await
    }

    /// The test's own connection to Redis.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        connection(&self.redis_url).await
    }
}

/// Connects as soon as Redis accepts connections.
async fn connection(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    eventually("redis answers", async || redis_server::connect(&client).await.ok()).await
}

/// An address whose port is closed now.
pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Station {
    async fn start(
        direct: &Program,
        database: &Database,
        (postgres, redis): (SocketAddr, &str),
    ) -> Self {
        let mut redis = Url::parse(redis).unwrap();
        let redis_port = redis.port().unwrap_or(6379);
        let to_redis = Proxy::before(SocketAddr::from(([127, 0, 0, 1], redis_port))).unwrap();
        redis.set_port(Some(to_redis.address.port())).unwrap();
        let to_postgres = Proxy::before(postgres).unwrap();
        let program = direct
            .clone()
            .variable("DATABASE_URL", &database.url_through(to_postgres.address))
            .variable("REDIS_URL", redis.as_str());
        let instance = Instance::listening(program.start(&["serve"])).await;
        instance.ready().await;
        let program = program
            .set("http.port", &instance.client.address.port().to_string())
            .set("monitoring.port", &instance.monitor.address.port().to_string());
        Self { instance, program, to_postgres, to_redis }
    }

    /// Leads its connections to PostgreSQL to another address, where they begin anew.
    pub(crate) fn reach_postgres_at(&self, address: SocketAddr) {
        self.to_postgres.move_to(address);
        self.to_postgres.cut();
    }

    /// Sends a signal and waits until it has ended.
    pub(crate) async fn end(&mut self, signal: Signal) {
        self.instance.process.signal(signal);
        let code = self.instance.process.exit().await;
        let expected = if signal == Signal::SIGKILL { None } else { Some(0) };
        assert_eq!(code, expected, "an instance that was sent {signal}");
    }

    /// Restarts it on the same ports with these additional variables, and waits until it is ready.
    pub(crate) async fn start_again(&mut self, variables: &[(&str, &str)]) {
        let more = |program: Program, (name, value): &(&str, &str)| program.variable(name, value);
        let program = variables.iter().fold(self.program.clone(), more);
        self.instance = Instance::listening(program.start(&["serve"])).await;
        self.instance.ready().await;
    }
}
