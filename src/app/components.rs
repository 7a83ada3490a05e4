//! What requests and background tasks of the service are made of: the cell, and what is not part of one.

use std::sync::Arc;

use super::cell::Cell;
use super::context::BuildContext;
use super::error::AppError;
use super::shared::Shared;
use super::use_cases::use_cases;
use crate::application::api_keys::ApiKeys;
use crate::application::cells::Cells;
use crate::infrastructure::http::{AuthMetrics, HttpState};
use crate::infrastructure::monitoring::ReloadStatus;
use crate::infrastructure::persistence::{DatabaseClock, PostgresApiKeyStore};
use crate::infrastructure::signing::{HmacCursorSigner, HmacKeySecrets};

/// The adapters and what use cases share, made once and used by requests and background tasks.
pub(crate) struct Components {
    pub(crate) cell: Cell,
    pub(crate) shared: Shared,
    /// Keys of operators and services. They cost nothing until a request has one.
    pub(crate) api_keys: Arc<ApiKeys>,
    pub(crate) auth_metrics: Arc<AuthMetrics>,
    pub(crate) reloads: Arc<ReloadStatus>,
}

impl Components {
    /// Creates all adapters. Only the cache writer starts to run.
    pub(crate) fn build(context: &BuildContext<'_>) -> Result<Self, AppError> {
        let shared = Shared::build(context)?;
        let cell = Cell::build(context, &shared, context.config.database.cell)?;
        let clock = Arc::<DatabaseClock>::clone(&cell.clock);
        Ok(Self {
            api_keys: api_keys(context, &cell),
            auth_metrics: Arc::new(AuthMetrics::register(context.registry)?),
            reloads: Arc::new(ReloadStatus::register(context.registry, clock)?),
            cell,
            shared,
        })
    }

    /// What handlers work with.
    pub(crate) fn http_state(&self, context: &BuildContext<'_>) -> HttpState {
        let home = use_cases(context.config, &self.cell, &self.shared);
        HttpState {
            cells: Arc::new(Cells::new(home, Vec::new())),
            cursors: Arc::<HmacCursorSigner>::clone(&self.shared.cursors),
            tasks: context.tasks.requests.clone(),
            request_timeout: context.in_force.setting(|config| config.http.request_timeout),
        }
    }
}

/// Keys of operators and services.
fn api_keys(context: &BuildContext<'_>, cell: &Cell) -> Arc<ApiKeys> {
    Arc::new(ApiKeys::new(
        Arc::new(PostgresApiKeyStore::new(cell.database.clone())),
        Arc::new(HmacKeySecrets::new(&context.config.api_keys)),
        Arc::clone(cell.sale_cache.clock()),
    ))
}
