//! What the service is measured against.
//!
//! - [`bare`]: the same HTTP stack with nothing behind it, the most that a service of this kind could do.
//! - `direct`: the service itself with a transaction a request, as nearly everybody builds it. It is a part of the
//!   library (`flash_sale::bench`), and this binary plays it when it is told to.
//! - [`floor`]: PostgreSQL and Redis alone, with the service's own statements and scripts.

pub(crate) mod bare;
pub(crate) mod floor;
