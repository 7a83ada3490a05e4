//! What a grown installation has beside one PostgreSQL and one Redis: a replica that answers lists, a Redis Cluster, and a pooler.

#![expect(clippy::float_cmp, reason = "the gauge is 0 or 1")]

use std::net::SocketAddr;

use super::arena::Station;
use crate::harness::database::address_of;
use crate::harness::metrics::Metrics;
use crate::harness::redis_nodes::RedisCluster;
use crate::harness::servers::PrivateServers;
use crate::harness::standby::Standby;
use crate::harness::until;

/// The three, of which each dies in its turn.
#[derive(Debug)]
pub(crate) struct Growth {
    replica: Standby,
    cluster: RedisCluster,
    pooler: Option<PrivateServers>,
}

impl Growth {
    /// Starts a pooler before this PostgreSQL. Returns its address.
    pub(crate) fn pooler(postgres: &PrivateServers) -> (PrivateServers, SocketAddr) {
        let (pooler, url) = postgres.strict_pooler().unwrap();
        (pooler, address_of(&url))
    }

    /// All three run.
    pub(crate) fn of(replica: Standby, cluster: RedisCluster, pooler: PrivateServers) -> Self {
        Self { replica, cluster, pooler: Some(pooler) }
    }

    /// The replica dies in the middle of lists. Every instance still answers them.
    pub(crate) async fn lose_replica(&self, stations: &[Station]) {
        self.replica_is(stations, true).await;
        self.replica.servers.run("kill-postgres");
        for station in stations {
            until("sales are listed without the replica", async || {
                station.instance.client.get("/v2/sales").await.status == 200
            })
            .await;
        }
        self.replica_is(stations, false).await;
    }

    /// It comes back, and instances read from it again.
    pub(crate) async fn return_replica(&self, stations: &[Station]) {
        self.replica.servers.run("start-postgres");
        self.replica_is(stations, true).await;
    }

    async fn replica_is(&self, stations: &[Station], up: bool) {
        let wanted = f64::from(u8::from(up));
        for station in stations {
            until(&format!("an instance reads from the replica: {up}"), async || {
                let answer = station.instance.monitor.get("/metrics").await.is(200);
                Metrics::parse(&answer.body).sum("flash_sale_replica_up", &[]) == wanted
            })
            .await;
        }
    }

    /// A master dies, and its replica takes over.
    pub(crate) async fn lose_master(&self, number: usize) {
        self.cluster.masters[number].kill();
        let successor = &self.cluster.replicas[number];
        until("a replica takes over", async || {
            successor.run::<String>("INFO replication").await.contains("role:master")
        })
        .await;
    }

    /// It comes back as a replica of its successor.
    pub(crate) async fn return_master(&mut self, number: usize) {
        self.cluster.masters[number].start_again().await;
        self.cluster.is_whole().await;
    }

    /// The pooler ends, and all connections through it.
    pub(crate) fn stop_pooler(&mut self) {
        self.pooler = None;
    }

    /// Another one is at its place.
    pub(crate) fn start_pooler(&mut self, postgres: &PrivateServers, stations: &[Station]) {
        let (pooler, address) = Self::pooler(postgres);
        self.pooler = Some(pooler);
        for station in stations {
            station.reach_postgres_at(address);
        }
    }
}
