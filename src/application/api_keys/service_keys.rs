//! API keys on the port of front ends: services that buy for buyers.

use std::sync::Arc;

use async_trait::async_trait;

use super::{ApiKeys, Verified};
use crate::application::ports::{ApiKey, PortError, ServiceKey, ServiceKeys};
use crate::domain::api_key::{KeyId, Scope};

fn service_key(key: &ApiKey) -> ServiceKey {
    ServiceKey { id: key.id.to_string(), may_sell: key.scopes.contains(Scope::Sell) }
}

#[async_trait]
impl ServiceKeys for ApiKeys {
    async fn verify(&self, presented: &str) -> Result<Option<ServiceKey>, PortError> {
        Ok(match Self::verify(self, presented).await? {
            Verified::Accepted(key) => Some(service_key(&key)),
            Verified::Expired | Verified::Unknown => None,
        })
    }

    async fn signing_key(&self, id: &str) -> Result<Option<(ServiceKey, Arc<str>)>, PortError> {
        let found = Self::signing_key(self, id).await?;
        Ok(found.map(|(key, text)| (service_key(&key), text.reveal().into())))
    }

    async fn signed(&self, id: &str) {
        if let Some(id) = KeyId::parse(id) {
            self.record_use(id).await;
        }
    }
}
