//! What operators use over HTTP.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::components::Components;
use super::context::BuildContext;
use super::error::AppError;
use super::offline_jobs::OfflineJobs;
use super::returns::Returns;
use super::webhooks::Webhooks;
use crate::application::api_keys::issue::IssueKey;
use crate::application::create_sale::CreateSale;
use crate::application::operators::announced_edits::AnnouncedEdits;
use crate::application::operators::edit_sale::EditSale;
use crate::application::operators::import_items::ImportItems;
use crate::application::operators::restock::Restock;
use crate::application::ports::{
    ApiKeyStore, Clock, KeySecrets, SaleEditor, SaleReportReader, SaleStore,
};
use crate::application::sale_report::ReportSale;
use crate::infrastructure::cache::RedisSaleNotifications;
use crate::infrastructure::chart::sale_picture;
use crate::infrastructure::http::{
    Admin, AdminBuyers, AdminJobs, AdminMetrics, AdminReports, AdminSales, AdminWebhooks,
};
use crate::infrastructure::imports::Formats;
use crate::infrastructure::persistence::{
    Database, DatabaseClock, OnReplicas, PostgresApiKeyStore, PostgresAuditTrail,
    PostgresItemImporter, PostgresOperatorRequests, PostgresSaleEditor, PostgresSaleReports,
    PostgresSaleStore, report_document,
};
use crate::infrastructure::schedule::CronCalendar;
use crate::infrastructure::signing::{HmacCursorSigner, HmacKeySecrets};

/// Connections for operators, beside those of `database.max_connections`, so that buyers do not wait for an import.
const CONNECTIONS: u32 = 6;
/// Imports that run at a time. The rest of the connections is for everything else.
const IMPORTS: usize = 2;
/// Maximum delay of a poll of sales beyond its interval.
const POLL_MARGIN: Duration = Duration::from_millis(250);

/// Creates the use cases and ports of operators.
pub(crate) fn build(
    context: &BuildContext<'_>,
    components: &Components,
) -> Result<Arc<Admin>, AppError> {
    let config = context.config;
    let database = context.database.separate(CONNECTIONS);
    let clock: &Arc<dyn Clock> = components.cell.sale_cache.clock();
    let keys: Arc<dyn ApiKeyStore> = Arc::new(PostgresApiKeyStore::new(database.clone()));
    let notifications = Arc::new(RedisSaleNotifications::new(
        components.shared.redis.clone(),
        Arc::clone(database.history()),
    ));
    let secrets: Arc<dyn KeySecrets> = Arc::new(HmacKeySecrets::new(&config.api_keys));
    Ok(Arc::new(Admin {
        verify: Arc::clone(&components.api_keys),
        issue_key: IssueKey::new(Arc::clone(&keys), secrets),
        keys,
        requests: Arc::new(PostgresOperatorRequests::new(database.clone())),
        sales: sales(context, components, (&database, &notifications)),
        buyers: buyers(Returns::build(
            config,
            (&database, &components.shared.redis),
            Arc::clone(clock),
            notifications,
        )?),
        reports: AdminReports {
            report: ReportSale::new(reports(components, &database)),
            document: report_document::write,
            picture: sale_picture,
        },
        audit: Arc::new(PostgresAuditTrail::new(database.clone())),
        jobs: jobs(OfflineJobs::new(config, &database)),
        webhooks: webhooks(Webhooks::build(config, &database, Arc::clone(clock))?),
        cursors: Arc::<HmacCursorSigner>::clone(&components.shared.cursors),
        auth_metrics: Arc::clone(&components.auth_metrics),
        metrics: AdminMetrics::register(context.registry)?,
        tasks: context.tasks.requests.clone(),
        request_timeout: context.in_force.setting(|config| config.http.request_timeout),
        body_timeout: context.in_force.setting(|config| config.http.body_read_timeout),
        settle_time: config.sale_cache.poll_interval + POLL_MARGIN,
    }))
}

fn sales(
    context: &BuildContext<'_>,
    components: &Components,
    (database, notifications): (&Database, &Arc<RedisSaleNotifications>),
) -> AdminSales {
    let editor = Arc::new(PostgresSaleEditor::new(database.clone()));
    let editor: Arc<dyn SaleEditor> =
        Arc::new(AnnouncedEdits::new(editor, Arc::<RedisSaleNotifications>::clone(notifications)));
    let creator: Arc<dyn SaleStore> = Arc::new(PostgresSaleStore::new(
        database.clone(),
        // It creates sales only: the clock is that of the store that reads them.
        Arc::new(DatabaseClock::new()),
        context.config.catalogue.clone(),
    ));
    AdminSales {
        create: CreateSale::new(creator),
        edit: EditSale::new(Arc::clone(&editor)),
        restock: Restock::new(editor),
        import: Arc::new(ImportItems::new(Arc::new(PostgresItemImporter::new(database.clone())))),
        formats: Arc::new(Formats),
        imports: Arc::new(Semaphore::new(IMPORTS)),
        store: Arc::clone(&components.cell.sales),
        items: Arc::clone(&components.cell.lists.items),
        calendar: Arc::<CronCalendar>::clone(&components.shared.calendar),
        clock: Arc::clone(components.cell.sale_cache.clock()),
    }
}

fn buyers(own: Returns) -> AdminBuyers {
    let Returns { cancel, story, why, .. } = own;
    AdminBuyers { cancel, story, why }
}

/// Reports, from replicas where there are some.
fn reports(components: &Components, database: &Database) -> Arc<dyn SaleReportReader> {
    let reader =
        |database| -> Arc<dyn SaleReportReader> { Arc::new(PostgresSaleReports::new(database)) };
    let each = components.cell.replicas.on_each(reader(database.clone()), reader);
    Arc::new(OnReplicas::acknowledged(&components.cell.replicas, each))
}

fn jobs(own: OfflineJobs) -> AdminJobs {
    let OfflineJobs { types, queue, reader, repair, retry_dead, schedules, change_schedules } = own;
    AdminJobs { types, queue, reader, repair, retry_dead, schedules, change_schedules }
}

fn webhooks(own: Webhooks) -> AdminWebhooks {
    let Webhooks { store, add, rotate, try_out, replay } = own;
    AdminWebhooks { store, add, rotate, try_out, replay }
}
