//! A link: the connections to what is reached now.

use std::io;

use deadpool_redis::{Connection as Pooled, Manager, Pool, PoolError, Runtime, Timeouts};
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisFuture, Value};

use super::address::InvalidRedis;
use crate::config::RedisConfig;

/// Maximum number of pooled connections: background tasks seldom run at the same time.
pub(crate) const POOL_SIZE: usize = 4;

/// Connections to what is reached now.
#[derive(Clone)]
pub(crate) struct Link {
    /// Serves all requests of buyers: it pipelines their calls by itself.
    pub(crate) shared: SharedConnection,
    background: Background,
    /// The master that the Sentinels have named.
    pub(crate) master: Option<(String, u16)>,
}

/// The connection that all share.
#[derive(Clone)]
pub(crate) enum SharedConnection {
    /// To one server.
    Server(ConnectionManager),
    /// To all masters of a cluster.
    Cluster(ClusterConnection),
    /// No Sentinel has named a master yet.
    None,
}

#[derive(Clone)]
enum Background {
    Pool(Pool),
    /// A second connection to each master: it pipelines as well, and delays only other background work.
    Cluster(ClusterConnection),
    None,
}

/// A connection for background work.
pub(crate) enum BackgroundConnection {
    /// Of one server.
    Pooled(Box<Pooled>),
    /// Of a cluster.
    Cluster(ClusterConnection),
}

/// Why there is no connection for background work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLent {
    /// Of the pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// No Sentinel has named a master yet.
    #[error("{NO_MASTER}")]
    NoMaster,
}

const NO_MASTER: &str = "no Sentinel has named a master yet";

impl Link {
    /// To one server. Nothing is opened yet.
    pub(super) fn to_server(client: &Client, config: &RedisConfig) -> Result<Self, InvalidRedis> {
        let invalid = |error: RedisError| InvalidRedis::url(&error);
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.response_timeout))
            .set_number_of_retries(1);
        let manager = client.get_connection_manager_lazy(settings).map_err(invalid)?;
        let pool = pool(client, config)?;
        let (shared, background) = (SharedConnection::Server(manager), Background::Pool(pool));
        Ok(Self { shared, background, master: None })
    }

    /// To a cluster, with a connection for requests and one for background work.
    pub(super) fn to_cluster([shared, background]: [ClusterConnection; 2]) -> Self {
        let shared = SharedConnection::Cluster(shared);
        Self { shared, background: Background::Cluster(background), master: None }
    }

    /// To nothing.
    pub(super) fn none() -> Self {
        Self { shared: SharedConnection::None, background: Background::None, master: None }
    }

    pub(crate) fn is_none(&self) -> bool {
        matches!(self.shared, SharedConnection::None)
    }

    /// Lends a connection for background work.
    pub(crate) async fn lend(&self) -> Result<BackgroundConnection, NotLent> {
        match &self.background {
            Background::Pool(pool) => Ok(BackgroundConnection::Pooled(Box::new(pool.get().await?))),
            Background::Cluster(cluster) => Ok(BackgroundConnection::Cluster(cluster.clone())),
            Background::None => Err(NotLent::NoMaster),
        }
    }

    /// Pooled connections that are open.
    #[cfg(test)]
    pub(crate) fn pooled(&self) -> usize {
        match &self.background {
            Background::Pool(pool) => pool.status().size,
            Background::Cluster(_) | Background::None => 0,
        }
    }
}

fn pool(client: &Client, config: &RedisConfig) -> Result<Pool, InvalidRedis> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.response_timeout));
    // With the certificates, if any.
    let info = client.get_connection_info().clone();
    let manager =
        Manager::new_with_config(info, settings).map_err(|error| InvalidRedis::url(&error))?;
    let timeouts = Timeouts {
        wait: Some(config.connect_timeout),
        create: Some(config.connect_timeout),
        recycle: Some(config.response_timeout),
    };
    let builder = Pool::builder(manager).max_size(POOL_SIZE).timeouts(timeouts);
    Ok(builder.runtime(Runtime::Tokio1).build()?)
}

impl BackgroundConnection {
    /// Closes a pooled connection: a master that has become a replica answers the pool's check, so only its errors show that the
    /// connection is of no use. The client of a cluster finds that out by itself.
    pub(crate) fn close(self) {
        if let Self::Pooled(pooled) = self {
            drop(Pooled::take(*pooled));
        }
    }
}

/// Sends a command to the node of its key. A script without keys goes to a master, because a replica would not know it: scripts are
/// loaded on masters.
fn to_cluster<'a>(cluster: &'a mut ClusterConnection, command: &'a Cmd) -> RedisFuture<'a, Value> {
    let mut words = command.args_iter().map(|word| match word {
        redis::Arg::Simple(word) => word,
        _ => b"",
    });
    if words.next() == Some(b"EVALSHA") && words.nth(1) == Some(b"0") {
        let to = RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary);
        return Box::pin(cluster.route_command(command.clone(), to));
    }
    cluster.req_packed_command(command)
}

fn no_master() -> RedisError {
    io::Error::new(io::ErrorKind::NotConnected, NO_MASTER).into()
}

impl ConnectionLike for SharedConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(manager) => manager.req_packed_command(command),
            Self::Cluster(cluster) => to_cluster(cluster, command),
            Self::None => Box::pin(async { Err(no_master()) }),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(manager) => manager.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
            Self::None => Box::pin(async { Err(no_master()) }),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(manager) => manager.get_db(),
            Self::Cluster(_) | Self::None => 0,
        }
    }
}

impl ConnectionLike for BackgroundConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Pooled(pooled) => pooled.req_packed_command(command),
            Self::Cluster(cluster) => to_cluster(cluster, command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Pooled(pooled) => pooled.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Pooled(pooled) => pooled.get_db(),
            Self::Cluster(_) => 0,
        }
    }
}
