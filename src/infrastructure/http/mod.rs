//! The HTTP interface. Each module imports only modules above it in this list, never below:
//!
//! - [`model`]: bodies, header names and paths that both versions or several modules share.
//! - [`error`]: the catalogue of errors, and their bodies in each version. [`openapi`]: parts of the OpenAPI document.
//! - [`request`]: parsing of heads, queries, headers and bodies. [`connection`]: TCP, TLS, HTTP/1 and HTTP/2.
//! - [`middleware`]: around every handler: request id, metrics, access log, limits, CORS, compression.
//! - [`access`]: who sends a request, and how often.
//! - [`detach_on_drop`]: work that continues when its client hangs up. [`cached`]: pages of lists, cached or not. [`state`]: the use cases, for handlers.
//! - [`v1`] and [`v2`]: one file an endpoint, and the routes of each version. [`events`]: events, whose data is what version 2
//!   answers. [`docs`]: the OpenAPI document, pages for people. [`shop_page`]: the page on which people buy.
//! - [`admin`]: the port for operators: its routes below `/admin`, and who may use them.
//! - [`router`]: the routes and the middleware together. [`fast_path`]: `POST /checkout` and `/purchase`, which bypass the router.

mod access;
mod admin;
mod cached;
mod connection;
mod detach_on_drop;
mod docs;
mod error;
mod events;
mod fast_path;
mod middleware;
mod model;
mod openapi;
mod request;
mod router;
mod shop_page;
mod state;
mod v1;
mod v2;

pub(crate) use access::address::ClientAddresses;
pub(crate) use access::gate::{Access, AccessPorts, NONCE_SECONDS};
pub(crate) use access::metrics::AccessMetrics;
pub(crate) use admin::document::document as admin_document;
pub(crate) use admin::metrics::AdminMetrics;
pub(crate) use admin::router::{AdminPort, admin_routes};
pub(crate) use admin::state::{
    Admin, AdminBuyers, AdminJobs, AdminReports, AdminSales, AdminWebhooks,
};
pub(crate) use cached::HttpCache;
pub(crate) use connection::limits::ServerLimits;
pub(crate) use connection::server::Server;
pub(crate) use connection::tls::{InvalidTls, Tls};
pub(crate) use docs::document::document as openapi_document;
pub(crate) use events::CloudEvents;
pub(crate) use fast_path::FastPath;
pub(crate) use middleware::auth_metrics::AuthMetrics;
pub(crate) use middleware::cors::cors;
pub(crate) use middleware::log_budget::{LogBudget, LogLine};
pub(crate) use middleware::metrics::HttpMetrics;
pub(crate) use middleware::observe::Observer;
pub(crate) use middleware::sunset::announcement;
pub(crate) use model::current_request::HttpCurrentRequest;
pub(crate) use model::links::LinkBase;
pub(crate) use model::live::event as live_event;
pub(crate) use request::head::RequestLimits;
pub(crate) use router::{UnknownRoute, check_limits, routes};
pub(crate) use shop_page::start_page;
pub(crate) use state::{HttpState, UseCases};
#[cfg(feature = "bench")]
pub(crate) use v1::checkout::response as checkout_response;
#[cfg(feature = "bench")]
pub(crate) use v1::purchase::to_response as purchase_response;
