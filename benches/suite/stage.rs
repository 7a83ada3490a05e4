//! A stage: an empty database and an empty Redis with running instances, for one run.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::Outcome;
use crate::client::Client;
use crate::database::{self, Database};
use crate::instance::Instance;
use crate::program::Program;
use crate::suite::Suite;
use crate::usage::Parties;

/// Makes names of databases and key prefixes.
static STAGES: AtomicU64 = AtomicU64::new(0);

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cast {
    /// So many instances of the service.
    Service(usize),
    /// The service with a transaction a request.
    Direct,
}

/// Terms of a sale.
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
    parties: Parties,
}

impl Terms {
    /// Ten thousand items of which nobody can buy the last piece: selling does not change what is sold.
    pub(crate) const PLENTY: Self = Self { items: 10_000, stock: 1_000_000, buyer_limit: 1_000 };
}

impl Stage {
    /// Starts instances on an empty database.
    pub(crate) fn open(suite: &Suite, cast: Cast) -> Outcome<Self> {
        Self::open_with(suite, cast, |program, _| Ok(program))
    }

    /// The same with a change to the environment of the instances.
    pub(crate) fn open_with(
        suite: &Suite,
        cast: Cast,
        change: impl FnOnce(Program, &Database) -> Outcome<Program>,
    ) -> Outcome<Self> {
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        suite.servers.empty_redis()?;
        let database = Database::create(&suite.servers.database_url, &format!("bench_{number}"))?;
        let program = suite
            .program()
            .variable("DATABASE_URL", &database.url)
            .set("redis.key_prefix", &format!("bench-{number}:"));
        program.run(&["migrate"])?;
        let serving = change(program.clone(), &database)?;
        let (serving, role, count) = match cast {
            Cast::Service(count) => (serving, "serve", count),
            Cast::Direct => (serving.binary(std::env::current_exe()?), "direct", 1),
        };
        let log = |at: usize| suite.folder.join(format!("{role}-{number}-{at}.log"));
        let instances = (0..count).map(|at| Instance::start(&serving, role, &log(at)));
        let instances = instances.collect::<Outcome<Vec<_>>>()?;
        let parties = suite.servers.parties(instances.iter().map(Instance::process).collect());
        Ok(Self { instances, program, database, parties })
    }

    /// Whose CPU time counts.
    pub(crate) fn parties(&self) -> &Parties {
        &self.parties
    }

    /// Creates a sale that is open for an hour; its id.
    pub(crate) fn sale(&self, terms: Terms) -> Outcome<String> {
        self.sale_lasting(terms, "1h")
    }

    /// Creates a sale that is open for so long.
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
        // The pages that it made shall not be the run's I/O.
        database::execute(&self.database.url, "CHECKPOINT")?;
        Ok(sale)
    }

    /// A connection to the first instance.
    pub(crate) fn client(&self) -> Outcome<Client> {
        let first = self.instances.first().ok_or("a stage without instances")?;
        Client::connect(first.http)
    }

    /// Pieces that the service says were sold.
    pub(crate) fn sold(&self, sale: &str) -> Outcome<u64> {
        let told = self.client()?.get(&format!("/sales/{sale}"))?.expect(200)?.json()?;
        told["sold"].as_u64().ok_or_else(|| format!("{sale} does not say what is sold").into())
    }

    /// Every promise must hold, and every instance must end in order.
    pub(crate) fn close(mut self, sale: &str) -> Outcome<()> {
        self.program.run(&["verify", "--sale", sale])?;
        self.instances.drain(..).try_for_each(Instance::stop)
    }
}
