//! A thread for work that may wait while buyers are served.
//!
//! Deliveries take as much of the machine as selling itself. On a thread of a lower priority they get what selling leaves, and
//! catch up when there is less of it: the operating system decides that from moment to moment, which no limit of a rate could.

use std::io;
use std::thread;

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The nice value: beside threads that want all of a core it gets a tenth of it. It must not get nothing: what it has begun
/// in PostgreSQL should end.
const NICE: i32 = 10;

/// The thread, which ends when this is dropped. Linux has priorities of threads; elsewhere it is an ordinary one.
#[derive(Debug)]
pub(crate) struct LowPriority {
    runtime: Handle,
    _running: DropGuard,
}

impl LowPriority {
    /// Starts the thread.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let running = CancellationToken::new();
        let ended = running.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // On Linux the process of this number is this thread.
            if cfg!(target_os = "linux")
                && let Err(error) = setpriority_process(Some(gettid()), NICE)
            {
                tracing::warn!(%error, "deliveries have the same priority as buyers");
            }
            runtime.block_on(ended.cancelled());
            // A name that is being looked up must not hold up the stop.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _running: running.drop_guard() })
    }

    /// Where tasks of this priority are started.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}
