//! One kept connection with at most one request in progress.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::traffic::Kind;

/// Size of the largest response; that to a request for one item has about 400 bytes.
const ANSWER_BYTES: usize = 16 * 1024;
/// Initial size of the request buffer.
const REQUEST_BYTES: usize = 512;

/// A request in progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) kind: Kind,
    /// When it was due, from which its latency counts.
    pub(crate) due: Instant,
}

/// A kept connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    received: Box<[u8]>,
    filled: usize,
    pub(crate) pending: Option<Pending>,
    /// When it was last used.
    pub(crate) used: Instant,
}

impl Connection {
    /// Connects, and waits for it, so that this time does not count for a request.
    pub(crate) fn open(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: prepared(TcpStream::from_std(stream), registry, token)?,
            request: Vec::with_capacity(REQUEST_BYTES),
            sent: 0,
            received: vec![0; ANSWER_BYTES].into_boxed_slice(),
            filled: 0,
            pending: None,
            used: Instant::now(),
        })
    }

    /// Abandons the connection and begins to connect again, without waiting, because the others go on meanwhile.
    pub(crate) fn reopen(
        &mut self,
        address: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> io::Result<()> {
        self.stream = prepared(TcpStream::connect(address)?, registry, token)?;
        (self.sent, self.filled, self.pending) = (0, 0, None);
        self.request.clear();
        self.used = Instant::now();
        Ok(())
    }

    /// An empty buffer for the next request.
    pub(crate) fn blank(&mut self) -> &mut Vec<u8> {
        self.request.clear();
        self.sent = 0;
        &mut self.request
    }

    /// Sends the rest of the request, as far as the socket accepts it.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => self.sent += bytes,
                // There is an event when the socket accepts more.
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives available bytes. Returns whether there were any.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        if self.filled == self.received.len() {
            return Err(ErrorKind::FileTooLarge.into());
        }
        loop {
            match self.stream.read(&mut self.received[self.filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => {
                    self.filled += bytes;
                    return Ok(true);
                }
                Err(error) if is_not_yet(&error) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Bytes received since the last response.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received[..self.filled]
    }

    /// Discards a handled response: the next one starts with an empty buffer.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.filled = 0;
        self.pending = None;
        self.used = now;
    }
}

fn prepared(mut stream: TcpStream, registry: &Registry, token: Token) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
