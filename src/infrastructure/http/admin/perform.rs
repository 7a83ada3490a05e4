//! Changes: each runs to its end, however its client hangs up, and once for each idempotency key.
//!
//! The key is committed with the first change, by whatever port makes it. The answer follows: an instance that dies in between leaves a
//! key without an answer, and a repeat gets that error instead of changing anything twice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::Serialize;
use uuid::Uuid;

use super::metrics::Action;
use super::state::{Admin, AdminState};
use crate::application::ports::{KnownRequest, OperatorRequest, PortError, StoredAnswer};
use crate::infrastructure::http::detach_on_drop::DetachOnDrop;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::headers::IDEMPOTENT_REPLAYED;
use crate::infrastructure::traces::span;

/// How long a repeat waits for the answer of the first request.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// How often it looks meanwhile.
const ANSWER_PAUSE: Duration = Duration::from_millis(50);
/// An answer that is not there by then will never be.
const ANSWER_LOST_AFTER: Duration = Duration::from_secs(30);

/// Longest answer that is stored. Only the report of an import with ten thousand bad rows is longer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A change that was made, or was in place already.
pub(crate) struct Done {
    answer: StoredAnswer,
    /// The body that is shown this once, where it has a secret that must not be stored.
    shown: Option<String>,
    /// What was done, if something has changed.
    action: Option<Action>,
    /// Time until all instances go by the change.
    settles_in: Duration,
}

/// Makes the body that was shown of an answer that was stored.
pub(crate) type Restore = fn(AdminState, StoredAnswer) -> BoxFuture<'static, StoredAnswer>;

/// What became of a request.
enum Outcome {
    /// It was executed.
    Own(Result<Done, Problem>),
    /// Another request with its key was.
    Known(KnownRequest),
}

impl Done {
    /// The change with its answer.
    pub(crate) fn new(status: StatusCode, body: &impl Serialize, action: Option<Action>) -> Self {
        // Structs of texts and numbers, which always have a form in JSON.
        let body = serde_json::to_string(body).unwrap_or_default();
        let answer = StoredAnswer { status: status.as_u16(), body };
        Self { answer, shown: None, action, settles_in: Duration::ZERO }
    }

    /// The same, with another body, which is not stored. [`Restore`] makes it again for a repeat.
    pub(crate) fn showing(self, body: &impl Serialize) -> Self {
        Self { shown: serde_json::to_string(body).ok(), ..self }
    }

    /// The same, answered only after this time.
    pub(crate) fn settling_in(self, settles_in: Duration) -> Self {
        Self { settles_in, ..self }
    }
}

/// Makes a change, once if the request has an idempotency key.
pub(crate) async fn perform(
    admin: &AdminState,
    request: Option<OperatorRequest>,
    work: impl Future<Output = Result<Done, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    let as_stored: Restore = |_, answer| Box::pin(std::future::ready(answer));
    perform_and_restore(admin, request, as_stored, work).await
}

/// The same for an answer of which a part is not stored.
pub(crate) async fn perform_and_restore(
    admin: &AdminState,
    request: Option<OperatorRequest>,
    restore: Restore,
    work: impl Future<Output = Result<Done, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    let Some(request) = request else {
        let result = run_to_end(admin, work).await??;
        return Ok(answered(admin, result).await);
    };
    if let Some(known) = admin.read(admin.requests.find(&request)).await? {
        return replay(admin, (&request, restore), known).await;
    }
    let once = execute_once(Arc::clone(admin), request.clone(), work);
    match run_to_end(admin, once).await? {
        Outcome::Own(result) => Ok(answered(admin, result?).await),
        Outcome::Known(known) => replay(admin, (&request, restore), known).await,
    }
}

/// Without a timeout: PostgreSQL has one for each change, and no client shall take a change that goes on for one that failed.
async fn run_to_end<T: Send + 'static>(
    admin: &Admin,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Problem> {
    let done = DetachOnDrop::new(span("operate", Box::pin(work)), &admin.tasks).await;
    done.map_err(|panic| ApiError::Internal(Arc::new(panic)).into())
}

async fn execute_once(
    admin: AdminState,
    request: OperatorRequest,
    work: impl Future<Output = Result<Done, Problem>> + Send + 'static,
) -> Outcome {
    let execution = Uuid::now_v7();
    let result = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&result);
    let work = Box::pin(async move {
        let done = work.await;
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
    });
    admin.requests.execute(execution, request.clone(), work).await;
    let result = result.lock().unwrap_or_else(PoisonError::into_inner).take();
    let result = result.unwrap_or_else(|| Err(ApiError::TimedOut.into()));
    if let Ok(done) = &result {
        if done.answer.body.len() > MAX_ANSWER_BYTES {
            return Outcome::Own(result);
        }
        match admin.requests.answer(execution, &request, &done.answer).await {
            Ok(true) => return Outcome::Own(result),
            Ok(false) => {}
            Err(error) => {
                not_stored(&error);
                return Outcome::Own(result);
            }
        }
    }
    // This execution has changed nothing, perhaps because another one with its key was first.
    match admin.requests.find(&request).await {
        Ok(Some(known)) if known.execution != execution => Outcome::Known(known),
        _ => Outcome::Own(result),
    }
}

fn not_stored(error: &PortError) {
    tracing::warn!(%error, "the answer to an operator is not stored: a repeat will not get it");
}

async fn answered(admin: &Admin, done: Done) -> Response {
    if let Some(action) = done.action {
        admin.metrics.count(action);
    }
    tokio::time::sleep(done.settles_in).await;
    let body = done.shown.unwrap_or(done.answer.body);
    response(StoredAnswer { body, ..done.answer })
}

/// The answer of the first request with the key.
async fn replay(
    admin: &AdminState,
    (request, restore): (&OperatorRequest, Restore),
    mut known: KnownRequest,
) -> Result<Response, Problem> {
    if !known.is_same {
        return Err(ApiError::KeyReused.into());
    }
    let began = tokio::time::Instant::now();
    loop {
        if let Some(answer) = known.answer {
            let mut response = response(restore(Arc::clone(admin), answer).await);
            response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            return Ok(response);
        }
        if known.age >= ANSWER_LOST_AFTER {
            return Err(ApiError::AnswerLost.into());
        }
        if began.elapsed() >= ANSWER_WAIT {
            return Err(ApiError::KeyInUse.into());
        }
        tokio::time::sleep(ANSWER_PAUSE).await;
        match admin.read(admin.requests.find(request)).await? {
            Some(found) => known = found,
            None => return Err(ApiError::KeyInUse.into()),
        }
    }
}

fn response(answer: StoredAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let media_type = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, media_type)], answer.body).into_response()
}
