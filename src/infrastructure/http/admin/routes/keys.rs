//! `/admin/keys`: create, list and revoke API keys.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::parts::{KeyIdText, ReadProblems, moment, segment};
use crate::application::api_keys::NEW_KEY_SETTLES_IN;
use crate::application::api_keys::issue::IssueKeyError;
use crate::application::ports::{ApiKey, KeyExpiry, KeyPosition, NewKeyRefusal, StoredAnswer};
use crate::domain::api_key::{KeyId, KeyName, Scope, Scopes};
use crate::domain::time_text::rfc3339;
use crate::infrastructure::http::admin::call::Call;
use crate::infrastructure::http::admin::metrics::Action;
use crate::infrastructure::http::admin::perform::{Done, perform, perform_and_restore};
use crate::infrastructure::http::admin::state::AdminState;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::{CursorParams, OptionalIdempotencyKeyHeader};
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::json::Json;
use crate::infrastructure::http::request::json_body::read_object;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::v2::pagination::{CursorPageBody, Paginator};

/// What a key may do.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case", examples("read"))]
#[expect(dead_code, reason = "it documents `domain::api_key::Scope`")]
enum ScopeName {
    Read,
    Sell,
    Operate,
}

/// A key to create.
#[derive(ToSchema)]
#[schema(example = json!({"name": "dashboard", "scopes": ["read"], "expires_at": "2027-01-31T15:00:00Z"}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `create` parses")]
struct NewKeyBody {
    /// The audit has it for everything that is changed with the key.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Each at most once.
    #[schema(value_type = Vec<ScopeName>, min_items = 1, max_items = 3)]
    scopes: Vec<String>,
    /// Default: never.
    #[schema(value_type = Option<schema::Time>, required = false)]
    expires_at: String,
}

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyBody {
    #[schema(value_type = KeyIdText)]
    id: String,
    #[schema(examples("dashboard"))]
    name: String,
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Vec<&'static str>,
    /// Who has created it.
    #[schema(examples("ann"))]
    created_by: String,
    #[schema(value_type = schema::Time)]
    created_at: String,
    /// Null: never.
    #[schema(value_type = Option<schema::Time>, required = true)]
    expires_at: Option<String>,
    #[schema(value_type = Option<schema::Time>, required = true)]
    revoked_at: Option<String>,
    /// To about a minute.
    #[schema(value_type = Option<schema::Time>, required = true)]
    last_used_at: Option<String>,
}

/// A key with its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedKey {
    #[serde(flatten)]
    own: KeyBody,
    /// What its holder sends in `X-Api-Key`. It is shown this once.
    #[schema(examples("fsk_01M8XJ9TQYB3K1MA_8Q2V…"))]
    key: String,
}

/// A key that is revoked.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevokedKeyBody {
    #[serde(flatten)]
    own: KeyBody,
    /// Whether this request has revoked it.
    #[schema(examples(true))]
    changed: bool,
}

problems! {
    /// Errors of new keys.
    NewKeyProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "change_refused" "unsupported_media_type";
    /// Errors of revocations.
    RevokeProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "key_not_found";
}

impl From<ApiKey> for KeyBody {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.as_str().to_owned(),
            scopes: key.scopes.names(),
            created_by: key.created_by,
            created_at: rfc3339(key.created_at),
            expires_at: key.expires_at.map(rfc3339),
            revoked_at: key.revoked_at.map(rfc3339),
            last_used_at: key.last_used_at.map(rfc3339),
        }
    }
}

/// List keys
///
/// Without their secrets, the newest first.
#[utoipa::path(
    get,
    path = "/keys",
    operation_id = "list_keys",
    tag = "keys",
    params(CursorParams),
    responses(
        (status = 200, description = "Entries of the list, and a cursor.", body = CursorPageBody<KeyBody>),
        ReadProblems,
    ),
)]
pub(crate) async fn list(
    State(admin): State<AdminState>,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let paginator = Paginator { signer: &*admin.cursors, path: uri.path(), filters: String::new() };
    let cursor = paginator.cursor(&mut params, position);
    params.finish()?;
    let page = admin.read(admin.keys.list(cursor)).await?;
    let format = |next: &KeyPosition| {
        let micros = next.created_at.timestamp_micros();
        format!("{micros}.{}", next.id)
    };
    Ok(paginator.response::<_, _, KeyBody>(page, cursor.limit, format))
}

