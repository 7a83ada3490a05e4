//! `/problems/` and `/problems/{code}`: the meaning of each error, and what a client does about it.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use super::html::{self, Page, escape, fill, prose};
use crate::infrastructure::http::error::{ApiError, Entry, with_page};
use crate::infrastructure::http::model::paths::{PROBLEM, PROBLEMS};

/// Marks codes whose responses have `Retry-After`.
const REPEAT: &str = " <span class=\"repeat\">repeat</span>";

pub(crate) fn router() -> Router {
    Router::new().route(PROBLEMS, get(list)).route(PROBLEM, get(page))
}

/// `GET /problems/`
async fn list(headers: HeaderMap) -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let mut entries: Vec<_> = with_page().collect();
        entries.sort_by_key(|(entry, _)| (entry.status, entry.code));
        let mut rows = String::new();
        for (entry, page) in entries {
            let (code, repeat) = (escape(entry.code), if entry.retry { REPEAT } else { "" });
            let (status, meaning) = (status_of(entry), prose(page.meaning));
            let _ = writeln!(
                rows,
                "<tr><td>{status}</td><td><a href=\"{code}\"><code>{code}</code></a>{repeat}</td><td>{meaning}</td></tr>"
            );
        }
        let content = fill(include_str!("pages/problems.html"), &[("rows", &rows)]);
        layout("Problems · flash-sale").with(&content)
    });
    html::respond(&headers, PAGE.as_str()).await
}

/// `GET /problems/{code}`
async fn page(
    headers: HeaderMap,
    code: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let code = code.map_err(|_| ApiError::RouteNotFound)?;
    let entry = with_page().find(|(entry, _)| entry.code == *code);
    let (entry, page) = entry.ok_or(ApiError::RouteNotFound)?;
    let status = entry.status.as_u16();
    let problem = json!({
        "type": format!("{PROBLEMS}{}", entry.code),
        "title": entry.message,
        "status": status,
        "code": entry.code,
    });
    let error = json!({ "message": entry.message, "code": entry.code });
    let content = fill(
        include_str!("pages/problem.html"),
        &[
            ("code", &escape(entry.code)),
            ("status", &status_of(entry)),
            ("reason", entry.status.canonical_reason().unwrap_or_default()),
            ("repeat", if entry.retry { REPEAT } else { "" }),
            ("meaning", &prose(page.meaning)),
            ("remedy", &prose(page.remedy)),
            ("problem", &escape(&format!("{problem:#}"))),
            ("error", &escape(&format!("{error:#}"))),
        ],
    );
    let title = format!("{} · flash-sale", entry.code);
    Ok(html::respond(&headers, layout(&title).with(&content)).await)
}

fn layout(title: &str) -> Page<'_> {
    Page { title, root: "../", link: "problems/", head: "" }
}

/// The status of an error, coloured by whose error it is.
fn status_of(entry: &Entry) -> String {
    let class = if entry.status.is_server_error() { "status server" } else { "status" };
    format!("<span class=\"{class}\">{}</span>", entry.status.as_u16())
}
