//! What the server and the database must be like, checked before a migration and at every start. What is not as it must be
//! would break a promise later, in the middle of a sale; so it is refused with a sentence that says what to do.
//!
//! A new requirement is an entry in [`REQUIREMENTS`].

use sqlx::{PgConnection, Row};

use super::pool::database::Database;

/// Something that must hold.
struct Requirement {
    /// Reads one text.
    read: &'static str,
    /// What is wrong with the text, and what to do about it; `None` if nothing is.
    fault: fn(Option<&str>) -> Option<String>,
}

const REQUIREMENTS: &[Requirement] = &[
    Requirement { read: "SHOW server_version_num", fault: too_old },
    Requirement { read: "SHOW server_encoding", fault: other_encoding },
    Requirement { read: "SELECT current_schema()::text", fault: other_schema },
];

/// Whether another server still writes to the sales of this one. Only the columns of the subscriptions that every role may read.
const SUBSCRIBED: Requirement = Requirement {
    read: "SELECT min(s.subname)::text
           FROM pg_subscription AS s
           JOIN pg_subscription_rel AS r ON r.srsubid = s.oid
           WHERE s.subenabled AND r.srrelid = to_regclass('sales')",
    fault: subscribed,
};

/// The first version with all that the statements use, as PostgreSQL counts: 15.0.
const OLDEST_VERSION: u32 = 150_000;
/// Buyers and items are named in any script.
const ENCODING: &str = "UTF8";
/// The schema's functions have a fixed search path, for safety: they find tables nowhere else.
const SCHEMA: &str = "public";
/// Looks at whether a session is kept. Connections that are opened meanwhile, here or by others, can hide that it is not.
const SESSION_LOOKS: u32 = 10;

/// The session is looked at between its statements, however slow the way to it is.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0";

/// The server or the database is not as the service needs it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequirementError {
    /// All that is wrong, each with what to do about it.
    #[error("this database cannot be used: {}", .0.join("; "))]
    Unmet(Vec<String>),
    /// The pooler gives sessions to other connections in between.
    #[error(
        "the pooler before this database runs in transaction mode, in which sessions lose their settings and prepared \
         statements: set pool_mode = session for it"
    )]
    SharedSessions,
    /// The requirements could not be checked.
    #[error("cannot look at the server's settings: {0}")]
    Unreadable(#[from] sqlx::Error),
}

/// Checks all requirements. All that are not met are named at once.
pub(crate) async fn check_requirements(database: &Database) -> Result<(), RequirementError> {
    check(&mut *database.pool().acquire().await?).await
}

/// Checks that no other server sells the same sales and replicates them to this one: both would sell every piece.
pub(crate) async fn check_unsubscribed(database: &Database) -> Result<(), RequirementError> {
    check_all(&mut *database.pool().acquire().await?, &[SUBSCRIBED]).await
}

/// Checks that a connection keeps its session at the server, for a database behind a pooler.
///
/// While another connection is in a transaction, this one asks again which session it has. A pooler in transaction mode has given the
/// other one the session that was used last, unless a third one came between; so it is asked a few times. In the simple protocol: a
/// prepared statement may be gone already.
pub(crate) async fn check_sessions(database: &Database) -> Result<(), RequirementError> {
    let two = database.separate(2);
    let is_kept = keeps_session(&two).await;
    two.close().await;
    if is_kept? { Ok(()) } else { Err(RequirementError::SharedSessions) }
}