/// Create a key
///
/// Its secret is in this answer alone.
#[utoipa::path(
    post,
    path = "/keys",
    operation_id = "create_key",
    tag = "keys",
    params(OptionalIdempotencyKeyHeader),
    request_body = NewKeyBody,
    responses((status = 201, description = "The key was created.", body = IssuedKey), NewKeyProblems),
)]
pub(crate) async fn create(
    State(admin): State<AdminState>,
    call: Call,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&body, &mut errors);
    let new = read_object(&call.headers, &body, &mut errors, |members| {
        let name = members.required("name", |json| json.text(KeyName::parse));
        let scopes = members.required("scopes", |json| json.texts(Scope::ALL.len(), scope));
        let expires_at = members.optional("expires_at", |json| match json {
            Json::Null => Ok(None),
            json => moment(json).map(Some),
        });
        let expiry = expires_at.flatten().map_or(KeyExpiry::Never, KeyExpiry::At);
        Some((name?, Scopes::new(scopes?)?, expiry))
    })?;
    let (Some((name, scopes, expiry)), true) = (new, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let issued = own.issue_key.execute((name, scopes), expiry, &actor).await;
        let (key, text) = issued.map_err(not_issued)?;
        let own = KeyBody::from(key);
        let done = Done::new(StatusCode::CREATED, &own, Some(Action::KeyCreated));
        let done = done.settling_in(NEW_KEY_SETTLES_IN);
        Ok(done.showing(&IssuedKey { own, key: text.reveal().to_owned() }))
    };
    perform_and_restore(&admin, request, with_key, work).await
}

/// Revoke a key
///
/// For good. Within a second all instances refuse it.
#[utoipa::path(
    delete,
    path = "/keys/{key_id}",
    operation_id = "revoke_key",
    tag = "keys",
    params(("key_id" = KeyIdText, Path, description = "The id of the key."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The key is revoked.", body = RevokedKeyBody), RevokeProblems),
)]
pub(crate) async fn revoke(
    State(admin): State<AdminState>,
    call: Call,
    key_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = segment(key_id, KeyId::parse, ApiError::ApiKeyNotFound)?;
    let request = call.keyed_without_body()?;
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let revoked = own.keys.revoke(id, &actor).await?.ok_or(ApiError::ApiKeyNotFound)?;
        let changed = revoked.is_changed;
        let body = RevokedKeyBody { own: revoked.key.into(), changed };
        Ok(Done::new(StatusCode::OK, &body, changed.then_some(Action::KeyRevoked)))
    };
    perform(&admin, request, work).await
}

/// The key itself is never stored. A repeat gets it as long as it may be used.
fn with_key(admin: AdminState, answer: StoredAnswer) -> BoxFuture<'static, StoredAnswer> {
    Box::pin(async move {
        let Ok(mut body) = serde_json::from_str::<Value>(&answer.body) else { return answer };
        let signing = admin.verify.signing_key(body["id"].as_str().unwrap_or_default()).await;
        let Ok(Some((_, text))) = signing else { return answer };
        body["key"] = text.reveal().into();
        StoredAnswer { body: body.to_string(), ..answer }
    })
}

fn not_issued(error: IssueKeyError) -> Problem {
    match error {
        IssueKeyError::Refused(NewKeyRefusal::Expired) => {
            ApiError::invalid("#/expires_at", NewKeyRefusal::Expired.to_string()).into()
        }
        error @ IssueKeyError::Refused(NewKeyRefusal::TooMany) => {
            Problem::detailed(ApiError::ChangeRefused, &error)
        }
        error @ IssueKeyError::NoRandomness => ApiError::Internal(Arc::new(error)).into(),
        IssueKeyError::Port(error) => error.into(),
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = Scope::ALL.map(Scope::as_str).join(", ");
    Scope::parse(text).ok_or_else(|| format!("must be one of {known}"))
}

fn position(text: &str) -> Option<KeyPosition> {
    let (micros, id) = text.split_once('.')?;
    let created_at = chrono::DateTime::from_timestamp_micros(micros.parse().ok()?)?;
    Some(KeyPosition { created_at, id: KeyId::parse(id)? })
}
