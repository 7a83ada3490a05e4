//! The choice of `redis.mode`.

use redis::aio::PubSub;
use redis::{Client, RedisError};

use super::address::{Clients, InvalidRedis};
use super::cluster::Cluster;
use super::connection::Link;
use super::sentinel::Sentinels;
use crate::config::{RedisConfig, RedisServers};
use crate::infrastructure::circuit::Reason;

/// Where Redis is.
pub(crate) enum Servers {
    One(Box<Client>, Box<RedisConfig>),
    Sentinels(Box<Sentinels>),
    Cluster(Box<Cluster>),
}

impl Servers {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, InvalidRedis> {
        let clients = Clients::new(config)?;
        Ok(match &config.servers {
            RedisServers::Single => {
                let client = clients.of_url().map_err(|error| InvalidRedis::url(&error))?;
                Self::One(Box::new(client), Box::new(config.clone()))
            }
            RedisServers::Sentinel { nodes, master_name } => {
                Self::Sentinels(Box::new(Sentinels::new(clients, (nodes, master_name), config)?))
            }
            RedisServers::Cluster { nodes } => {
                Self::Cluster(Box::new(Cluster::new(&clients, nodes, config)?))
            }
        })
    }

    /// As `redis.mode` has it.
    pub(crate) fn mode(&self) -> &'static str {
        match self {
            Self::One(..) => "single",
            Self::Sentinels(_) => "sentinel",
            Self::Cluster(_) => "cluster",
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Commands that the service needs besides those of every mode.
    pub(crate) fn commands(&self) -> &'static [&'static str] {
        match self {
            Self::One(..) => &[],
            Self::Sentinels(_) => &["role"],
            Self::Cluster(_) => &["asking", "cluster|slots"],
        }
    }

    /// The first link. It opens nothing yet; of a master of Sentinels nothing is known before [`Self::moved`].
    pub(crate) fn link(&self) -> Result<Link, InvalidRedis> {
        match self {
            Self::One(client, config) => Link::to_server(client, config),
            Self::Sentinels(_) => Ok(Link::none()),
            Self::Cluster(cluster) => Ok(cluster.link()),
        }
    }

    /// New connections to where a link leads.
    pub(crate) fn again(&self, link: &Link) -> Option<Link> {
        match self {
            Self::One(client, config) => Link::to_server(client, config).ok(),
            Self::Sentinels(sentinels) => sentinels.link(link.master.clone()?),
            Self::Cluster(cluster) => Some(cluster.link()),
        }
    }

    /// Another link, if the master is elsewhere.
    pub(crate) async fn moved(
        &self,
        link: &Link,
        is_known_to_work: bool,
    ) -> Result<Option<Link>, Reason> {
        match self {
            Self::Sentinels(sentinels) => sentinels.find(link, is_known_to_work).await,
            // The client of a cluster finds its masters by itself.
            Self::One(..) | Self::Cluster(_) => Ok(None),
        }
    }

    /// A connection for subscriptions; `None` if it is not known where to.
    pub(crate) async fn subscriber(&self, link: &Link) -> Result<Option<PubSub>, RedisError> {
        let client = match self {
            Self::One(client, _) => Some(Client::clone(client)),
            Self::Sentinels(sentinels) => sentinels.client(link),
            Self::Cluster(cluster) => cluster.node().cloned(),
        };
        match client {
            Some(client) => Ok(Some(client.get_async_pubsub().await?)),
            None => Ok(None),
        }
    }
}
