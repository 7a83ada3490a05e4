//! Whether PostgreSQL is there: asked again and again over a connection of its own, which no pool that is used up can hold
//! up. While it is away, nobody waits for it.
//!
//! Callers' failures only call for a look: all connections may have been cut while the server takes new ones.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::connecting::{answers, connect};
use crate::infrastructure::circuit::Circuit;

/// A look takes at most so long: it waits for no lock and no disk, so a server that takes longer serves nobody.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// `admin_shutdown`, `crash_shutdown`, `cannot_connect_now`: it is about to end, or not there yet.
const COMES_OR_GOES: [&str; 3] = ["57P01", "57P02", "57P03"];

/// The circuit to PostgreSQL, and what is known of it.
#[derive(Debug)]
pub(super) struct Pulse {
    circuit: Circuit,
    options: PgConnectOptions,
    /// Kept between looks.
    connection: Mutex<Option<PgConnection>>,
}

impl Pulse {
    pub(super) fn new(circuit: Circuit, options: PgConnectOptions) -> Self {
        Self { circuit, options, connection: Mutex::default() }
    }

    /// Whether callers may ask.
    pub(super) fn is_felt(&self) -> bool {
        self.circuit.is_closed()
    }

    /// The circuit's state, in a word.
    pub(super) fn circuit_state(&self) -> &'static str {
        self.circuit.state_name()
    }

    /// A caller's connection broke: the next look is due now.
    pub(super) fn doubt(&self) {
        self.circuit.doubt();
    }

    /// Looks at the circuit's pace, until `stop`.
    pub(super) async fn watch(self: &Arc<Self>, stop: CancellationToken) {
        let look = || Arc::clone(self).is_there();
        self.circuit.watch(stop, look).await;
        if let Some(connection) = self.connection.lock().await.take() {
            let _ = tokio::time::timeout(LOOK_TIMEOUT, connection.close()).await;
        }
    }

    async fn is_there(self: Arc<Self>) -> bool {
        let look = async {
            let mut held = self.connection.lock().await;
            // A look that takes too long leaves none behind.
            let mut kept = held.take();
            if let Some(connection) = &mut kept
                && !answers(connection).await
            {
                // That one connection broke says nothing of the next.
                kept = None;
            }
            let connection = match kept {
                Some(kept) => Ok(kept),
                None => connect(&self.options, LOOK_TIMEOUT).await,
            };
            let is_there = match &connection {
                Ok(_) => true,
                Err(error) => {
                    tracing::debug!(%error, "postgresql takes no connection");
                    is_answer(error)
                }
            };
            *held = connection.ok();
            is_there
        };
        tokio::time::timeout(LOOK_TIMEOUT, look).await.unwrap_or(false)
    }
}

/// Whether a server refused, which has no room for one more, say, and may serve those that it has.
fn is_answer(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(refusal) => !refusal.code().is_some_and(|code| COMES_OR_GOES.contains(&&*code)),
        None => false,
    }
}
