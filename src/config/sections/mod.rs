//! One file per section: its type, the bounds of its values, and its reader. A new key is a line in
//! `config/default.yaml`, a field and a line in its reader.

mod admin;
mod api_keys;
mod batch;
mod catalogue;
mod circuit;
mod code_keys;
mod database;
mod events;
mod http;
mod idempotency;
mod jobs;
mod live;
mod log;
mod monitoring;
mod redis;
mod refusals;
mod sale_cache;
mod schedule;
mod shop_page;
mod shutdown;
mod webhooks;

pub use admin::AdminConfig;
pub use api_keys::ApiKeysConfig;
pub use batch::BatchConfig;
pub use catalogue::CatalogueConfig;
pub use circuit::{CircuitConfig, CircuitMode};
pub use code_keys::CodeKey;
pub use database::{DatabaseConfig, DatabaseParts, SslMode};
pub use events::{EventStreamConfig, EventsConfig, NatsConfig};
pub use http::{CorsConfig, HttpConfig, LinksConfig, Origins, SunsetConfig, TlsConfig};
pub use idempotency::IdempotencyConfig;
pub use jobs::JobsConfig;
pub use live::LiveConfig;
pub use log::{LogConfig, LogFormat};
pub use monitoring::MonitoringConfig;
pub use redis::RedisConfig;
pub use refusals::RefusalsConfig;
pub use sale_cache::SaleCacheConfig;
pub use schedule::ScheduleConfig;
pub use shop_page::ShopPageConfig;
pub use shutdown::ShutdownConfig;
pub use webhooks::WebhooksConfig;
