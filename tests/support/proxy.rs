//! A proxy in front of a server, and what can happen to bytes on the way: in either direction they arrive later, much later or
//! never. Connections can be cut or silenced; a silenced one stays open and carries nothing more, as when a host vanishes.
//!
//! A delay does not throttle: what was sent together arrives together. So it makes transactions longer without costing
//! processor time, as a distant database does.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;
/// Chunks that one direction of a connection holds back before it stops reading.
const MAX_DELAYED: usize = 1024;

/// A running proxy, on a thread of its own. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    signals: Signals,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// What happens to bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// They are forwarded at once.
    Clear,
    /// They are forwarded after this time.
    Delayed(Duration),
    /// They are held until the way changes.
    Stalled,
    /// They are dropped; the connection stays open.
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
    server: watch::Sender<SocketAddr>,
}

impl Proxy {
    /// Starts a proxy in front of a server.
    pub(crate) fn before(server: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let signals = Signals {
            silenced: watch::Sender::new(0),
            cut: watch::Sender::new(0),
            ways: watch::Sender::new(Ways::both(Way::Clear)),
            server: watch::Sender::new(server),
        };
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (given, stopped) = (signals.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, given) => {}
                    () = stopped.cancelled() => {}
                }
            });
        });
        Ok(Self { address, signals, stop, thread: Some(thread) })
    }

    /// Silences the connections that exist; new ones work.
    pub(crate) fn silence(&self) {
        self.signals.silenced.send_modify(|times| *times += 1);
    }

    /// Closes the connections that exist; new ones work.
    pub(crate) fn cut(&self) {
        self.signals.cut.send_modify(|times| *times += 1);
    }

    /// Leads new connections to another server, as a name does that has moved.
    pub(crate) fn move_to(&self, server: SocketAddr) {
        self.signals.server.send_replace(server);
    }

    /// Starts or ends holding back all bytes, also those of new connections.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.lead(Ways::both(if is_stalled { Way::Stalled } else { Way::Clear }));
    }

    /// Sets what happens to all bytes from now on.
    pub(crate) fn lead(&self, ways: Ways) {
        self.signals.ways.send_replace(ways);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, signals: Signals) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let connections = TaskTracker::new();
    while let Ok((client, _)) = listener.accept().await {
        let server = *signals.server.borrow();
        connections.spawn(carry(client, server, signals.clone()));
    }
}

/// Carries one connection until either end hangs up or it is cut.
async fn carry(client: TcpStream, server: SocketAddr, signals: Signals) {
    let (mut silenced, mut cut) = (signals.silenced.subscribe(), signals.cut.subscribe());
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = flow(from_client, to_server, signals.ways.subscribe(), |ways| ways.there) => {}
        () = flow(from_server, to_client, signals.ways.subscribe(), |ways| ways.back) => {}
        _ = cut.changed() => {}
        // Both ends stay open, and neither receives anything from the other again.
        _ = silenced.changed() => pending().await,
    }
}

/// Carries bytes in one direction until an end hangs up. What was read before that is still delivered.
async fn flow(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut ways: watch::Receiver<Ways>,
    of: fn(&Ways) -> Way,
) {
    let mut chunk = vec![0; CHUNK];
    let mut delayed = VecDeque::<(Instant, Vec<u8>)>::new();
    let mut is_open = true;
    while is_open || !delayed.is_empty() {
        let due = delayed.front().map(|(due, _)| *due);
        tokio::select! {
            biased;
            () = until(due) => {
                let Some((_, bytes)) = delayed.pop_front() else { continue };
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            read = from.read(&mut chunk), if is_open && delayed.len() < MAX_DELAYED => {
                let Ok(count @ 1..) = read else {
                    is_open = false;
                    continue;
                };
                let way = ways.wait_for(|ways| of(ways) != Way::Stalled).await.map(|ways| of(&ways));
                let delay = match way {
                    Ok(Way::Lossy) => continue,
                    Ok(Way::Delayed(delay)) => delay,
                    Ok(Way::Clear | Way::Stalled) | Err(_) => Duration::ZERO,
                };
                if delay.is_zero() && delayed.is_empty() {
                    if to.write_all(&chunk[..count]).await.is_err() {
                        return;
                    }
                } else {
                    delayed.push_back((Instant::now() + delay, chunk[..count].to_vec()));
                }
            }
        }
    }
}

/// Waits until this time; forever without one.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}