async fn keeps_session(database: &Database) -> Result<bool, sqlx::Error> {
    let mut one = database.pool().acquire().await?;
    let mut other = database.pool().acquire().await?;
    let mine = session(&mut one).await?;
    for _ in 0..SESSION_LOOKS {
        sqlx::raw_sql(BEGIN).execute(&mut *other).await?;
        let others = session(&mut other).await?;
        let still_mine = session(&mut one).await? == mine;
        sqlx::raw_sql("ROLLBACK").execute(&mut *other).await?;
        if !still_mine || others == mine {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The number of the session at the server.
async fn session(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT pg_backend_pid()::text").fetch_one(connection).await?;
    row.try_get(0)
}

async fn check(connection: &mut PgConnection) -> Result<(), RequirementError> {
    check_all(connection, REQUIREMENTS).await
}

async fn check_all(
    connection: &mut PgConnection,
    requirements: &[Requirement],
) -> Result<(), RequirementError> {
    let mut faults = Vec::new();
    for requirement in requirements {
        let text: Option<String> =
            sqlx::query_scalar(requirement.read).fetch_one(&mut *connection).await?;
        faults.extend((requirement.fault)(text.as_deref()));
    }
    if faults.is_empty() { Ok(()) } else { Err(RequirementError::Unmet(faults)) }
}

fn too_old(version: Option<&str>) -> Option<String> {
    let version = version?.parse::<u32>().ok()?;
    (version < OLDEST_VERSION)
        .then(|| format!("PostgreSQL {} is too old: use 15 or newer", version / 10_000))
}

fn other_encoding(encoding: Option<&str>) -> Option<String> {
    let encoding = encoding?;
    (encoding != ENCODING).then(|| {
        format!(
            "its encoding is {encoding}, which cannot hold every user id and item id: create it with \
             `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`, and move the data with pg_dump"
        )
    })
}

/// Every session sets the search path, but that finds no schema that does not exist, or that the role may not use.
fn other_schema(schema: Option<&str>) -> Option<String> {
    match schema {
        Some(SCHEMA) => None,
        Some(other) => Some(format!(
            "names without a schema mean the schema {other}, where the schema's functions find no table: \
             `ALTER ROLE … SET search_path = public`"
        )),
        None => Some(
            "there is no schema public that this role may use: create it, or `GRANT USAGE ON SCHEMA public TO …`"
                .to_owned(),
        ),
    }
}

fn subscribed(subscription: Option<&str>) -> Option<String> {
    subscription.map(|name| {
        format!(
            "it gets its sales from another server by the enabled subscription {name}, which sells them too: finish \
             the move with `DROP SUBSCRIPTION`, or disable it, before instances use this server"
        )
    })
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;
    use sqlx::postgres::PgConnectOptions;

    use super::*;
    use crate::testing::servers::{PostgresShop, on_server};

    /// What is wrong for a connection with these options.
    async fn faults(options: &PgConnectOptions) -> String {
        let mut connection = PgConnection::connect_with(options).await.unwrap();
        let faults = match check(&mut connection).await {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        connection.close().await.unwrap();
        faults
    }

    #[tokio::test]
    async fn a_database_as_the_tests_have_it_is_accepted() {
        let shop = PostgresShop::open().await;

        assert!(check_requirements(&shop.database().await).await.is_ok());
    }

    #[tokio::test]
    async fn a_search_path_that_begins_elsewhere_is_refused() {
        let shop = PostgresShop::open().await;
        shop.execute("CREATE SCHEMA elsewhere").await;
        // As of a session whose settings were lost.
        let options = shop.plain_options();

        assert_eq!(faults(&options).await, "");
        let elsewhere = options.clone().options([("search_path", "elsewhere,public")]);
        assert!(faults(&elsewhere).await.contains("the schema elsewhere"));
        let nowhere = options.options([("search_path", "nowhere")]);
        assert!(faults(&nowhere).await.contains("no schema public"));
    }

    #[tokio::test]
    async fn another_encoding_than_utf8_is_refused() {
        let shop = PostgresShop::open().await;
        let latin = format!("{}_latin", shop.name());
        let create =
            format!("CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
        on_server(&create).await.unwrap();

        let found = faults(&shop.plain_options().database(&latin)).await;

        on_server(&format!("DROP DATABASE {latin} WITH (FORCE)")).await.unwrap();
        assert!(found.contains("LATIN1") && found.contains("ENCODING 'UTF8'"), "{found}");
    }

    #[tokio::test]
    async fn the_subscriber_of_a_move_is_refused_until_the_move_is_finished() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        // Without a publisher: it is only known, and replicates nothing.
        let subscribe = "CREATE SUBSCRIPTION a_move CONNECTION 'host=/nowhere' PUBLICATION p
                         WITH (connect = false, slot_name = 'a_move');
                         INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
                         SELECT oid, 'sales'::regclass, 'i' FROM pg_subscription WHERE subname = 'a_move'";
        shop.execute(&format!("SET allow_system_table_mods = on; {subscribe}")).await;
        assert!(check_unsubscribed(&database).await.is_ok(), "it is disabled");

        shop.execute("ALTER SUBSCRIPTION a_move ENABLE").await;
        let refused = check_unsubscribed(&database).await;
        let drop = "ALTER SUBSCRIPTION a_move DISABLE;
                    ALTER SUBSCRIPTION a_move SET (slot_name = NONE); DROP SUBSCRIPTION a_move";
        for statement in drop.split(';') {
            shop.execute(statement).await;
        }

        assert!(refused.unwrap_err().to_string().contains("subscription a_move"));
        assert!(check_unsubscribed(&database).await.is_ok());
    }

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        assert!(too_old(Some("140012")).is_some_and(|fault| fault.contains("PostgreSQL 14")));
        assert_eq!(too_old(Some("150000")), None);
    }
}
