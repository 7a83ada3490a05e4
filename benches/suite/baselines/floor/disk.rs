//! The time of the disk to flush a page, repeatedly, during a load.
//!
//! A commit waits for a flush of the WAL, so no durable service is faster than this. Most flushes take less than a millisecond.
//! Now and then the kernel writes back the dirty pages of the tables at once, and flushes meanwhile wait for it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::outcome::Outcome;

/// Pause between two flushes: short enough to meet every long flush, and too long to be a load.
const PAUSE: Duration = Duration::from_millis(20);
const PAGE: [u8; 8_192] = [0; 8_192];

/// A running measurement.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<std::io::Result<Duration>>,
    file: PathBuf,
}

impl Watch {
    /// Starts flushing a small file in `folder`.
    pub(crate) fn begin(folder: &Path) -> Outcome<Self> {
        let path = folder.join(format!("flash-sale-bench-{}.flush", std::process::id()));
        let file = File::create(&path)?;
        file.write_all_at(&PAGE, 0)?;
        file.sync_all()?;
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                let began = Instant::now();
                file.write_all_at(&PAGE, 0)?;
                file.sync_data()?;
                longest = longest.max(began.elapsed());
            }
            Ok(longest)
        });
        Ok(Self { stop, thread, file: path })
    }

    /// Ends the measurement. Returns the longest flush.
    pub(crate) fn end(self) -> Outcome<Duration> {
        drop(self.stop);
        let longest = self.thread.join().map_err(|_| "the watch of the disk panicked")?;
        std::fs::remove_file(&self.file)?;
        Ok(longest?)
    }
}
