//! Redis servers that a test starts itself: nodes of a cluster, a master with its replicas, Sentinels. Each has a folder of its own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

use super::eventually::until;
use super::process::Process;
use super::redis_server;

/// Time after which a node that does not answer counts as dead, in ms.
const DEAD_AFTER: &str = "1000";
/// Slots of a cluster.
const SLOTS: usize = 16_384;

/// A server. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct RedisNode {
    process: Process,
    /// The program and its arguments.
    command: Vec<String>,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl RedisNode {
    /// Starts a server with these further arguments.
    pub(crate) async fn start(program: &str, arguments: &[&str]) -> Self {
        let (folder, port) = (folder(), free_port());
        let own = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"];
        let mut command = [program, "--port", &port.to_string()].map(str::to_owned).to_vec();
        command.extend(own.map(str::to_owned));
        command.push(folder.to_str().unwrap().to_owned());
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let node = Self { process: run(&command), command, folder, port };
        node.answers().await;
        node
    }

    /// Starts it again after [`Self::kill`]: same port and folder.
    pub(crate) async fn start_again(&mut self) {
        self.process.exit().await;
        self.process = run(&self.command);
        self.answers().await;
    }

    /// Starts a Sentinel with this configuration.
    async fn start_sentinel(lines: &[String]) -> Self {
        let (folder, port) = (folder(), free_port());
        let file = folder.join("sentinel.conf");
        let own = format!("port {port}\nbind 127.0.0.1\ndir {}\n", folder.display());
        std::fs::write(&file, format!("{own}{}\n", lines.join("\n"))).unwrap();
        let command = ["redis-server", file.to_str().unwrap(), "--sentinel"];
        let command = command.map(str::to_owned).to_vec();
        let node = Self { process: run(&command), command, folder, port };
        node.answers().await;
        node
    }

    async fn answers(&self) {
        until("a redis server accepts", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        })
        .await;
    }

    /// `127.0.0.1:port`
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The test's own connection.
    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://{}", self.address())).unwrap();
        redis_server::connect(&client).await.unwrap()
    }

    /// Runs a command that must succeed.
    pub(crate) async fn run<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut call = redis::cmd(words.next().unwrap());
        call.arg(words.collect::<Vec<_>>());
        call.query_async(&mut self.connection().await).await.unwrap()
    }

    /// Kills it at once.
    pub(crate) fn kill(&self) {
        self.process.signal(Signal::SIGKILL);
    }
}

impl Drop for RedisNode {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The rules that a page of the documentation has after these words, for the keys of a world. The password is `secret`.
pub(crate) fn documented_rules(page: &str, begin: &str, prefix: &str) -> Vec<String> {
    let (_, rest) = page.split_once(begin).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let words = block.split_whitespace().filter(|word| *word != "\\");
    words
        .map(|word| word.trim_matches('"').replace("$PASSWORD", "secret"))
        .map(|word| word.replace("flash-sale:", prefix))
        .collect()
}

fn run(command: &[String]) -> Process {
    Process::start(Command::new(&command[0]).args(&command[1..]))
}

fn folder() -> PathBuf {
    let name = Uuid::now_v7().simple().to_string();
    let folder = std::env::temp_dir().join(format!("redis-{}", &name[16..]));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A cluster of three masters, each with a replica if it is to survive the loss of one.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    pub(crate) masters: Vec<RedisNode>,
    pub(crate) replicas: Vec<RedisNode>,
}

impl RedisCluster {
    pub(crate) async fn start(with_replicas: bool) -> Self {
        let masters = [Self::node().await, Self::node().await, Self::node().await];
        let mut replicas = Vec::new();
        for _ in masters.iter().filter(|_| with_replicas) {
            replicas.push(Self::node().await);
        }
        let cluster = Self { masters: masters.into(), replicas };
        cluster.join().await;
        cluster
    }

    async fn node() -> RedisNode {
        let bus = free_port().to_string();
        let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        RedisNode::start(
            "redis-server",
            &[&arguments[..], &["--cluster-node-timeout", DEAD_AFTER]].concat(),
        )
        .await
    }

