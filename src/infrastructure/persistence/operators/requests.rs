//! Idempotency keys of operators' requests, in PostgreSQL. [`claim`](crate::infrastructure::persistence::operation::request::claim)
//! writes them.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::application::ports::{
    KnownRequest, OperatorRequest, OperatorRequests, PortError, StoredAnswer,
};
use crate::infrastructure::persistence::operation::request::{Execution, within};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;
use crate::infrastructure::persistence::row::from_row;

const WHAT: &str = "the idempotency key";

const FIND: &str = r"
    SELECT execution, content, status, answer,
           extract(epoch FROM clock_timestamp() - created_at)::float8 AS age
    FROM operator_requests
    WHERE owner = $1 AND key = $2
";

const ANSWER: &str = r"
    UPDATE operator_requests SET status = $4, answer = $5
    WHERE owner = $1 AND key = $2 AND execution = $3
";

from_row! {
    #[derive(Debug)]
    struct KnownRow {
        execution: Uuid,
        content: Vec<u8>,
        status: Option<i16>,
        answer: Option<String>,
        age: f64,
    }
}

/// Finds keys, and stores answers.
pub(crate) struct PostgresOperatorRequests {
    database: Database,
}

impl PostgresOperatorRequests {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl OperatorRequests for PostgresOperatorRequests {
    async fn find(&self, request: &OperatorRequest) -> Result<Option<KnownRequest>, PortError> {
        let query = || {
            let query = sqlx::query_as(FIND).bind(&request.owner).bind(request.key.as_str());
            query.fetch_optional(self.database.pool())
        };
        let row: Option<KnownRow> = self.database.read_as(Statement::ReadKeys, WHAT, query).await?;
        Ok(row.map(|row| KnownRequest {
            execution: row.execution,
            is_same: row.content == request.content,
            answer: row.status.zip(row.answer).and_then(|(status, body)| {
                Some(StoredAnswer { status: status.try_into().ok()?, body })
            }),
            age: Duration::try_from_secs_f64(row.age).unwrap_or_default(),
        }))
    }

    fn execute<'w>(
        &self,
        execution: Uuid,
        request: OperatorRequest,
        work: BoxFuture<'w, ()>,
    ) -> BoxFuture<'w, ()> {
        Box::pin(within(Execution { id: execution, request }, work))
    }

    async fn answer(
        &self,
        execution: Uuid,
        request: &OperatorRequest,
        answer: &StoredAnswer,
    ) -> Result<bool, PortError> {
        let stored = self.database.transaction(Options::RETRIED, |mut tx| async move {
            let store = sqlx::query(ANSWER)
                .bind(&request.owner)
                .bind(request.key.as_str())
                .bind(execution)
                .bind(i16::try_from(answer.status).unwrap_or(200))
                .bind(&answer.body)
                .execute(&mut *tx);
            let stored = self.database.time(Statement::WriteKeys, store).await?;
            Ok((tx, stored.rows_affected() > 0))
        });
        stored.await.map_err(|error| error.into_port_error(WHAT))
    }
}
