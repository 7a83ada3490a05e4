//! The endpoints by theme.
//!
//! - [`sales`]: list, create and change sales. [`items`]: import and restock. [`reports`]: reports of sales.
//! - [`purchases`]: take purchases back. [`buyers`]: their stories, and why they were refused.
//! - [`audit`], [`jobs`], [`schedules`], [`webhooks`], [`keys`].
//! - [`parts`]: parts of the document that they share.

pub(crate) mod audit;
pub(crate) mod buyers;
pub(crate) mod items;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod parts;
pub(crate) mod purchases;
pub(crate) mod reports;
pub(crate) mod sales;
pub(crate) mod schedules;
pub(crate) mod webhooks;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::AdminState;

/// The routes below `/admin` whose bodies are JSON.
pub(crate) fn router() -> OpenApiRouter<AdminState> {
    OpenApiRouter::default()
        .routes(routes!(sales::list, sales::create))
        .routes(routes!(sales::change))
        .routes(routes!(sales::end))
        .routes(routes!(sales::cancel))
        .routes(routes!(items::restock))
        .routes(routes!(reports::report))
        .routes(routes!(reports::picture))
        .routes(routes!(purchases::cancel))
        .routes(routes!(buyers::show))
        .routes(routes!(buyers::refusals))
        .routes(routes!(audit::list))
        .routes(routes!(jobs::list, jobs::enqueue))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::retry_dead))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::discard))
        .routes(routes!(schedules::list, schedules::add))
        .routes(routes!(schedules::remove))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::run))
        .routes(routes!(webhooks::list, webhooks::add))
        .routes(routes!(webhooks::show, webhooks::remove))
        .routes(routes!(webhooks::pause))
        .routes(routes!(webhooks::resume))
        .routes(routes!(webhooks::rotate_secret))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::replay))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
}

/// The routes below `/admin` that read their bodies as a stream.
pub(crate) fn streams() -> OpenApiRouter<AdminState> {
    OpenApiRouter::default().routes(routes!(items::import))
}
