//! Jobs in River's table `river_job`. River itself claims and completes them, in `infrastructure/jobs`; everything else is here, by
//! PostgreSQL's clock.
//!
//! - [`enqueue`]: inserts a job, also in the transaction of another write. [`row`]: a row as a job.
//! - [`reader`]: lists and counts. [`repair`]: what operators do. [`workers`]: leases, failed attempts, and jobs that become due.

pub(crate) mod enqueue;
pub(crate) mod reader;
pub(crate) mod repair;
pub(crate) mod row;
pub(crate) mod workers;

/// What River's workers listen to, with the schema in front.
macro_rules! notify {
    ($queue:literal) => {
        concat!(
            "pg_notify('public.river_insert', json_build_object('queue', ",
            $queue,
            ")::text)::text"
        )
    };
}

pub(crate) use notify;
