//! What the handlers work with.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::metrics::AdminMetrics;
use crate::application::api_keys::ApiKeys;
use crate::application::api_keys::issue::IssueKey;
use crate::application::create_sale::CreateSale;
use crate::application::jobs::change_schedules::ChangeSchedules;
use crate::application::jobs::retry_dead::RetryDead;
use crate::application::operators::buyer_story::BuyerStory;
use crate::application::operators::cancel_purchase::CancelPurchase;
use crate::application::operators::edit_sale::EditSale;
use crate::application::operators::import_items::ImportItems;
use crate::application::operators::restock::Restock;
use crate::application::operators::why::Why;
use crate::application::ports::{
    ApiKeyStore, AuditTrail, Calendar, Clock, CursorSigner, ItemFormats, ItemReader, JobQueue,
    JobReader, JobRepair, JobTypes, OperatorRequests, PortError, SaleStore, ScheduleStore,
    WebhookStore,
};
use crate::application::sale_report::ReportSale;
use crate::application::webhooks::add::AddWebhook;
use crate::application::webhooks::replay::ReplayWebhook;
use crate::application::webhooks::rotate::RotateSecret;
use crate::application::webhooks::try_out::TryOutWebhook;
use crate::config::Setting;
use crate::domain::ids::SaleId;
use crate::domain::sale_report::SaleReport;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::middleware::auth_metrics::AuthMetrics;
use crate::infrastructure::traces::span;

/// The state of the router.
pub(crate) type AdminState = Arc<Admin>;

/// The use cases and ports of operators.
pub(crate) struct Admin {
    pub(crate) verify: Arc<ApiKeys>,
    pub(crate) keys: Arc<dyn ApiKeyStore>,
    pub(crate) issue_key: IssueKey,
    pub(crate) requests: Arc<dyn OperatorRequests>,
    pub(crate) sales: AdminSales,
    pub(crate) reports: AdminReports,
    pub(crate) buyers: AdminBuyers,
    pub(crate) audit: Arc<dyn AuditTrail>,
    pub(crate) jobs: AdminJobs,
    pub(crate) webhooks: AdminWebhooks,
    pub(crate) cursors: Arc<dyn CursorSigner>,
    pub(crate) auth_metrics: Arc<AuthMetrics>,
    pub(crate) metrics: AdminMetrics,
    /// Tracks changes, so that the shutdown can wait for them.
    pub(crate) tasks: TaskTracker,
    pub(crate) request_timeout: Setting<Duration>,
    /// The next part of the body of an import must arrive within this time.
    pub(crate) body_timeout: Setting<Duration>,
    /// Time until all instances have read a change of a sale.
    pub(crate) settle_time: Duration,
}

/// Sales and their items.
pub(crate) struct AdminSales {
    pub(crate) create: CreateSale,
    pub(crate) edit: EditSale,
    pub(crate) restock: Restock,
    pub(crate) import: Arc<ImportItems>,
    pub(crate) formats: Arc<dyn ItemFormats>,
    /// Imports that run at a time: each has a connection and a thread for minutes.
    pub(crate) imports: Arc<Semaphore>,
    pub(crate) store: Arc<dyn SaleStore>,
    pub(crate) items: Arc<dyn ItemReader>,
    pub(crate) calendar: Arc<dyn Calendar>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Reports of sales, and how they are written.
pub(crate) struct AdminReports {
    pub(crate) report: ReportSale,
    pub(crate) document: fn(&SaleReport) -> Value,
    pub(crate) picture: fn(&SaleReport) -> String,
}

/// Purchases and those who made them.
pub(crate) struct AdminBuyers {
    pub(crate) cancel: CancelPurchase,
    pub(crate) story: BuyerStory,
    pub(crate) why: Why,
}

/// Jobs and schedules.
pub(crate) struct AdminJobs {
    pub(crate) types: Arc<dyn JobTypes>,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) reader: Arc<dyn JobReader>,
    pub(crate) repair: Arc<dyn JobRepair>,
    pub(crate) retry_dead: RetryDead,
    pub(crate) schedules: Arc<dyn ScheduleStore>,
    pub(crate) change_schedules: ChangeSchedules,
}

/// Endpoints of other systems.
pub(crate) struct AdminWebhooks {
    pub(crate) store: Arc<dyn WebhookStore>,
    pub(crate) add: AddWebhook,
    pub(crate) rotate: RotateSecret,
    pub(crate) try_out: TryOutWebhook,
    pub(crate) replay: ReplayWebhook,
}

impl Admin {
    /// Reads within the request timeout. The read is cancelled when the client hangs up.
    pub(crate) async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, ApiError> {
        match tokio::time::timeout(self.request_timeout.get(), span("browse", read)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ApiError::TimedOut),
        }
    }

    /// The error of a sale that is not found.
    pub(crate) async fn no_sale(&self, sale: SaleId) -> ApiError {
        match self.read(self.sales.store.is_archived(sale)).await {
            Ok(false) => ApiError::SaleNotFound,
            Ok(true) => ApiError::SaleArchived,
            Err(error) => error,
        }
    }
}
