//! The body of an import: read from the connection by the handler, and by the import as a file.
//!
//! The import runs in a task of its own, because its parser waits for bytes. Between the two is a bounded number of bytes: the handler reads
//! on from the connection only when the import has taken some.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

/// Pieces of the body that wait for the import. Each is at most what one read from the connection returns.
const PIECES: usize = 16;
/// Bytes that are read of a body that is not needed any more, so that the client sees the answer and not a broken connection.
const LINGER_BYTES: usize = 32 << 20;

/// A piece of the body, or its end.
enum Piece {
    Bytes(Bytes),
    End,
    Broken(io::Error),
}

/// Where the handler puts the body.
pub(crate) struct Feed {
    pieces: Sender<Piece>,
    room: Arc<Semaphore>,
}

/// What the import reads.
pub(crate) struct Stream {
    pieces: Receiver<Piece>,
    room: Arc<Semaphore>,
    current: Bytes,
    is_over: bool,
}

/// Both ends.
pub(crate) fn stream() -> (Feed, Stream) {
    let (sender, receiver) = channel();
    let room = Arc::new(Semaphore::new(PIECES));
    let feed = Feed { pieces: sender, room: Arc::clone(&room) };
    (feed, Stream { pieces: receiver, room, current: Bytes::new(), is_over: false })
}

impl Feed {
    /// Reads the body to its end, each part within `timeout`. If this is dropped before, the import fails.
    pub(crate) async fn read(self, mut body: Body, timeout: Duration) {
        let mut unwanted = 0;
        loop {
            let frame = match tokio::time::timeout(timeout, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_))) => {
                    self.put(Piece::Broken(broken("the body ended before its end"))).await;
                    return;
                }
                Ok(None) => {
                    self.put(Piece::End).await;
                    return;
                }
                Err(_) => {
                    self.put(Piece::Broken(broken("the body did not arrive in time"))).await;
                    return;
                }
            };
            let Ok(bytes) = frame.into_data() else { continue };
            let length = bytes.len();
            if !self.put(Piece::Bytes(bytes)).await {
                unwanted += length;
                if unwanted > LINGER_BYTES {
                    return;
                }
            }
        }
    }

    /// Waits for room; `false` if the import reads no more.
    async fn put(&self, piece: Piece) -> bool {
        let Ok(room) = self.room.acquire().await else { return false };
        room.forget();
        self.pieces.send(piece).is_ok()
    }
}

fn broken(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, text.to_owned())
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.is_over {
            // The runtime moves its other tasks to another thread meanwhile.
            let piece = tokio::task::block_in_place(|| self.pieces.recv());
            self.room.add_permits(1);
            match piece {
                Ok(Piece::Bytes(bytes)) => self.current = bytes,
                Ok(Piece::End) => self.is_over = true,
                Ok(Piece::Broken(error)) => return Err(error),
                Err(_) => return Err(broken("the client has gone before the end of the body")),
            }
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

impl Drop for Stream {
    /// Tells a sender that waits for room that there is no need.
    fn drop(&mut self) {
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn read_through(pieces: Vec<Result<&'static str, io::Error>>) -> io::Result<String> {
        let (feed, mut stream) = stream();
        let body = Body::from_stream(stream::iter(pieces));
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        });
        feed.read(body, Duration::from_mins(1)).await;
        reading.await.unwrap()
    }

    #[tokio::test]
    async fn a_whole_body_is_read_in_order() {
        let pieces = (0..100).map(|_| Ok("ab"));

        let text = read_through(pieces.collect()).await.unwrap();

        assert_eq!(text, "ab".repeat(100));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error_and_not_an_end() {
        let pieces = vec![Ok("ab"), Err(io::Error::from(io::ErrorKind::ConnectionReset))];

        assert!(read_through(pieces).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_has_gone_is_an_error() {
        let (feed, mut stream) = stream();
        drop(feed);

        assert!(stream.read_to_string(&mut String::new()).is_err());
    }

    #[tokio::test]
    async fn nothing_waits_for_an_import_that_reads_no_more() {
        let (feed, stream) = stream();
        drop(stream);
        let body = Body::from(vec![0; 10_000_000]);

        let read = feed.read(body, Duration::from_mins(1));

        tokio::time::timeout(Duration::from_mins(1), read).await.unwrap();
    }
}
