//! What the parts of the service are built from.

use prometheus::Registry;

use super::instance::Instance;
use super::selling::MakeSelling;
use super::task_groups::TaskGroups;
use crate::config::{Config, InForce};
use crate::infrastructure::circuit::CircuitMetrics;
use crate::infrastructure::persistence::Database;

/// What the parts of the service are built from.
pub(crate) struct BuildContext<'a> {
    pub(crate) config: &'a Config,
    /// The configuration in force, which begins as that one.
    pub(crate) in_force: &'a InForce,
    pub(crate) instance: &'a Instance,
    pub(crate) registry: &'a Registry,
    pub(crate) circuits: &'a CircuitMetrics,
    pub(crate) database: &'a Database,
    pub(crate) tasks: &'a TaskGroups,
    pub(crate) make_selling: MakeSelling,
}
