//! Events behind the sale: [`EventReader`] makes them of what transactions wrote to the outbox, [`Delivery`] brings them to a sink.

mod delivery;
mod paced;
mod reader;
mod subjects;

pub use delivery::{Delivery, DeliveryPorts};
pub use paced::{PacedLog, PacedLogPorts};
pub use reader::{EventReader, EventReaderPorts};
pub use subjects::KnownSubjects;
