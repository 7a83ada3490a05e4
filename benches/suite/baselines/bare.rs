//! An HTTP server that returns a constant text, with axum and the service's allocator and runtime.

use std::io::Write;
use std::process::ExitCode;

use axum::Router;
use axum::http::header;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::outcome::Outcome;

/// As long as a refusal of the service.
const TEXT: &str = r#"{"message":"the item is sold out","code":"item_sold_out"}"#;

/// Serves until it is killed.
pub(crate) fn serve() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "bare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    // The service's own settings (`src/cli/mod.rs`).
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        // Logged like the service's addresses.
        let line =
            serde_json::json!({"message": "listening", "server": "http", "address": address});
        writeln!(std::io::stderr(), "{line}")?;
        let listener = listener.tap_io(|stream| {
            // Like the service; otherwise the server would wait to fill its packets.
            let _ = stream.set_nodelay(true);
        });
        let routes = Router::new()
            .route("/", get(answer).post(answer))
            .route("/checkout", post(answer))
            .route("/purchase", post(answer));
        axum::serve(listener, routes).await?;
        Ok(())
    })
}

async fn answer() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], TEXT)
}
