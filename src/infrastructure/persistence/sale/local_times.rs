//! Local times by PostgreSQL's rules of time zones.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Utc};

use crate::application::ports::{LocalTimes, PortError};
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
    zone: String,
}

impl PostgresLocalTimes {
    pub(crate) fn new(database: Database, zone: String) -> Self {
        Self { database, zone }
    }
}

#[async_trait]
impl LocalTimes for PostgresLocalTimes {
    async fn local_times(
        &self,
        moments: &[DateTime<Utc>],
    ) -> Result<Option<Vec<NaiveDateTime>>, PortError> {
        let query = || async {
            let query = sqlx::query_scalar(LOCAL_TIMES).bind(&self.zone).bind(moments);
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
    use std::path::Path;
    use std::time::Duration;

    use croner::parser::{CronParser, Seconds};

    use super::*;
    use crate::application::ports::Calendar;
    use crate::config::{ScheduleConfig, TimeZoneRules};
    use crate::infrastructure::schedule::CronCalendar;
    use crate::testing::servers::PostgresShop;

    /// What PostgreSQL reads on this system.
    const SYSTEM: &str = "/usr/share/zoneinfo";
    /// Files in that folder that PostgreSQL lists and that name no zone of the database.
    const FILES: [&str; 3] = ["Factory", "localtime", "posixrules"];
    const NAMES: &str = "SELECT name FROM pg_timezone_names WHERE name !~ '^(posix|right)/'";
    /// Noon of each day of 2026 and 2027 in a time zone.
    const NOONS: &str = r"
        WITH zone AS MATERIALIZED (SELECT set_config('TimeZone', $1, true))
        SELECT d.noon::timestamptz
        FROM zone CROSS JOIN generate_series(
            timestamp '2026-01-01 12:00', timestamp '2027-12-31 12:00', interval '1 day'
        ) AS d(noon)
        ORDER BY d.noon
    ";

    fn at_noon(zone: jiff::tz::TimeZone) -> CronCalendar {
        CronCalendar::new(&ScheduleConfig {
            enabled: true,
            cron: CronParser::builder()
                .seconds(Seconds::Required)
                .build()
                .parse("0 0 12 * * *")
                .ok(),
            time_zone: zone,
            duration: Duration::from_hours(1),
            items: 1,
            stock: 1,
            buyer_limit: 1,
            interval: Duration::from_secs(1),
        })
    }

    #[tokio::test]
    async fn a_schedule_opens_at_noon_of_every_zone_by_the_rules_that_postgresql_has() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let rules = TimeZoneRules::of_folder(Path::new(SYSTEM)).unwrap();
        let names: Vec<String> =
            sqlx::query_scalar(NAMES).fetch_all(database.pool()).await.unwrap();
        assert!(names.len() > 400, "{} time zones", names.len());

        let mut unknown = Vec::new();
        for name in names {
            let Some(zone) = rules.zone(&name) else {
                unknown.push(name);
                continue;
            };
            let calendar = at_noon(zone);
            let noons = sqlx::query_scalar(NOONS).bind(&name);
            let noons: Vec<DateTime<Utc>> = noons.fetch_all(database.pool()).await.unwrap();
            let mut moment = noons[0] - chrono::Duration::seconds(1);
            for noon in noons {
                let start = calendar.next_start(moment).unwrap();
                assert_eq!(start, noon, "{name}");
                moment = start;
            }
        }
        unknown.retain(|name| !FILES.contains(&name.as_str()));
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[tokio::test]
    async fn a_zone_that_postgresql_does_not_know_is_no_error() {
        let shop = PostgresShop::open().await;
        let times = PostgresLocalTimes::new(shop.database().await, "America/Atlantis".to_owned());

        assert_eq!(times.local_times(&[DateTime::UNIX_EPOCH]).await.unwrap(), None);
    }
}
