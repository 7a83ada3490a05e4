//! What the commands about webhooks use.

use std::sync::Arc;

use super::error::AppError;
use crate::application::ports::{
    Clock, EventPositions, WebhookSecrets, WebhookSender, WebhookStore,
};
use crate::application::webhooks::add::AddWebhook;
use crate::application::webhooks::replay::ReplayWebhook;
use crate::application::webhooks::rotate::RotateSecret;
use crate::application::webhooks::try_out::TryOutWebhook;
use crate::config::Config;
use crate::infrastructure::persistence::{Database, PostgresOutbox, PostgresWebhookStore};
use crate::infrastructure::webhooks::{HttpWebhookSender, RandomSecrets};

/// What the commands about webhooks use.
pub(crate) struct Webhooks {
    pub(crate) store: Arc<dyn WebhookStore>,
    pub(crate) add: AddWebhook,
    pub(crate) rotate: RotateSecret,
    pub(crate) try_out: TryOutWebhook,
    pub(crate) replay: ReplayWebhook,
}

impl Webhooks {
    /// Creates the use cases.
    pub(crate) fn build(
        config: &Config,
        database: &Database,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AppError> {
        let store: Arc<dyn WebhookStore> = Arc::new(PostgresWebhookStore::new(database.clone()));
        let sender: Arc<dyn WebhookSender> = Arc::new(HttpWebhookSender::new(&config.webhooks)?);
        let secrets: Arc<dyn WebhookSecrets> = Arc::new(RandomSecrets);
        let log: Arc<dyn EventPositions> = Arc::new(PostgresOutbox::new(database.clone()));
        Ok(Self {
            add: AddWebhook::new(
                Arc::clone(&store),
                Arc::clone(&sender),
                Arc::clone(&log),
                Arc::clone(&secrets),
            ),
            rotate: RotateSecret::new(Arc::clone(&store), secrets),
            try_out: TryOutWebhook::new(Arc::clone(&store), sender, clock),
            replay: ReplayWebhook::new(Arc::clone(&store), log),
            store,
        })
    }
}
