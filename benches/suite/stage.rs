//! A stage: an empty database and an empty Redis with running instances, for one run.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::client::Client;
use crate::database::{self, Database};
use crate::environment::Environment;
use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::program::Program;
use crate::usage::Processes;

/// Number of the next stage, for the names of databases and key prefixes.
static STAGES: AtomicU64 = AtomicU64::new(0);

/// What serves the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// This many instances of the service.
    Service(usize),
    /// One instance with a transaction for each request.
    Direct,
}

/// The size of a sale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) items: u32,
    /// Pieces of each item.
    pub(crate) stock: u32,
    pub(crate) buyer_limit: u32,
}

/// Running instances on a database of their own. Fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) instances: Vec<Instance>,
    /// The service's binary, for its commands.
    pub(crate) program: Program,
    pub(crate) database: Database,
    processes: Processes,
}

impl Terms {
    /// Ten thousand items that cannot sell out: selling does not change what can be sold.
    pub(crate) const PLENTY: Self = Self { items: 10_000, stock: 1_000_000, buyer_limit: 1_000 };
}

impl Stage {
    /// Starts instances on an empty database.
    pub(crate) fn open(environment: &Environment, topology: Topology) -> Outcome<Self> {
        Self::open_with(environment, topology, |program, _| Ok(program))
    }

    /// Starts instances with a change to their environment.
    pub(crate) fn open_with(
        environment: &Environment,
        topology: Topology,
        change: impl FnOnce(Program, &Database) -> Outcome<Program>,
    ) -> Outcome<Self> {
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        environment.servers.empty_redis()?;
        let database =
            Database::create(&environment.servers.database_url, &format!("bench_{number}"))?;
        let program = environment
            .program()
            .variable("DATABASE_URL", &database.url)
            .set("redis.key_prefix", &format!("bench-{number}:"));
        program.run(&["migrate"])?;
        let serving = change(program.clone(), &database)?;
        let (serving, role, count) = match topology {
            Topology::Service(count) => (serving, "serve", count),
            Topology::Direct => (serving.binary(std::env::current_exe()?), "direct", 1),
        };
        let log = |at: usize| environment.folder.join(format!("{role}-{number}-{at}.log"));
        let instances = (0..count).map(|at| Instance::start(&serving, role, &log(at)));
        let instances = instances.collect::<Outcome<Vec<_>>>()?;
        let processes =
            environment.servers.processes(instances.iter().map(Instance::process).collect());
        Ok(Self { instances, program, database, processes })
    }

    /// The processes whose CPU time counts.
    pub(crate) fn processes(&self) -> &Processes {
        &self.processes
    }

    /// Creates a sale that lasts an hour. Returns its id.
    pub(crate) fn sale(&self, terms: Terms) -> Outcome<String> {
        self.sale_lasting(terms, "1h")
    }

    /// Creates a sale that lasts this long. Returns its id.
    pub(crate) fn sale_lasting(&self, terms: Terms, duration: &str) -> Outcome<String> {
        let (items, stock) = (terms.items.to_string(), terms.stock.to_string());
        let limit = terms.buyer_limit.to_string();
        let created = self.program.run(&[
            "sale",
            "create",
            "--items",
            &items,
            "--stock",
            &stock,
            "--buyer-limit",
            &limit,
            "--duration",
            duration,
            "--output",
            "json",
        ])?;
        let created: Value = serde_json::from_str(&created)?;
        let sale = created["sale_id"].as_str().ok_or("`sale create` names no sale")?.to_owned();
        // So that writing its pages is not part of the run's I/O.
        database::execute(&self.database.url, "CHECKPOINT")?;
        Ok(sale)
    }

    /// A connection to the first instance.
    pub(crate) fn client(&self) -> Outcome<Client> {
        let first = self.instances.first().ok_or("a stage without instances")?;
        Client::connect(first.http)
    }

    /// Number of sold pieces, by the service.
    pub(crate) fn sold(&self, sale: &str) -> Outcome<u64> {
        let read = self.client()?.get(&format!("/sales/{sale}"))?.expect(200)?.json()?;
        read["sold"].as_u64().ok_or_else(|| format!("{sale} has no number of sold pieces").into())
    }

    /// Verifies every promise, and stops every instance in order.
    pub(crate) fn close(self, sale: &str) -> Outcome<()> {
        self.program.run(&["verify", "--sale", sale])?;
        self.stop()
    }

    /// Verifies every promise in all sales, and stops every instance in order.
    pub(crate) fn close_all(self) -> Outcome<()> {
        self.program.run(&["verify"])?;
        self.stop()
    }

    fn stop(mut self) -> Outcome<()> {
        self.instances.drain(..).try_for_each(Instance::stop)
    }
}
