//! What listens: one port for buyers, one for operators.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use prometheus::Registry;

use super::parts::Parts;
use super::services::Services;
use super::{App, AppError, Instance};
use crate::config::Config;
use crate::infrastructure::cache::RedisHealth;
use crate::infrastructure::http::{HttpMetrics, Observer, RequestLimits, Server, ServerLimits};
use crate::infrastructure::monitoring::{HealthReport, Monitoring, exposition, health_endpoint};
use crate::infrastructure::persistence::PostgresHealth;

/// What ending a connection may take beyond its last request.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);

/// Binds both ports and serves.
pub(super) async fn listen(
    parts: &Parts,
    config: &Config,
    registry: &Registry,
    (app, instance): (&App, &Instance),
) -> Result<(), AppError> {
    let monitoring = monitoring(parts, config, registry, app);
    let readiness = Arc::clone(&app.readiness);
    let observer = Observer::new(
        HttpMetrics::register(registry)?,
        config.log.all_requests,
        instance.name.clone(),
        move || readiness.is_draining(),
    );
    let requests = RequestLimits {
        max_head_bytes: config.http.max_head_bytes,
        max_body_bytes: config.http.max_body_bytes,
        body_timeout: config.http.body_read_timeout,
    };
    let extra = on_http_port(config.monitoring.on_http_port, &monitoring);
    let router = parts.api.clone().router(observer, requests, extra);
    let limits = ServerLimits {
        connections: config.http.max_connections,
        header_read_timeout: config.http.header_read_timeout,
        head_bytes: config.http.max_head_bytes,
        write_timeout: config.http.write_timeout,
        close_timeout: config.http.request_timeout + CLOSE_MARGIN,
    };
    let address = (config.http.host.as_str(), config.http.port);
    bind("http", address, router, limits, &app.servers).await?;
    let address = (config.monitoring.host.as_str(), config.monitoring.port);
    bind("monitoring", address, monitoring.router(), limits, &app.monitoring).await
}

fn monitoring(parts: &Parts, config: &Config, registry: &Registry, app: &App) -> Monitoring {
    let health = HealthReport::new(
        vec![
            Arc::new(PostgresHealth::new(parts.database.clone())),
            Arc::new(RedisHealth::new(parts.redis.clone())),
        ],
        Arc::clone(&app.readiness),
        config.monitoring.check_timeout,
    );
    let database = parts.database.clone();
    let before_scrape = Arc::new(move || database.observe_pool());
    Monitoring { registry: registry.clone(), health, before_scrape }
}

/// What front ends and developers find on the buyers' port too.
fn on_http_port(with_metrics: bool, monitoring: &Monitoring) -> Router {
    let health = monitoring.clone();
    let router = Router::new().route("/health", get(move || health_endpoint(health.clone())));
    if !with_metrics {
        return router;
    }
    let monitoring = monitoring.clone();
    router.route("/metrics", get(async move || exposition(&monitoring)))
}

async fn bind(
    name: &str,
    address: (&str, u16),
    router: Router,
    limits: ServerLimits,
    services: &Services,
) -> Result<(), AppError> {
    let server = Server::bind(name, address, router, limits)
        .await
        .map_err(|error| AppError::Listen(format!("{}:{}", address.0, address.1), error))?;
    let (_, stop) = services.scope();
    services.run(server.serve(stop));
    Ok(())
}
