//! Events to NATS JetStream: the road for shops whose consumers outgrow one machine.

mod sink;

pub(crate) use sink::{InvalidNats, NatsSink};
