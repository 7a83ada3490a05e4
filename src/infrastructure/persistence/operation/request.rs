//! The idempotency key of an operator's request, written in the transaction of the first change that the request commits.
//!
//! Many ports change something for operators. What they write goes through [`claim`], which finds the key in the task that runs the
//! request: so no port has to pass it on, and none can forget it.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::application::ports::OperatorRequest;
use crate::infrastructure::persistence::pool::error::DatabaseError;

/// A request with a key that is being executed.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) id: Uuid,
    pub(crate) request: OperatorRequest,
}

tokio::task_local! {
    static EXECUTION: Execution;
}

/// The condition lets an execution commit several changes, and no two executions any.
const CLAIM: &str = r"
    INSERT INTO operator_requests AS known (owner, key, content, execution)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT ON CONSTRAINT operator_requests_pkey
        DO UPDATE SET execution = excluded.execution
        WHERE known.execution = excluded.execution
";

/// Runs work whose changes carry the key of this execution.
pub(crate) async fn within<T>(execution: Execution, work: impl Future<Output = T>) -> T {
    EXECUTION.scope(execution, work).await
}

/// Writes the key, if the request has one. Fails, so that nothing is changed, if the key is another execution's.
pub(crate) async fn claim(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let Ok(execution) = EXECUTION.try_with(Clone::clone) else { return Ok(()) };
    let claimed = sqlx::query(CLAIM)
        .bind(&execution.request.owner)
        .bind(execution.request.key.as_str())
        .bind(execution.request.content.as_slice())
        .bind(execution.id)
        .execute(connection)
        .await?;
    if claimed.rows_affected() == 0 {
        let used = DatabaseError::Unreadable("operator_requests");
        return Err(sqlx::Error::Decode(Box::new(used)));
    }
    Ok(())
}
