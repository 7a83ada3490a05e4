//! Bytes on a socket: for requests that no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for the other side to answer or to hang up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
}

/// What came back before the other side hung up.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The status, if there was an answer.
    pub(crate) status: Option<u16>,
    /// Its head.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: String,
}

impl Wire {
    /// Connects, if anybody listens.
    pub(crate) async fn connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { stream })
    }

    /// Sends bytes; `false` if the other side has hung up.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Reads until the other side hangs up.
    pub(crate) async fn hear(mut self) -> Heard {
        let mut bytes = Vec::new();
        let reading = self.stream.read_to_end(&mut bytes);
        let read = tokio::time::timeout(READ_TIMEOUT, reading).await;
        assert!(read.is_ok(), "neither an answer nor a hang-up: {}", text(&bytes));
        Heard::parse(&text(&bytes))
    }

    /// Reads so many bytes of what comes, or all of it if that is less.
    pub(crate) async fn hear_part(mut self, bytes: usize) {
        let _ = self.stream.read_exact(&mut vec![0; bytes]).await;
    }

    /// Reads until the other side hangs up, so many bytes at a time, with a pause after each.
    pub(crate) async fn hear_slowly(mut self, at_a_time: usize, pause: Duration) -> Heard {
        let (mut heard, mut sip) = (Vec::new(), vec![0; at_a_time]);
        while let Ok(count @ 1..) = self.stream.read(&mut sip).await {
            heard.extend_from_slice(&sip[..count]);
            tokio::time::sleep(pause).await;
        }
        Heard::parse(&text(&heard))
    }

    /// Sends and reads at the same time, until an answer is complete or the other side hangs up: an answer may come
    /// before all was sent.
    pub(crate) async fn send_and_hear(self, bytes: Vec<u8>) -> Heard {
        let (mut reader, mut writer) = self.stream.into_split();
        let sending = async move {
            // The other side may well stop listening; it still may have something to say.
            let _ = writer.write_all(&bytes).await;
            std::future::pending::<Heard>().await
        };
        let hearing = async move {
            let mut heard = Vec::new();
            let mut chunk = [0; 4096];
            while !Heard::parse(&text(&heard)).is_complete() {
                match reader.read(&mut chunk).await {
                    Ok(count) if count > 0 => heard.extend_from_slice(&chunk[..count]),
                    _ => break,
                }
            }
            Heard::parse(&text(&heard))
        };
        let heard = async {
            tokio::select! { heard = sending => heard, heard = hearing => heard }
        };
        tokio::time::timeout(READ_TIMEOUT, heard).await.unwrap()
    }
}

impl Heard {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Whether an answer came, and all of it.
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

/// A whole request without a body, after which the connection is to be closed.
pub(crate) fn request(method: &str, target: &str) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
