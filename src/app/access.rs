//! Who may buy, and how often: the gate before the handlers, of what is configured.

use std::sync::Arc;
use std::time::Duration;

use super::components::Components;
use super::context::BuildContext;
use super::error::AppError;
use super::limits::limits;
use crate::application::api_keys::ApiKeys;
use crate::application::ports::{NonceStore, RateLimiter, TokenVerifier};
use crate::infrastructure::cache::{RedisNonces, RedisRateLimiter};
use crate::infrastructure::http::{
    Access, AccessMetrics, AccessPorts, ClientAddresses, NONCE_SECONDS, check_limits,
};
use crate::infrastructure::tokens::{JwtVerifier, TokenMetrics};

/// The gate; `None` if nothing of it is on. Starts what it needs in the background.
pub(crate) async fn access(
    context: &BuildContext<'_>,
    components: &Components,
) -> Result<Option<Access>, AppError> {
    let config = context.config;
    check_limits(&config.limits)?;
    let auth = Arc::clone(&components.auth_metrics);
    let metrics = AccessMetrics::register(context.registry, auth)?;
    let ports = AccessPorts {
        tokens: tokens(context).await?,
        keys: Arc::<ApiKeys>::clone(&components.api_keys),
        nonces: config.auth.signatures_required.then(|| nonces(components)),
        limiter: limiter(context, components),
        clock: Arc::clone(components.cell.sale_cache.clock()),
    };
    Ok(Access::new(ports, ClientAddresses::new(&config.limits), metrics))
}

async fn tokens(context: &BuildContext<'_>) -> Result<Option<Arc<dyn TokenVerifier>>, AppError> {
    let Some(jwt) = &context.config.auth.jwt else { return Ok(None) };
    let verifier = JwtVerifier::new(jwt, TokenMetrics::register(context.registry)?)?;
    let verifier = Arc::new(verifier);
    verifier.begin().await?;
    context.tasks.background.run(Arc::clone(&verifier).keep_reading());
    Ok(Some(verifier))
}

fn nonces(components: &Components) -> Arc<dyn NonceStore> {
    Arc::new(RedisNonces::new(components.shared.redis.clone(), Duration::from_secs(NONCE_SECONDS)))
}

fn limiter(context: &BuildContext<'_>, components: &Components) -> Option<Arc<dyn RateLimiter>> {
    let BuildContext { config, tasks, .. } = context;
    // Without files that may change, what is off stays off.
    if !config.limits.is_on() && config.folder().is_none() {
        return None;
    }
    let limiter = Arc::new(RedisRateLimiter::new(
        components.shared.redis.clone(),
        context.in_force.setting(|config| Arc::clone(&config.limits)),
        limits(&config.batch, config.batch.checkout_size, 1),
        &components.shared.batches,
        tasks.writers.scope(),
    ));
    tasks.background.run(Arc::clone(&limiter).flush());
    Some(limiter)
}
