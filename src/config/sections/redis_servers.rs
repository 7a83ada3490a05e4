//! `redis.mode`, `redis.nodes` and `redis.sentinel.*`: one server, the master that Sentinels name, or a cluster.

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::config::reader::Reader;

const MODE: &str = "redis.mode";
const NODES: &str = "redis.nodes";
const MASTER: &str = "redis.sentinel.master_name";
const PASSWORD: &str = "redis.sentinel.password";

/// Maximum number of nodes that are named: a client learns the others from them.
const MAX_NODES: usize = 64;

/// `redis.mode`, with what belongs to it.
#[derive(Debug, Clone)]
pub enum RedisServers {
    /// The server of `redis.url`.
    Single,
    /// The master that most of these Sentinels name.
    Sentinel {
        /// The Sentinels.
        nodes: Vec<RedisNode>,
        /// The name of the master that they watch.
        master_name: String,
    },
    /// The cluster that these nodes belong to.
    Cluster {
        /// Some nodes, or all.
        nodes: Vec<RedisNode>,
    },
}

/// A node of `redis.nodes`.
#[derive(Debug, Clone)]
pub struct RedisNode {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is reached by TLS.
    pub is_encrypted: bool,
    /// User of the connection, if it is not the default one.
    pub username: Option<String>,
    /// Password of the connection.
    pub password: Option<SecretString>,
}

/// What `redis.mode` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Single,
    Sentinel,
    Cluster,
}

impl RedisServers {
    /// `url` is that of `redis.url`.
    pub(super) fn read(read: &mut Reader, url: &SecretString) -> Self {
        let modes =
            [("single", Mode::Single), ("sentinel", Mode::Sentinel), ("cluster", Mode::Cluster)];
        let mode = read.choice(MODE, &modes).unwrap_or(Mode::Single);
        let master_name = read.text(MASTER);
        let account = (read.text("redis.sentinel.username"), read.secret(PASSWORD));
        let nodes = nodes(read, url);
        refuse_contradictions(read, mode, (&nodes, &master_name, &account));
        if mode != Mode::Single {
            check_url(read, mode, url);
        }
        match mode {
            Mode::Single => Self::Single,
            Mode::Sentinel => {
                let nodes = nodes.into_iter().map(|node| node.with_default(&account)).collect();
                Self::Sentinel { nodes, master_name }
            }
            Mode::Cluster => Self::Cluster { nodes },
        }
    }
}

impl RedisNode {
    fn with_default(mut self, (username, password): &(String, SecretString)) -> Self {
        if self.password.is_none() && !password.expose_secret().is_empty() {
            self.password = Some(password.clone());
            self.username = Some(username.clone()).filter(|name| !name.is_empty());
        }
        self
    }
}

fn refuse_contradictions(
    read: &mut Reader,
    mode: Mode,
    (nodes, master_name, (username, password)): (&[RedisNode], &str, &(String, SecretString)),
) {
    if mode == Mode::Single && !nodes.is_empty() {
        read.fault(
            NODES,
            "needs redis.mode sentinel or cluster: with single, the server is that of redis.url",
        );
    }
    if mode == Mode::Sentinel && nodes.is_empty() {
        read.fault(NODES, "must name the Sentinels, such as sentinel-1:26379,sentinel-2:26379, because redis.mode is sentinel");
    }
    if mode == Mode::Cluster && nodes.is_empty() {
        read.fault(NODES, "must name nodes of the cluster, such as redis-1:6379,redis-2:6379, because redis.mode is cluster");
    }
    if mode == Mode::Sentinel && master_name.is_empty() {
        read.fault(MASTER, "must be the name of the master in the Sentinels' configuration, because redis.mode is sentinel");
    }
    if mode != Mode::Sentinel && !master_name.is_empty() {
        read.fault(MASTER, "needs redis.mode sentinel");
    }
    let has_account = !username.is_empty() || !password.expose_secret().is_empty();
    if mode != Mode::Sentinel && has_account {
        read.fault(
            PASSWORD,
            "needs redis.mode sentinel: the account at Redis is that of redis.url",
        );
    }
    if !username.is_empty() && password.expose_secret().is_empty() {
        read.fault(PASSWORD, "must not be empty, because redis.sentinel.username is set");
    }
}

/// Of `redis.url` only account, TLS and database count then.
fn check_url(read: &mut Reader, mode: Mode, url: &SecretString) {
    let Ok(url) = Url::parse(url.expose_secret()) else { return };
    if !["redis", "rediss"].contains(&url.scheme()) {
        read.fault(MODE, "must be single for a Unix socket in redis.url");
    } else if mode == Mode::Cluster && !["", "/", "/0"].contains(&url.path()) {
        read.fault(MODE, "a cluster has only the database 0: remove the number from redis.url");
    }
}

/// The nodes. Those without a scheme have that of `redis.url`.
fn nodes(read: &mut Reader, url: &SecretString) -> Vec<RedisNode> {
    let text = read.secret(NODES);
    let is_encrypted = url.expose_secret().starts_with("rediss://");
    let texts = text.expose_secret().split(',').map(str::trim).filter(|text| !text.is_empty());
    let (mut nodes, mut faulty) = (Vec::new(), Vec::new());
    for (number, text) in (1..).zip(texts) {
        match node(text, is_encrypted) {
            Some(node) => nodes.push(node),
            None => faulty.push(number),
        }
    }
    // Without the text, which may contain a password.
    for number in faulty {
        read.fault(NODES, format!("entry {number} must be host:port, or redis://user:password@host:port, or rediss://…"));
    }
    if nodes.len() > MAX_NODES {
        read.fault(NODES, format!("must name at most {MAX_NODES} nodes"));
    }
    nodes
}

fn node(text: &str, is_encrypted: bool) -> Option<RedisNode> {
    let scheme = if is_encrypted { "rediss" } else { "redis" };
    let text = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    let url = Url::parse(&text).ok()?;
    let is_fit = ["redis", "rediss"].contains(&url.scheme())
        && ["", "/"].contains(&url.path())
        && url.query().is_none()
        && url.fragment().is_none();
    let host = url.host_str().filter(|host| is_fit && !host.is_empty())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from);
    let password = match url.password() {
        Some(password) => Some(decoded(password)?.into()),
        None => None,
    };
    Some(RedisNode {
        host: host.to_owned(),
        port: url.port()?,
        is_encrypted: url.scheme() == "rediss",
        username: decoded(url.username()).filter(|name| !name.is_empty()),
        password,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_host_with_its_port_or_a_url() {
        let read = |text| {
            let node = node(text, false)?;
            let password = node.password.map(|password| password.expose_secret().to_owned());
            Some((node.host, node.port, node.is_encrypted, node.username, password))
        };
        let plain = |host: &str, port, tls| Some((host.to_owned(), port, tls, None, None));
        let (ann, secret) = (Some("ann".to_owned()), Some("s:c".to_owned()));

        assert_eq!(read("redis-1:6379"), plain("redis-1", 6379, false));
        assert_eq!(read("[::1]:7000"), plain("::1", 7000, false));
        assert_eq!(read("rediss://redis-1:6379"), plain("redis-1", 6379, true));
        assert_eq!(
            read("redis://ann:s%3Ac@redis-1:6379"),
            Some(("redis-1".to_owned(), 6379, false, ann, secret))
        );
        for faulty in
            ["redis-1", ":6379", "http://redis-1:6379", "redis-1:6379/1", "a b:1", "x:99999"]
        {
            assert_eq!(read(faulty), None, "{faulty}");
        }
    }
}
