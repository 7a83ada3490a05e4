//! The server of the baseline: each request is one script in Redis.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, Script};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{BOUGHT, STOCK};
use crate::outcome::Outcome;
use crate::stage::Terms;

const COLLECT: &str = include_str!("collect.lua");
const BUY: &str = include_str!("buy.lua");
/// A flush may take long on a busy disk.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Start of a code, before the buyer's id.
const CODE_PREFIX: &str = "CHK-";
/// Connections to Redis: each pipelines the requests of all that share it.
const CONNECTIONS: usize = 4;

#[derive(Clone)]
struct Scripts {
    connections: [ConnectionManager; CONNECTIONS],
    collect: Script,
    buy: Script,
}

/// Serves until it is killed. It sells from the Redis that `REDIS_URL` names.
pub(crate) fn serve() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a baseline has no other configuration")]
    let url = std::env::var("REDIS_URL").unwrap_or_default();
    match run(&url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "redis-only: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(url: &str) -> Outcome<()> {
    // As `bare`.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let settings = TcpSettings::default().set_nodelay(true);
        let client = Client::open(url.into_connection_info()?.set_tcp_settings(settings))?;
        let connect = async || {
            let config =
                ConnectionManagerConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
            ConnectionManager::new_with_config(client.clone(), config).await
        };
        let connections = [connect().await?, connect().await?, connect().await?, connect().await?];
        let (collect, buy) = (Script::new(COLLECT), Script::new(BUY));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let line =
            json!({"message": "listening", "server": "http", "address": address.to_string()});
        writeln!(std::io::stderr(), "{line}")?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let routes = Router::new()
            .route("/checkout", post(checkout))
            .route("/purchase", post(purchase))
            .with_state(Scripts { connections, collect, buy });
        axum::serve(listener, routes).await?;
        Ok(())
    })
}

impl Scripts {
    /// A connection for this buyer.
    fn connection(&self, buyer: &str) -> ConnectionManager {
        let sum = buyer.bytes().fold(0, |sum, byte| usize::from(byte) + sum);
        self.connections[sum % CONNECTIONS].clone()
    }
}

async fn checkout(State(scripts): State<Scripts>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let (Some(buyer), Some(item)) = (parameter(&query, "user_id"), parameter(&query, "item_id"))
    else {
        return refusal(StatusCode::BAD_REQUEST, "validation_failed");
    };
    let mut invocation = scripts.collect.prepare_invoke();
    invocation.key(cart(buyer)).key(STOCK).key(BOUGHT);
    invocation.arg(buyer).arg(Terms::PLENTY.buyer_limit).arg(item);
    let items: Result<i64, _> = invocation.invoke_async(&mut scripts.connection(buyer)).await;
    match items {
        Ok(-1) => refusal(StatusCode::CONFLICT, "item_sold_out"),
        Ok(-2) => refusal(StatusCode::BAD_REQUEST, "user_limit_exceeded"),
        Ok(items) => {
            let code = format!("{CODE_PREFIX}{buyer}");
            body(StatusCode::OK, &json!({"code": code, "items_count": items, "sale_id": "S-1"}))
        }
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    }
}

async fn purchase(State(scripts): State<Scripts>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let code = parameter(&query, "code");
    let Some(buyer) = code.and_then(|code| code.strip_prefix(CODE_PREFIX)) else {
        return refusal(StatusCode::NOT_FOUND, "code_not_found");
    };
    let mut invocation = scripts.buy.prepare_invoke();
    invocation.key(cart(buyer)).key(STOCK).key(BOUGHT);
    invocation.arg(buyer).arg(Terms::PLENTY.buyer_limit);
    let lines: Result<Vec<(String, i64)>, _> =
        invocation.invoke_async(&mut scripts.connection(buyer)).await;
    let Ok(lines) = lines else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    };
    let sold: Vec<Value> = lines.iter().filter(|(_, pieces)| *pieces > 0).map(item).collect();
    let failed: Vec<Value> = lines.iter().filter(|(_, pieces)| *pieces < 0).map(item).collect();
    if sold.is_empty() {
        return refusal(StatusCode::CONFLICT, "items_already_sold");
    }
    let response = json!({
        "success": true,
        "total_purchased": sold.len(),
        "purchased_items": sold,
        "failed_count": failed.len(),
        "failed_items": failed,
    });
    body(StatusCode::OK, &response)
}

fn cart(buyer: &str) -> String {
    format!("redis-only:cart:{buyer}")
}

fn item((id, pieces): &(String, i64)) -> Value {
    json!({
        "id": id,
        "name": format!("Item {id}"),
        "image_url": format!("https://images.example.com/items/{id}.jpg"),
        "quantity": pieces.abs(),
    })
}

/// The value of a parameter; those of the suite need no decoding.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
    parameters.into_iter().find_map(|(own, value)| (own == name).then_some(value))
}

fn refusal(status: StatusCode, code: &str) -> Response {
    body(status, &json!({"message": code, "code": code}))
}

fn body(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
