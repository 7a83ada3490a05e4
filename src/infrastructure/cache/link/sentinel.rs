//! The master that Redis Sentinel names.
//!
//! All Sentinels are asked at the same time, and what most of them answer is tried first: one that is cut off from the others
//! names the old master for as long as that lasts. A server that is named has to say itself that it is a master, because a
//! Sentinel learns of a failover a moment later than the servers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Value};

use super::address::{Clients, InvalidRedis};
use super::connection::Link;
use crate::config::{RedisConfig, RedisNode};
use crate::infrastructure::cache::reason::{self, is_refusal};
use crate::infrastructure::circuit::Reason;

/// Host and port of a server.
type Address = (String, u16);

/// The Sentinels of one master.
pub(crate) struct Sentinels {
    clients: Clients,
    all: Vec<Sentinel>,
    master_name: String,
    config: RedisConfig,
}

/// One Sentinel, with the connection to it that worked last.
struct Sentinel {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Sentinels {
    pub(super) fn new(
        clients: Clients,
        (nodes, master_name): (&[RedisNode], &str),
        config: &RedisConfig,
    ) -> Result<Self, InvalidRedis> {
        let sentinel = |node| {
            let client = clients.of_sentinel(node);
            let client =
                client.map_err(|error| InvalidRedis::Nodes(error.category().to_owned()))?;
            Ok::<_, InvalidRedis>(Sentinel { client, connection: Mutex::default() })
        };
        let sentinels = nodes.iter().map(sentinel).collect::<Result<_, _>>()?;
        let (master_name, config) = (master_name.to_owned(), config.clone());
        Ok(Self { clients, all: sentinels, master_name, config })
    }

    /// A link to the master. `None` if `known` leads to it already, and works.
    pub(super) async fn find(
        &self,
        known: &Link,
        is_known_to_work: bool,
    ) -> Result<Option<Link>, Reason> {
        let named = self.named().await?;
        if is_known_to_work && known.master.as_ref() == named.first() {
            return Ok(None);
        }
        let mut why = Reason::new("no Sentinel names a server");
        for address in named {
            match self.check_role(&address).await {
                Ok(()) if known.master.as_ref() == Some(&address) => return Ok(None),
                Ok(()) => return Ok(self.link(address)),
                Err(reason) => why = reason,
            }
        }
        Err(why)
    }

    /// New connections to this server.
    pub(super) fn link(&self, (host, port): Address) -> Option<Link> {
        // Opens nothing yet, so it cannot fail: the same settings were accepted at the start.
        let client = self.clients.of_server(&host, port).ok()?;
        let mut link = Link::to_server(&client, &self.config).ok()?;
        link.master = Some((host, port));
        Some(link)
    }

    /// A client of the master that a link leads to.
    pub(super) fn client(&self, link: &Link) -> Option<Client> {
        let (host, port) = link.master.as_ref()?;
        self.clients.of_server(host, *port).ok()
    }

    /// The servers that Sentinels name, the one that most of them name first.
    async fn named(&self) -> Result<Vec<Address>, Reason> {
        let mut asked: FuturesUnordered<_> =
            self.all.iter().map(|sentinel| self.ask(sentinel)).collect();
        let mut votes: Vec<(Address, usize)> = Vec::new();
        let mut failure = None;
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(Some(address)) => match votes.iter_mut().find(|(named, _)| *named == address) {
                    Some((_, count)) => *count += 1,
                    None => votes.push((address, 1)),
                },
                Ok(None) => {
                    failure = Some(Reason::new(
                        "the Sentinels watch no master of this name (redis.sentinel.master_name)",
                    ));
                }
                Err(reason) => failure = failure.or(Some(reason)),
            }
            // One that does not answer is not waited for if the others agree.
            if votes.iter().any(|(_, count)| *count > self.all.len() / 2) {
                break;
            }
        }
        votes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        match failure {
            Some(reason) if votes.is_empty() => Err(reason),
            _ => Ok(votes.into_iter().map(|(address, _)| address).collect()),
        }
    }

    async fn ask(&self, sentinel: &Sentinel) -> Result<Option<Address>, Reason> {
        let answer = sentinel.master(&self.master_name, &self.config).await;
        let answer = answer.map_err(|error| {
            sentinel.keep(None);
            Reason::new(&format!("no Sentinel answers: {}", reason::of(&error)))
        })?;
        Ok(answer.and_then(|(host, port)| Some((host, port.parse().ok()?))))
    }

    /// Whether this server says that it is a master. A server that refuses the right to ask is believed: its probe writes.
    async fn check_role(&self, (host, port): &Address) -> Result<(), Reason> {
        let client = self.clients.of_server(host, *port).map_err(|error| reason::of(&error))?;
        let role = async {
            let mut connection = connect(&client, &self.config).await?;
            redis::cmd("ROLE").query_async::<Vec<Value>>(&mut connection).await
        };
        match role.await {
            Ok(role) if is_master(&role) => Ok(()),
            Ok(_) => Err(Reason::new("the server that the Sentinels name is not a master")),
            Err(error) if is_refusal(&error) => Ok(()),
            Err(error) => Err(reason::of(&error)),
        }
    }
}

fn is_master(role: &[Value]) -> bool {
    matches!(role.first(), Some(Value::BulkString(role)) if role == b"master")
}

impl Sentinel {
    async fn master(
        &self,
        name: &str,
        config: &RedisConfig,
    ) -> Result<Option<(String, String)>, RedisError> {
        let known = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut connection = match known {
            Some(connection) => connection,
            None => connect(&self.client, config).await?,
        };
        let answer = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(name)
            .query_async(&mut connection)
            .await?;
        self.keep(Some(connection));
        Ok(answer)
    }

    fn keep(&self, connection: Option<MultiplexedConnection>) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }
}

async fn connect(
    client: &Client,
    config: &RedisConfig,
) -> Result<MultiplexedConnection, RedisError> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout.min(PATIENCE)))
        .set_response_timeout(Some(config.response_timeout));
    client.get_multiplexed_async_connection_with_config(&settings).await
}

/// Longest time until a Sentinel, or a server that it names, accepts: the next probe asks again.
const PATIENCE: Duration = Duration::from_secs(2);
