//! `flash-sale health`: requests `/livez` of the running service.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::failure::{FAILED, Failure};
use crate::application::ports::Causes;
use crate::config::Config;

/// A service that takes longer is not alive.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn run(config: &Config) -> Result<(), Failure> {
    let (host, port) = (reachable(&config.monitoring.host), config.monitoring.port);
    let status = tokio::time::timeout(TIMEOUT, probe(&host, port)).await;
    match status {
        Ok(Ok(StatusCode::OK)) => Ok(()),
        Ok(Ok(status)) => Err(Failure::new(FAILED, format!("{host}:{port} answers {status}"))),
        Ok(Err(error)) => Err(Failure::new(FAILED, format!("{host}:{port}: {}", Causes(&*error)))),
        Err(_) => Err(Failure::new(FAILED, format!("{host}:{port} does not answer"))),
    }
}

async fn probe(
    host: &str,
    port: u16,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/livez").header(header::HOST, host).body(Body::empty())?;
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer?,
        result = connection => {
            result?;
            return Err("the connection was closed".into());
        }
    };
    Ok(answer.status())
}

/// The loopback address for an unspecified address, which cannot be connected to.
fn reachable(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "::1".to_owned(),
        _ => host.to_owned(),
    }
}
