//! The request that is being handled here, for what records why it was refused: the id need not be handed through every layer for the
//! few requests that use it.

use axum::http::HeaderValue;
use tokio::task::futures::TaskLocalFuture;

use crate::application::ports::CurrentRequest;
use crate::domain::ids::RequestId;

tokio::task_local! {
    static ID: HeaderValue;
}

/// Handles a request under its id. Work that goes on after its client has hung up has none: no client knows the id.
///
/// Not `async`: such a function would have room for the future twice.
pub(crate) fn with_id<F: Future>(id: HeaderValue, handle: F) -> TaskLocalFuture<HeaderValue, F> {
    ID.scope(id, handle)
}

/// The same for a part without an `.await`.
pub(crate) fn within_id<T>(id: HeaderValue, handle: impl FnOnce() -> T) -> T {
    ID.sync_scope(id, handle)
}

/// The request of the running task.
pub(crate) struct HttpCurrentRequest;

impl CurrentRequest for HttpCurrentRequest {
    fn id(&self) -> Option<RequestId> {
        ID.try_with(|id| RequestId::parse(id.to_str().ok()?)).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_id_is_known_while_its_request_is_handled() {
        let id = || HttpCurrentRequest.id().map(|id| id.as_str().to_owned());

        let inside = with_id(HeaderValue::from_static("r-1"), async { id() }).await;

        assert_eq!((inside.as_deref(), id()), (Some("r-1"), None));
    }
}
