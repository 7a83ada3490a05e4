//! A way to a NATS server on which a message gets lost, as where a connection breaks and the next one goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::database::address_of;

/// Forwards to a server.
pub(crate) struct NatsProxy {
    /// What clients connect to.
    pub(crate) url: String,
    /// The next message that is published does not arrive.
    pub(crate) loses_one: Arc<AtomicBool>,
}

impl NatsProxy {
    /// Forwards to the server of this URL.
    pub(crate) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url_here = format!("nats://{}", listener.local_addr().unwrap());
        let (server, loses_one) = (address_of(url), Arc::new(AtomicBool::new(false)));
        let loses = Arc::clone(&loses_one);
        let tasks = TaskTracker::new();
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, to_server) =
                    TcpStream::connect(server).await.unwrap().into_split();
                connections.spawn(publishes(from_client, to_server, Arc::clone(&loses)));
                connections
                    .spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            }
        });
        Self { url: url_here, loses_one }
    }
}

/// Forwards what a client sends, command by command.
async fn publishes(client: OwnedReadHalf, mut server: OwnedWriteHalf, loses: Arc<AtomicBool>) {
    let mut client = BufReader::new(client);
    let mut command = Vec::new();
    while client.read_until(b'\n', &mut command).await.is_ok_and(|read| read > 0) {
        let line = String::from_utf8_lossy(&command).into_owned();
        if line.starts_with("PUB ") || line.starts_with("HPUB ") {
            let length: usize = line.split_whitespace().last().unwrap().parse().unwrap();
            let head = command.len();
            command.resize(head + length + "\r\n".len(), 0);
            client.read_exact(&mut command[head..]).await.unwrap();
        }
        // Messages with an id have headers.
        if !line.starts_with("HPUB ") || !loses.swap(false, Ordering::SeqCst) {
            server.write_all(&command).await.unwrap();
        }
        command.clear();
    }
}
