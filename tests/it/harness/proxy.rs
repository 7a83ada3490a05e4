//! A proxy that can fall silent: connections stay open and carry nothing more, as when a host is gone without a word. It can
//! also stall: then it carries nothing for a while, and everything later.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Stands before a server, as long as the test's runtime.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    silenced: watch::Sender<u32>,
    stalled: watch::Sender<bool>,
}

impl Proxy {
    /// Starts before a server.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (silenced, stalled) = (watch::Sender::new(0), watch::Sender::new(false));
        let tasks = TaskTracker::new();
        let signals = (silenced.clone(), stalled.clone());
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let signals = (signals.0.subscribe(), signals.1.subscribe());
                connections.spawn(carry(client, server, signals));
            }
        });
        Self { address, silenced, stalled }
    }

    /// The connections that exist fall silent; new ones work.
    pub(crate) fn silence(&self) {
        self.silenced.send_modify(|times| *times += 1);
    }

    /// Whether everything is held up, new connections too.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.stalled.send_replace(is_stalled);
    }
}

async fn carry(
    client: TcpStream,
    server: SocketAddr,
    (mut silenced, stalled): (watch::Receiver<u32>, watch::Receiver<bool>),
) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = flow(from_client, to_server, stalled.clone()) => {}
        () = flow(from_server, to_client, stalled) => {}
        // Both ends stay open, and neither hears from the other again.
        _ = silenced.changed() => std::future::pending().await,
    }
}

/// Carries bytes until one end hangs up.
async fn flow(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut stalled: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let _ = stalled.wait_for(|is_stalled| !is_stalled).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
