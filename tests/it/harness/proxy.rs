//! A proxy that can fall silent: connections stay open and carry nothing more, as when a host is gone without a word.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Stands before a server, as long as the test's runtime.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    silenced: watch::Sender<u32>,
}

impl Proxy {
    /// Starts before a server.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silenced = watch::Sender::new(0);
        let tasks = TaskTracker::new();
        let signal = silenced.clone();
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, server, signal.subscribe()));
            }
        });
        Self { address, silenced }
    }

    /// The connections that exist fall silent; new ones work.
    pub(crate) fn silence(&self) {
        self.silenced.send_modify(|times| *times += 1);
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut silenced: watch::Receiver<u32>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        // Both ends stay open, and neither hears from the other again.
        _ = silenced.changed() => std::future::pending().await,
    }
}
