//! What a delivery asks for, and what it hears of it.

use crate::application::ports::{
    EndpointAnswer, Event, EventBatch, NoAnswer, PortError, Progress, Waiting,
};
use crate::application::webhooks::window::Queued;

/// Where an event comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The log, read for the first time.
    Log(Queued),
    /// The log, read again.
    Replay(Queued),
    /// Those that wait for a retry.
    Retry(Waiting),
}

impl Source {
    /// The event.
    pub(crate) fn event(&self) -> &Event {
        match self {
            Self::Log(queued) | Self::Replay(queued) => &queued.event,
            Self::Retry(waiting) => &waiting.event,
        }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// Send an event.
    Send(Source),
    /// Read the log behind a position.
    Read(i64),
    /// Read the log behind a position, for a replay.
    ReadAgain(i64),
    /// Load what waits for a retry; with `true` also what is not due.
    Load(bool),
    /// Store progress.
    Save(Progress),
    /// Disable the endpoint, for this reason.
    Disable(String),
}

/// What was done.
#[derive(Debug)]
pub(crate) enum Done {
    /// An event was sent.
    Sent(Source, Result<EndpointAnswer, NoAnswer>),
    /// The log was read.
    Read(Result<Vec<EventBatch>, PortError>),
    /// The log was read for a replay.
    ReadAgain(Result<Vec<EventBatch>, PortError>),
    /// What waits was loaded.
    Loaded(Result<Vec<Waiting>, PortError>),
    /// Progress was stored; `false` if the lease is lost.
    Saved(Progress, Result<bool, PortError>),
    /// The endpoint was disabled; `false` if the lease is lost.
    Disabled(Result<bool, PortError>),
}

impl Done {
    /// Why a port failed, if one did.
    pub(crate) fn error(&self) -> Option<&PortError> {
        match self {
            Self::Sent(..) => None,
            Self::Read(result) | Self::ReadAgain(result) => result.as_ref().err(),
            Self::Loaded(result) => result.as_ref().err(),
            Self::Saved(_, result) | Self::Disabled(result) => result.as_ref().err(),
        }
    }
}
