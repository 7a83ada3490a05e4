//! Local times by PostgreSQL's rules of time zones.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Utc};

use crate::application::ports::{LocalTimes, PortError};
use crate::config::Setting;
use crate::infrastructure::persistence::pool::database::Database;

/// `invalid_parameter_value`: the server does not know the time zone.
const UNKNOWN_ZONE: &str = "22023";

// The zone is set for the statement: in `AT TIME ZONE` names such as CET and EST would be abbreviations of an offset without summer
// time.
const LOCAL_TIMES: &str = r"
    WITH zone AS MATERIALIZED (SELECT set_config('TimeZone', $1, true))
    SELECT t.moment::timestamp
    FROM zone CROSS JOIN unnest($2::timestamptz[]) WITH ORDINALITY AS t(moment, place)
    ORDER BY t.place
";

/// Reads local times in one time zone.
pub(crate) struct PostgresLocalTimes {
    database: Database,
    zone: Setting<String>,
}

impl PostgresLocalTimes {
    pub(crate) fn new(database: Database, zone: Setting<String>) -> Self {
        Self { database, zone }
    }
}

#[async_trait]
impl LocalTimes for PostgresLocalTimes {
    async fn local_times(
        &self,
        moments: &[DateTime<Utc>],
    ) -> Result<Option<Vec<NaiveDateTime>>, PortError> {
        let zone = &self.zone.get();
        let query = || async {
            let query = sqlx::query_scalar(LOCAL_TIMES).bind(zone).bind(moments);
            match query.fetch_all(self.database.pool()).await {
                Ok(local) => Ok(Some(local)),
                Err(sqlx::Error::Database(error))
                    if error.code().as_deref() == Some(UNKNOWN_ZONE) =>
                {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        self.database.read("local times", query).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::servers::PostgresShop;

    #[tokio::test]
    async fn a_zone_that_postgresql_does_not_know_is_no_error() {
        let shop = PostgresShop::open().await;
        let zone = Setting::fixed("America/Atlantis".to_owned());
        let times = PostgresLocalTimes::new(shop.database().await, zone);

        assert_eq!(times.local_times(&[DateTime::UNIX_EPOCH]).await.unwrap(), None);
    }
}
