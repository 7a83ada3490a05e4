//! A slow network before PostgreSQL: every answer arrives later by a delay that can be changed while it runs.
//!
//! It delays, and does not throttle: what was sent together arrives together. So it makes transactions longer without
//! taking processor time from anybody, which is what a database at a distance does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Outcome;

/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;
/// Chunks of a connection that may be on their way.
const ON_THE_WAY: usize = 1024;

/// A running proxy; it ends with its value.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Its port on this machine.
    pub(crate) port: u16,
    delay_us: Arc<AtomicU64>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// What arrived, and when it shall arrive.
type Parcel = (Instant, Vec<u8>);

impl Proxy {
    /// Starts before a port of this machine, without a delay.
    pub(crate) fn before(port: u16) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let own_port = listener.local_addr()?.port();
        let (delay_us, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let (delay, stopped) = (Arc::clone(&delay_us), stop.clone());
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, server, delay) => {}
                    () = stopped.cancelled() => {}
                }
            });
        });
        Ok(Self { port: own_port, delay_us, stop, thread: Some(thread) })
    }

    /// From now on each answer takes so much longer.
    pub(crate) fn delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delay_us.store(micros, Ordering::Relaxed);
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

async fn serve(listener: TcpListener, server: SocketAddr, delay_us: Arc<AtomicU64>) {
    let tasks = TaskTracker::new();
    while let Ok((client, _)) = listener.accept().await {
        let delay_us = Arc::clone(&delay_us);
        let inner = tasks.clone();
        tasks.spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (mut from_client, to_client) = client.into_split();
            let (from_server, mut to_server) = server.into_split();
            let (put, take) = mpsc::channel(ON_THE_WAY);
            inner.spawn(receive(from_server, put, delay_us));
            inner.spawn(deliver(take, to_client));
            let _ = copy(&mut from_client, &mut to_server).await;
        });
    }
}

/// Takes what the server says, and notes when it shall arrive.
async fn receive(mut server: OwnedReadHalf, put: mpsc::Sender<Parcel>, delay_us: Arc<AtomicU64>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(bytes @ 1..) = server.read(&mut chunk).await {
        let due = Instant::now() + Duration::from_micros(delay_us.load(Ordering::Relaxed));
        if put.send((due, chunk[..bytes].to_vec())).await.is_err() {
            return;
        }
    }
}

/// Hands over each parcel when it is due.
async fn deliver(mut take: mpsc::Receiver<Parcel>, mut client: OwnedWriteHalf) {
    while let Some((due, bytes)) = take.recv().await {
        tokio::time::sleep_until(due).await;
        if client.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
