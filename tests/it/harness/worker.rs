//! Processes that only run jobs, and commands about jobs.

use serde_json::Value;

use super::client::Client;
use super::eventually::eventually;
use super::instance::announced;
use super::metrics::Metrics;
use super::process::Process;
use super::world::World;

/// A running `flash-sale worker`.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its process.
    pub(crate) process: Process,
    /// A client of `monitoring.port`.
    pub(crate) monitor: Client,
    /// Its name, which jobs have as their worker.
    pub(crate) name: String,
}

impl Worker {
    /// Its metrics.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.monitor.get("/metrics").await.is(200).body)
    }
}

impl World {
    /// Starts a worker, and waits until it is ready.
    pub(crate) async fn worker(&self) -> Worker {
        self.worker_with(&[]).await
    }

    /// The same with these variables in its environment.
    pub(crate) async fn worker_with(&self, variables: &[(&str, &str)]) -> Worker {
        let program = variables
            .iter()
            .fold(self.program.clone(), |program, (name, value)| program.variable(name, value));
        let mut process = program.start(&["worker"]);
        let (address, name) = eventually("a worker is ready", async || {
            assert!(!process.has_ended(), "a worker ended while it started");
            let address = announced(&process, "monitoring")?;
            let records = process.stderr.records();
            let ready = records.iter().find(|record| record["message"] == "ready")?;
            Some((address, ready["instance"].as_str()?.to_owned()))
        })
        .await;
        Worker { process, monitor: Client::new(address), name }
    }

    /// What a command prints, such as `job show 7`; it must succeed.
    pub(crate) async fn prints(&self, command: &str) -> Value {
        self.printed(&command.split(' ').collect::<Vec<_>>()).await
    }

    /// The same with arguments that contain spaces.
    pub(crate) async fn printed(&self, arguments: &[&str]) -> Value {
        let ran = self.program.run(arguments).await.succeeded();
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
    }

    /// Enqueues a job with these options. Returns its number.
    pub(crate) async fn enqueue(&self, job_type: &str, options: &[&str]) -> i64 {
        let arguments = [&["job", "enqueue", job_type], options].concat();
        self.printed(&arguments).await["id"].as_i64().unwrap()
    }

    /// Waits until a job is in this state, and returns it.
    pub(crate) async fn job_is(&self, id: i64, state: &str) -> Value {
        let stored = match state {
            "waiting" => "available",
            "running" => "running",
            "retrying" => "retryable",
            "dead" => "discarded",
            "done" => "completed",
            other => other,
        };
        eventually(&format!("job {id} is {state}"), async || {
            let is = "SELECT state::text FROM river_job WHERE id = $1";
            let is: String = sqlx::query_scalar(is).bind(id).fetch_one(self.pool()).await.unwrap();
            (is == stored).then_some(())
        })
        .await;
        let job = self.prints(&format!("job show {id}")).await;
        assert_eq!(job["state"], state, "{job}");
        job
    }
}
