//! Connections: [`server`] accepts them and serves HTTP/1, [`http2`] serves HTTP/2, [`tls`] encrypts, [`limits`] bounds them,
//! [`head_timeout`] bounds the time for a head.

mod head_timeout;
pub(crate) mod http2;
pub(crate) mod limits;
pub(crate) mod server;
pub(crate) mod tls;
