//! A proxy before a server, and what can happen to bytes on the way: they come late, later or never, in either direction.
//! Connections can be cut, or fall silent: then they stay open and carry nothing more, as when a host is gone without a word.

use std::net::SocketAddr;
use std::time::Duration;

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
    signals: Signals,
}

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// They are carried at once.
    Clear,
    /// Each piece waits for so long.
    Delayed(Duration),
    /// They wait until the way is another one.
    Stalled,
    /// They are lost, and nobody is told.
    Lossy,
}

/// The two directions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ways {
    /// From the client to the server.
    pub(crate) there: Way,
    /// From the server to the client.
    pub(crate) back: Way,
}

impl Ways {
    /// The same in both directions.
    pub(crate) fn both(way: Way) -> Self {
        Self { there: way, back: way }
    }
}

#[derive(Debug, Clone)]
struct Signals {
    silenced: watch::Sender<u32>,
    cut: watch::Sender<u32>,
    ways: watch::Sender<Ways>,
}

impl Proxy {
    /// Starts before a server.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let signals = Signals {
            silenced: watch::Sender::new(0),
            cut: watch::Sender::new(0),
            ways: watch::Sender::new(Ways::both(Way::Clear)),
        };
        let (tasks, given) = (TaskTracker::new(), signals.clone());
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, server, given.clone()));
            }
        });
        Self { address, signals }
    }

    /// The connections that exist fall silent; new ones work.
    pub(crate) fn silence(&self) {
        self.signals.silenced.send_modify(|times| *times += 1);
    }

    /// The connections that exist are closed; new ones work.
    pub(crate) fn cut(&self) {
        self.signals.cut.send_modify(|times| *times += 1);
    }

    /// Whether everything is held up, new connections too.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.lead(Ways::both(if is_stalled { Way::Stalled } else { Way::Clear }));
    }

    /// What becomes of all bytes from now on.
    pub(crate) fn lead(&self, ways: Ways) {
        self.signals.ways.send_replace(ways);
    }
}

async fn carry(client: TcpStream, server: SocketAddr, signals: Signals) {
    let (mut silenced, mut cut) = (signals.silenced.subscribe(), signals.cut.subscribe());
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = flow(from_client, to_server, signals.ways.subscribe(), |ways| ways.there) => {}
        () = flow(from_server, to_client, signals.ways.subscribe(), |ways| ways.back) => {}
        _ = cut.changed() => {}
        // Both ends stay open, and neither hears from the other again.
        _ = silenced.changed() => std::future::pending().await,
    }
}

/// Carries bytes until one end hangs up.
async fn flow(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut ways: watch::Receiver<Ways>,
    of: fn(&Ways) -> Way,
) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let now = ways.wait_for(|ways| of(ways) != Way::Stalled).await.map(|ways| of(&ways));
        match now {
            Ok(Way::Lossy) => continue,
            Ok(Way::Delayed(time)) => tokio::time::sleep(time).await,
            Ok(Way::Clear | Way::Stalled) | Err(_) => {}
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
