//! HTTP, as front ends see it. Every route stands on this page; [`error`] alone knows which error is which status.
//!
//! - one file an endpoint: [`checkout`], [`purchase`], [`sales`], [`purchases`], [`users`], which are version 1; [`v2`] has its own.
//! - [`version`]: which of them a request is for. [`problem`]: errors as version 2 tells them. [`sunset`]: how a version's end
//!   is announced.
//! - on the way in: [`server`] (connections; [`http2`], [`tls`]), [`front`] (the straight line and the router), [`observe`]
//!   (request ids, metrics, log), [`limits`] (its bounds), [`framing`] (how it is framed), [`cors`](mod@cors) and
//!   [`protection`] (browsers), [`compression`], [`params`] (the query, parsed strictly), [`json_body`] (bodies).

mod checkout;
mod compression;
mod cors;
mod error;
mod framing;
mod front;
mod http2;
mod json;
mod json_body;
mod limits;
mod log_budget;
mod metrics;
mod observe;
mod openapi;
mod paging;
mod params;
mod problem;
mod protection;
mod purchase;
mod purchases;
mod sales;
mod server;
mod sunset;
mod tls;
mod unstopped;
mod users;
mod v2;
mod version;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio_util::task::TaskTracker;
use tower::util::option_layer;
use tower_http::cors::CorsLayer;

use crate::application::browse::Browse;
use crate::application::checkout::Checkout;
use crate::application::once::DoOnce;
use crate::application::ports::{CursorSigner, PortError};
use crate::application::purchase::Purchase;

use error::ApiError;
use unstopped::Unstopped;
use version::Version;

#[cfg(feature = "bench")]
pub(crate) use checkout::response as checkout_response;
pub(crate) use cors::cors;
pub(crate) use front::Front;
pub(crate) use limits::RequestLimits;
pub(crate) use metrics::HttpMetrics;
pub(crate) use observe::Observer;
pub(crate) use openapi::document as openapi_document;
#[cfg(feature = "bench")]
pub(crate) use purchase::respond as purchase_response;
pub(crate) use server::{Server, ServerLimits};
pub(crate) use sunset::announcement;
pub(crate) use tls::{InvalidTls, Tls};

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) checkout: Arc<Checkout>,
    pub(crate) purchase: Arc<Purchase>,
    pub(crate) browse: Arc<Browse>,
    pub(crate) once: Arc<DoOnce>,
    pub(crate) cursors: Arc<dyn CursorSigner>,
    /// Work with effects runs here, so that a client that hangs up stops nothing half-way.
    pub(crate) tasks: TaskTracker,
    pub(crate) request_timeout: Duration,
}

impl Api {
    /// Everything that is served to buyers. `extra` is served beside it.
    fn router(
        self,
        observer: Observer,
        limits: RequestLimits,
        (cors, extra): (Option<CorsLayer>, Router),
    ) -> Router {
        let v1 = Router::new()
            .route("/checkout", post(checkout::post))
            .route("/purchase", post(purchase::post))
            .route("/sales/active", get(sales::active))
            .route("/sales/{sale_id}", get(sales::one))
            .route("/sales/{sale_id}/items", get(sales::items))
            .route("/purchases/{code}", get(purchases::one))
            .route("/users/{user_id}/purchases", get(users::purchases));
        Router::new()
            .nest("/v1", v1.clone())
            .merge(v1)
            .nest("/v2", v2::router())
            .with_state(self)
            .merge(problem::router())
            .merge(openapi::router())
            .merge(extra)
            .fallback(async |request: Request| {
                ApiError::RouteNotFound.in_version(Version::of(&request))
            })
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            // What comes is within our own bounds by then.
            .layer(DefaultBodyLimit::disable())
            .layer(from_fn(version::existing))
            .layer(from_fn_with_state(limits, limits::bounded_body))
            .layer(from_fn_with_state(limits, limits::bounded_head))
            .layer(compression::layer())
            .layer(from_fn(compression::accepted))
            .layer(option_layer(cors))
            .layer(from_fn_with_state(observer, observe::observe))
    }

    /// Runs work with effects to its end, whatever becomes of the client; the client waits a bounded time for it.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, PortError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let work = Unstopped::new(work, &self.tasks);
        match tokio::time::timeout(self.request_timeout, work).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(panic)) => Err(ApiError::Internal(Arc::new(panic))),
            Err(_) => Err(ApiError::TimedOut),
        }
    }

    /// Reads; nothing is lost when the client hangs up.
    async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, ApiError> {
        match tokio::time::timeout(self.request_timeout, read).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ApiError::TimedOut),
        }
    }
}
