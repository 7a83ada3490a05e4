//! Servers beside the suite's own: a pooler before its PostgreSQL, a standby of it, and a Redis Cluster.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::environment::Environment;
use crate::outcome::Outcome;

/// Maximum wait for a server.
const PATIENCE: Duration = Duration::from_secs(30);
/// Masters of the cluster.
const MASTERS: usize = 3;
/// A node of a cluster listens on two ports; the second is this much higher.
const BUS: u16 = 10_000;

/// A server that `scripts/services.sh` starts and stops.
#[derive(Debug)]
pub(crate) struct FurtherServer {
    services: PathBuf,
    folder: PathBuf,
    /// What is between the user and the name of the database in its URL.
    pub(crate) address: String,
    /// What follows that name.
    pub(crate) parameters: String,
}

impl FurtherServer {
    /// A `PgBouncer` in session mode before the suite's PostgreSQL.
    pub(crate) fn pooler(environment: &Environment) -> Outcome<Self> {
        Self::start(environment, "up-strict-pooler")
    }

    /// A streaming standby of the suite's PostgreSQL.
    pub(crate) fn standby(environment: &Environment) -> Outcome<Self> {
        Self::start(environment, "up-standby")
    }

    fn start(environment: &Environment, verb: &str) -> Outcome<Self> {
        let options = &environment.options;
        let (Some(services), Some(servers)) = (&options.services, &options.servers) else {
            return Err("--services and --servers are missing: run `make bench`".into());
        };
        let folder = environment.folder.join(verb);
        let started = Command::new(services)
            .arg(verb)
            .args([&folder, servers])
            .stdin(Stdio::null())
            .output()?;
        let (services, none) = (services.clone(), String::new());
        let mut server = Self { services, folder, address: none.clone(), parameters: none };
        if !started.status.success() {
            return Err(String::from_utf8_lossy(&started.stderr).trim().to_owned().into());
        }
        let exports = String::from_utf8(started.stdout)?;
        let url = exports.lines().find(|line| line.contains("DATABASE_URL="));
        let (_, rest) = url.and_then(|url| url.split_once('@')).ok_or("the server has no URL")?;
        let rest = rest.trim_end_matches(['\'', '"']);
        let (address, database) = rest.split_once('/').ok_or("the URL names no database")?;
        let parameters = database.find('?').map_or("", |start| &database[start..]);
        address.clone_into(&mut server.address);
        parameters.clone_into(&mut server.parameters);
        Ok(server)
    }
}

impl Drop for FurtherServer {
    fn drop(&mut self) {
        let _ = Command::new(&self.services)
            .arg("down")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .status();
    }
}

/// Masters that share the keys. They are killed when dropped.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    nodes: Vec<Child>,
    ports: Vec<u16>,
}

impl RedisCluster {
    /// Starts three masters without replicas, which keep nothing on disk.
    pub(crate) fn start(environment: &Environment) -> Outcome<Self> {
        let mut cluster = Self { nodes: Vec::new(), ports: Vec::new() };
        for _ in 0..MASTERS {
            let port = free_port()?;
            let folder = environment.folder.join(format!("redis-{port}"));
            std::fs::create_dir_all(&folder)?;
            let node = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
                .args(["--appendonly", "no", "--cluster-enabled", "yes", "--dir"])
                .arg(&folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()?;
            cluster.nodes.push(node);
            cluster.ports.push(port);
        }
        let end = Instant::now() + PATIENCE;
        while !cluster.ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
            if Instant::now() > end {
                return Err("a node of the cluster does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let nodes = cluster.nodes();
        let joined = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(nodes.split(','))
            .arg("--cluster-yes")
            .stdin(Stdio::null())
            .output()?;
        if !joined.status.success() {
            return Err(String::from_utf8_lossy(&joined.stdout).trim().to_owned().into());
        }
        Ok(cluster)
    }

    /// For `redis.nodes`.
    pub(crate) fn nodes(&self) -> String {
        let nodes = self.ports.iter().map(|port| format!("127.0.0.1:{port}"));
        nodes.collect::<Vec<_>>().join(",")
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// A port that is free, as is the one of its bus.
fn free_port() -> Outcome<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = 20_000 + u16::try_from(std::process::id() % 10_000)?;
    // Below the ports that the system gives to clients.
    let free = (first..first + 2_000).find(|port| is_free(*port) && is_free(port + BUS));
    free.ok_or_else(|| "there is no free port".into())
}
