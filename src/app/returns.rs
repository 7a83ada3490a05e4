//! What the commands about purchases and their buyers use.

use std::sync::Arc;

use super::error::AppError;
use crate::application::codes::{Codes, CodesPorts};
use crate::application::operators::buyer_story::BuyerStory;
use crate::application::operators::cancel_purchase::CancelPurchase;
use crate::application::operators::why::Why;
use crate::application::ports::{Causes, Clock, SaleNotifications, SharedPages, StoryReader};
use crate::config::Config;
use crate::infrastructure::cache::{Redis, RedisReadPages, RedisSaleNotifications};
use crate::infrastructure::persistence::{
    Database, PostgresEpochReader, PostgresPurchaseCanceller, PostgresStoryReader,
};
use crate::infrastructure::signing::HmacSigner;

/// What the commands about purchases and their buyers use.
pub(crate) struct Returns {
    pub(crate) cancel: CancelPurchase,
    pub(crate) story: BuyerStory,
    pub(crate) why: Why,
    database: Database,
    notifications: Arc<RedisSaleNotifications>,
}

impl Returns {
    /// Creates the use cases.
    pub(crate) fn build(
        config: &Config,
        (database, redis): (&Database, &Redis),
        clock: Arc<dyn Clock>,
        notifications: Arc<RedisSaleNotifications>,
    ) -> Result<Self, AppError> {
        let history = Arc::clone(database.history());
        let signer = HmacSigner::new(&config.code_keys)?.following(Arc::clone(&history));
        let codes = Arc::new(Codes::new(CodesPorts {
            signer: Arc::new(signer),
            history,
            epochs: Arc::new(PostgresEpochReader::new(database.clone())),
            clock,
        }));
        let reader: Arc<dyn StoryReader> = Arc::new(PostgresStoryReader::new(database.clone()));
        let canceller = Arc::new(PostgresPurchaseCanceller::new(database.clone()));
        let told: Arc<dyn SaleNotifications> = Arc::<RedisSaleNotifications>::clone(&notifications);
        let cache = &config.cache;
        let pages = || RedisReadPages::of_operators(redis.clone(), cache.longest_ttl());
        let pages = cache.enabled.then(|| -> Arc<dyn SharedPages> { Arc::new(pages()) });
        Ok(Self {
            cancel: CancelPurchase::new(Arc::clone(&codes), canceller, told, pages),
            story: BuyerStory::new(Arc::clone(&reader), Arc::clone(&codes)),
            why: Why::new(reader, codes),
            database: database.clone(),
            notifications,
        })
    }

    /// Learns the epochs of the database, which are part of codes, and of the messages to instances. Without them codes of the first
    /// epoch are known all the same.
    pub(crate) async fn learn_epochs(&self) {
        Self::report(self.database.begin_history().await);
    }

    /// Prepares a change: learns the epochs, and connects to the channel that notifies the instances.
    pub(crate) async fn prepare_change(&self) {
        let (begun, ()) = tokio::join!(self.database.begin_history(), self.notifications.connect());
        Self::report(begun);
    }

    fn report(begun: Result<(), impl std::error::Error + 'static>) {
        if let Err(error) = begun {
            tracing::warn!(error = %Causes(&error), "cannot read the epochs of the database");
        }
    }
}
