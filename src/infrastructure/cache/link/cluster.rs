//! A Redis Cluster. Its client finds the master of each key, follows keys that move, and learns of new masters.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterConfig};
use redis::{Client, RedisError};

use super::address::{Clients, InvalidRedis};
use super::connection::Link;
use crate::config::{RedisConfig, RedisNode};

/// How often a call is repeated where its key has moved meanwhile. All of it is within `redis.response_timeout`.
const RETRIES: u32 = 3;
/// Pauses before these repetitions, in ms.
const PAUSES: [u64; 2] = [2, 30];

/// A cluster.
pub(crate) struct Cluster {
    client: ClusterClient,
    /// The configured nodes: a subscription is to one of them.
    nodes: Vec<Client>,
    next: AtomicUsize,
}

impl Cluster {
    pub(super) fn new(
        clients: &Clients,
        nodes: &[RedisNode],
        config: &RedisConfig,
    ) -> Result<Self, InvalidRedis> {
        // The driver's message may repeat what it was given, and among it a password.
        let invalid = |error: RedisError| InvalidRedis::Nodes(error.category().to_owned());
        let infos = nodes.iter().map(|node| clients.node(node));
        let mut builder = ClusterClient::builder(infos)
            .retries(RETRIES)
            .min_retry_wait(PAUSES[0])
            .max_retry_wait(PAUSES[1])
            .connection_timeout(config.connect_timeout)
            .response_timeout(config.response_timeout)
            .overall_response_timeout(Some(config.response_timeout + MARGIN))
            .tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true));
        if let Some(certificates) = clients.certificates() {
            builder = builder.certs(certificates.clone());
        }
        let client = builder.build().map_err(invalid)?;
        let of_node = |node| clients.of_node(node).map_err(invalid);
        let nodes = nodes.iter().map(of_node).collect::<Result<Vec<_>, _>>()?;
        // Instances that start together subscribe to different nodes.
        let next = AtomicUsize::new(fastrand::usize(..));
        Ok(Self { client, nodes, next })
    }

    /// Connections that are opened in the background.
    pub(super) fn link(&self) -> Link {
        let connect = || self.client.get_pending_async_connection_with_config(ClusterConfig::new());
        Link::to_cluster([connect(), connect()])
    }

    /// A node for a subscription, another one each time: every node has what is published on any of them.
    pub(super) fn node(&self) -> Option<&Client> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.nodes.get(turn % self.nodes.len().max(1))
    }
}

/// One attempt may take all of `redis.response_timeout`; a redirection after it still has this.
const MARGIN: Duration = Duration::from_millis(50);
