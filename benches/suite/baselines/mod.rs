//! The baselines, with which the service is compared.
//!
//! - [`bare`]: the same HTTP stack with a constant response, an upper bound for such a service.
//! - `direct`: the service itself with one transaction for each request, the usual design. It is a part of the library
//!   (`flash_sale::bench`), and this binary runs it with the role `direct`.
//! - [`redis_only`]: axum and scripts in Redis, without PostgreSQL.
//! - [`floor`]: PostgreSQL and Redis alone, with the service's statements and scripts.

pub(crate) mod bare;
pub(crate) mod floor;
pub(crate) mod redis_only;