    async fn join(&self) {
        for (number, master) in self.masters.iter().enumerate() {
            let count = self.masters.len();
            let (first, next) = (SLOTS * number / count, SLOTS * (number + 1) / count);
            master.run::<()>(&format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1)).await;
            master.run::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1)).await;
        }
        let first = &self.masters[0];
        let others: Vec<&RedisNode> = self.masters[1..].iter().chain(&self.replicas).collect();
        for node in others {
            // With its port of the bus, which is not the usual one.
            let bus: Vec<String> = node.run("CONFIG GET cluster-port").await;
            first.run::<()>(&format!("CLUSTER MEET 127.0.0.1 {} {}", node.port, bus[1])).await;
        }
        for (replica, master) in self.replicas.iter().zip(&self.masters) {
            let id: String = master.run("CLUSTER MYID").await;
            until("a replica knows its master", async || {
                replica.run::<String>("CLUSTER NODES").await.contains(&id)
            })
            .await;
            replica.run::<()>(&format!("CLUSTER REPLICATE {id}")).await;
        }
        for node in self.masters.iter().chain(&self.replicas) {
            until("the cluster is complete", async || {
                let all = self.masters.len() + self.replicas.len();
                let info: String = node.run("CLUSTER INFO").await;
                info.contains("cluster_state:ok")
                    && info.contains(&format!("cluster_known_nodes:{all}"))
            })
            .await;
        }
        for replica in &self.replicas {
            until("a replica follows its master", async || {
                replica.run::<String>("INFO replication").await.contains("master_link_status:up")
            })
            .await;
        }
    }

    /// Waits until all nodes see a master for every slot.
    pub(crate) async fn is_whole(&self) {
        for node in self.masters.iter().chain(&self.replicas) {
            until("the cluster is whole", async || {
                node.run::<String>("CLUSTER INFO").await.contains("cluster_state:ok")
            })
            .await;
        }
    }

    /// For `redis.nodes`.
    pub(crate) fn nodes(&self) -> String {
        self.masters.iter().map(RedisNode::address).collect::<Vec<_>>().join(",")
    }

    /// The master that has a slot.
    pub(crate) async fn master_of(&self, slot: u16) -> usize {
        let slots: Vec<(u16, u16, Vec<redis::Value>)> = self.masters[0]
            .run::<Vec<Vec<redis::Value>>>("CLUSTER SLOTS")
            .await
            .into_iter()
            .map(|entry| range(&entry))
            .collect();
        let (_, _, node) =
            slots.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).unwrap();
        let port = u16::from_redis_value_ref(&node[1]).unwrap();
        self.masters.iter().position(|master| master.port == port).unwrap()
    }
}

/// One entry of `CLUSTER SLOTS`: first and last slot, and the master.
fn range(entry: &[redis::Value]) -> (u16, u16, Vec<redis::Value>) {
    let number = |at: usize| u16::from_redis_value_ref(&entry[at]).unwrap();
    let redis::Value::Array(master) = entry[2].clone() else { panic!("no master in {entry:?}") };
    (number(0), number(1), master)
}

/// A master with a replica, and three Sentinels that watch it.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) master: RedisNode,
    pub(crate) replica: RedisNode,
    pub(crate) sentinels: Vec<RedisNode>,
}

/// What the Sentinels ask for.
pub(crate) const SENTINEL_PASSWORD: &str = "sentinels-secret";

impl Watched {
    pub(crate) async fn start() -> Self {
        let (master, replica) = Self::pair().await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let lines = [
                format!("sentinel monitor shop 127.0.0.1 {} 2", master.port),
                "sentinel down-after-milliseconds shop 1000".to_owned(),
                "sentinel failover-timeout shop 5000".to_owned(),
                format!("requirepass {SENTINEL_PASSWORD}"),
                format!("sentinel sentinel-pass {SENTINEL_PASSWORD}"),
            ];
            sentinels.push(RedisNode::start_sentinel(&lines).await);
        }
        let watched = Self { master, replica, sentinels };
        for sentinel in &watched.sentinels {
            until("the Sentinels know each other and the replica", async || {
                let known = watched.ask(sentinel).await;
                known.contains("num-other-sentinels 2") && known.contains("num-slaves 1")
            })
            .await;
        }
        watched
    }

    /// A master and its replica.
    pub(crate) async fn pair() -> (RedisNode, RedisNode) {
        let master = RedisNode::start("redis-server", &[]).await;
        let of = format!("127.0.0.1 {}", master.port);
        let replica = RedisNode::start("redis-server", &["--replicaof", &of]).await;
        until("the replica follows", async || {
            replica.run::<String>("INFO replication").await.contains("master_link_status:up")
        })
        .await;
        (master, replica)
    }

    /// Runs a command at a Sentinel, which must succeed.
    pub(crate) async fn run(&self, sentinel: &RedisNode, command: &str) -> redis::Value {
        let url = format!("redis://:{SENTINEL_PASSWORD}@{}", sentinel.address());
        let client = redis::Client::open(url).unwrap();
        let mut connection = redis_server::connect(&client).await.unwrap();
        let mut words = command.split(' ');
        let mut call = redis::cmd(words.next().unwrap());
        call.arg(words.collect::<Vec<_>>());
        call.query_async(&mut connection).await.unwrap()
    }

    async fn ask(&self, sentinel: &RedisNode) -> String {
        let facts = self.run(sentinel, "SENTINEL MASTER shop").await;
        let facts: Vec<String> = redis::from_redis_value(facts).unwrap();
        facts.chunks(2).map(|pair| pair.join(" ")).collect::<Vec<_>>().join("\n")
    }

    /// For `redis.nodes`.
    pub(crate) fn nodes(&self) -> String {
        self.sentinels.iter().map(RedisNode::address).collect::<Vec<_>>().join(",")
    }
}
