//! `admin.*`: the port for operators.

use crate::config::reader::Reader;

/// `admin.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct AdminConfig {
    pub host: String,
    /// `None`: off.
    pub port: Option<u16>,
}

impl AdminConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        let port: u16 = read.number("admin.port", 0..=u16::MAX);
        Self { host: read.filled("admin.host"), port: Some(port).filter(|port| *port > 0) }
    }
}
