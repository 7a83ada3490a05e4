//! One request at a time over a kept connection: for set-up, for reads, and where a single response is timed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::generator::Answer;
use crate::outcome::{Failure, Outcome};

/// Maximum wait for a response.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// A kept connection to one server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// Lines of the head of each request.
    headers: String,
    received: Vec<u8>,
}

/// A complete response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, headers: String::new(), received: Vec::with_capacity(CHUNK) })
    }

    /// Sends this header with each request.
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.extend([name, ": ", value, "\r\n"]);
        self
    }

    /// `POST` without a body.
    pub(crate) fn post(&mut self, target: &str) -> Outcome<Response> {
        self.ask("POST", target)
    }

    /// `GET`.
    pub(crate) fn get(&mut self, target: &str) -> Outcome<Response> {
        self.ask("GET", target)
    }

    fn ask(&mut self, method: &str, target: &str) -> Outcome<Response> {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: bench\r\n{}Content-Length: 0\r\n\r\n",
            self.headers
        );
        self.stream.write_all(head.as_bytes())?;
        self.received.clear();
        let mut chunk = [0; CHUNK];
        loop {
            let bytes = self.stream.read(&mut chunk)?;
            if bytes == 0 {
                return Err(format!("{method} {target}: the connection was closed").into());
            }
            self.received.extend_from_slice(&chunk[..bytes]);
            let answer = Answer::read(&self.received).map_err(|_| "not an HTTP response")?;
            if let Some(answer) = answer {
                let body = String::from_utf8_lossy(answer.body).into_owned();
                return Ok(Response { status: answer.status, body });
            }
        }
    }
}

impl Response {
    /// Fails unless the response has this status.
    pub(crate) fn expect(self, status: u16) -> Outcome<Self> {
        if self.status == status {
            return Ok(self);
        }
        Err(format!("{status} was expected, not {} {}", self.status, self.body).into())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Outcome<Value> {
        serde_json::from_str(&self.body).map_err(Failure::from)
    }

    /// A text field of the JSON body.
    pub(crate) fn field(&self, name: &str) -> Outcome<String> {
        let value = self.json()?;
        let text = value[name].as_str();
        text.map(str::to_owned).ok_or_else(|| format!("no {name} in {}", self.body).into())
    }
}
