//! All keys that match a pattern, step by step, of one server or of every master of a cluster.

use redis::aio::ConnectionLike;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, Value};

use super::connection::BackgroundConnection;

/// Keys that Redis examines in one step.
const COUNT: usize = 1_000;

/// A scan that goes on.
pub(crate) struct Scan {
    pattern: String,
    is_begun: bool,
    /// Where it goes on: the cursor, and in a cluster the master.
    left: Vec<(Option<(String, u16)>, u64)>,
}

impl Scan {
    pub(crate) fn new(pattern: String) -> Self {
        Self { pattern, is_begun: false, left: Vec::new() }
    }

    /// The keys of the next step, which may be none; `None` at the end. A key may be seen twice.
    pub(crate) async fn next(
        &mut self,
        connection: &mut BackgroundConnection,
    ) -> Result<Option<Vec<String>>, RedisError> {
        if !self.is_begun {
            self.is_begun = true;
            return self.begin(connection).await.map(Some);
        }
        let Some((master, cursor)) = self.left.pop() else {
            return Ok(None);
        };
        let step = self.step(cursor);
        let answer = match (&mut *connection, &master) {
            (BackgroundConnection::Cluster(cluster), Some((host, port))) => {
                let (host, port) = (host.clone(), *port);
                let to = SingleNodeRoutingInfo::ByAddress { host, port };
                cluster.route_command(step, RoutingInfo::SingleNode(to)).await?
            }
            _ => connection.req_packed_command(&step).await?,
        };
        self.take(master, answer).map(Some)
    }

    async fn begin(
        &mut self,
        connection: &mut BackgroundConnection,
    ) -> Result<Vec<String>, RedisError> {
        let step = self.step(0);
        let BackgroundConnection::Cluster(cluster) = connection else {
            let answer = connection.req_packed_command(&step).await?;
            return self.take(None, answer);
        };
        let to_masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let Value::Map(answers) = cluster.route_command(step, to_masters).await? else {
            return Err(unreadable());
        };
        let mut keys = Vec::new();
        for (master, answer) in answers {
            let master = String::from_redis_value(master)?;
            let (host, port) = master.rsplit_once(':').ok_or_else(unreadable)?;
            let port = port.parse().map_err(|_| unreadable())?;
            keys.extend(self.take(Some((host.to_owned(), port)), answer)?);
        }
        Ok(keys)
    }

    fn step(&self, cursor: u64) -> Cmd {
        let mut step = redis::cmd("SCAN");
        step.arg(cursor).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(COUNT);
        step
    }

    fn take(
        &mut self,
        master: Option<(String, u16)>,
        answer: Value,
    ) -> Result<Vec<String>, RedisError> {
        if let Value::ServerError(error) = answer {
            return Err(error.into());
        }
        let (cursor, keys): (u64, Vec<String>) = FromRedisValue::from_redis_value(answer)?;
        if cursor != 0 {
            self.left.push((master, cursor));
        }
        Ok(keys)
    }
}

fn unreadable() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "the answers of the masters are not readable").into()
}
