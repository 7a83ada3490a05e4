//! Bytes on a socket: for requests that no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::eventually::PATIENCE;

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
}

/// What the server sent before it closed the connection.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// The status, if there was a response.
    pub(crate) status: Option<u16>,
    /// Its head.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: String,
}

impl Wire {
    /// Connects, if the port is open.
    pub(crate) async fn connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { stream })
    }

    /// Sends bytes; `false` if the server has closed the connection.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Reads until the server closes the connection.
    pub(crate) async fn receive(mut self) -> Received {
        let mut bytes = Vec::new();
        let reading = self.stream.read_to_end(&mut bytes);
        let read = tokio::time::timeout(PATIENCE, reading).await;
        assert!(read.is_ok(), "the connection stays open: {}", text(&bytes));
        Received::parse(&text(&bytes))
    }

    /// Reads one response; the connection stays open.
    pub(crate) async fn receive_one(&mut self) -> Received {
        let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
        while !Received::parse(&text(&received)).is_complete() {
            match self.stream.read(&mut chunk).await {
                Ok(count @ 1..) => received.extend_from_slice(&chunk[..count]),
                _ => break,
            }
        }
        Received::parse(&text(&received))
    }

    /// Reads this many bytes, or fewer if the server closes the connection first.
    pub(crate) async fn receive_part(mut self, bytes: usize) {
        let _ = self.stream.read_exact(&mut vec![0; bytes]).await;
    }

    /// Reads until the server closes the connection, this many bytes at a time, with a pause after each read.
    pub(crate) async fn receive_slowly(mut self, at_a_time: usize, pause: Duration) -> Received {
        let (mut received, mut part) = (Vec::new(), vec![0; at_a_time]);
        while let Ok(count @ 1..) = self.stream.read(&mut part).await {
            received.extend_from_slice(&part[..count]);
            tokio::time::sleep(pause).await;
        }
        Received::parse(&text(&received))
    }

    /// Sends and reads concurrently, because a response may come before everything was sent. Ends when the response is complete or
    /// the server closes the connection.
    pub(crate) async fn exchange(self, bytes: Vec<u8>) -> Received {
        let (mut reader, mut writer) = self.stream.into_split();
        let sending = async move {
            // A server that stops reading may still send a response.
            let _ = writer.write_all(&bytes).await;
            std::future::pending::<Received>().await
        };
        let receiving = async move {
            let mut received = Vec::new();
            let mut chunk = [0; 4096];
            while !Received::parse(&text(&received)).is_complete() {
                match reader.read(&mut chunk).await {
                    Ok(count) if count > 0 => received.extend_from_slice(&chunk[..count]),
                    _ => break,
                }
            }
            Received::parse(&text(&received))
        };
        let received = async {
            tokio::select! { never = sending => never, received = receiving => received }
        };
        tokio::time::timeout(PATIENCE, received).await.unwrap()
    }
}

impl Received {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Whether it is a whole response.
    pub(crate) fn is_complete(&self) -> bool {
        let length = self.head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        matches!((self.status, length), (Some(_), Some(Ok(length))) if self.body.len() == length)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}\n\n{}", self.head, self.body))
    }
}

/// A request without a body that asks to close the connection.
pub(crate) fn request(method: &str, target: &str) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
