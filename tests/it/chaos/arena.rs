//! Three instances on servers of their own, each behind ways of its own to PostgreSQL and to Redis, so that each can be
//! struck alone.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use redis::aio::MultiplexedConnection;
use reqwest::Url;
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::client::Client;
use crate::harness::database::Database;
use crate::harness::instance::Instance;
use crate::harness::proxy::Proxy;
use crate::harness::servers::PrivateServers;
use crate::harness::{Program, eventually};

/// Instances.
pub(crate) const INSTANCES: usize = 3;

/// Who rebuilds Redis' memory leads for two of these.
pub(crate) const SHORT_LEASE: (&str, &str) = ("redis.filter_interval", "2s");

/// An instance with its ways to the servers.
#[derive(Debug)]
pub(crate) struct Station {
    /// The running one.
    pub(crate) instance: Instance,
    /// The binary with its environment; it comes back to the same ports.
    program: Program,
    /// The way to PostgreSQL.
    pub(crate) to_postgres: Proxy,
    /// The way to Redis.
    pub(crate) to_redis: Proxy,
}

/// All of it. Fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct Arena {
    /// The instances.
    pub(crate) stations: Vec<Station>,
    database: Database,
    /// The way around the proxies.
    direct: Program,
    redis_url: String,
    /// The PostgreSQL of this arena.
    pub(crate) postgres: PrivateServers,
    /// The Redis of this arena.
    pub(crate) redis: PrivateServers,
}

impl Arena {
    /// Brings everything up. Leases are short, so that a stopped instance outlasts them.
    pub(crate) async fn open() -> Self {
        Self::with(&[SHORT_LEASE]).await
    }

    /// The same, with other values for configuration keys.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let (postgres, server) = PrivateServers::postgres();
        let (redis, redis_url) = PrivateServers::redis();
        let database = Database::create(&server).await;
        let direct = Program::new()
            .variable("DATABASE_URL", &database.url)
            .variable("REDIS_URL", &redis_url)
            .set("redis.key_prefix", &format!("it-{}:", Uuid::now_v7().simple()));
        let direct = settings.iter().fold(direct, |direct, (key, value)| direct.set(key, value));
        let mut stations = Vec::new();
        for _ in 0..INSTANCES {
            stations.push(Station::start(&direct, &database, &redis_url).await);
        }
        Self { stations, database, direct, redis_url, postgres, redis }
    }

    /// The clients of all instances; they stay good when an instance comes back.
    pub(crate) fn doors(&self) -> Vec<Client> {
        self.stations.iter().map(|station| station.instance.client.clone()).collect()
    }

    /// Runs the binary to its end, beside the instances; its documents.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        self.direct.run(arguments).await.succeeded().documents()
    }

    /// Creates a sale; its id.
    pub(crate) async fn create_sale(&self, options: &[&str]) -> String {
        let created = self.run(&[&["sale", "create"], options].concat()).await.remove(0);
        created["sale_id"].as_str().unwrap().to_owned()
    }

    /// Whether PostgreSQL is out of everybody's reach.
    pub(crate) fn part_from_postgres(&self, are_parted: bool) {
        for station in &self.stations {
            station.to_postgres.stall(are_parted);
        }
    }

    /// Our own way to the database.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// Says something to PostgreSQL, again and again until it takes it.
    pub(crate) async fn tell_postgres(&self, statements: &[&'static str]) {
        for statement in statements {
            eventually("postgresql takes it", async || {
                sqlx::raw_sql(*statement).execute(self.pool()).await.ok()
            })
            .await;
        }
    }

    /// The way to Redis with a password.
    pub(crate) fn redis_with_password(&self, password: &str) -> redis::Client {
        let mut url = Url::parse(&self.redis_url).unwrap();
        url.set_password(Some(password)).unwrap();
        redis::Client::open(url).unwrap()
    }

    /// Our own connection to Redis, as soon as it can be had.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.redis_url.as_str()).unwrap();
        let connect = async || client.get_multiplexed_async_connection().await.ok();
        eventually("redis answers", connect).await
    }
}

/// Where nobody listens now.
pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Station {
    async fn start(direct: &Program, database: &Database, redis_url: &str) -> Self {
        let mut redis = Url::parse(redis_url).unwrap();
        let redis_port = redis.port().unwrap_or(6379);
        let to_redis = Proxy::before(SocketAddr::from(([127, 0, 0, 1], redis_port))).await;
        redis.set_port(Some(to_redis.address.port())).unwrap();
        let to_postgres = Proxy::before(database.address()).await;
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

    /// Ends it by a signal, and waits until it is gone.
    pub(crate) async fn end(&mut self, signal: Signal) {
        self.instance.process.signal(signal);
        let code = self.instance.process.exit().await;
        let ended_well = if signal == Signal::SIGKILL { None } else { Some(0) };
        assert_eq!(code, ended_well, "an instance that was sent {signal}");
    }

    /// Starts it again, with more in its environment, at the same ports; waits until it can sell.
    pub(crate) async fn start_again(&mut self, variables: &[(&str, &str)]) {
        let more = |program: Program, (name, value): &(&str, &str)| program.variable(name, value);
        let program = variables.iter().fold(self.program.clone(), more);
        self.instance = Instance::listening(program.start(&["serve"])).await;
        self.instance.ready().await;
    }
}
