//! `/problems/` and `/problems/{code}`: the meaning of each error, and what a client does about it.

use std::fmt::Write;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Html;
use axum::routing::get;

use crate::infrastructure::http::error::{ApiError, with_page};
use crate::infrastructure::http::model::paths::{PROBLEM, PROBLEMS};

pub(crate) fn router() -> Router {
    Router::new().route(PROBLEMS, get(list)).route(PROBLEM, get(page))
}

/// `GET /problems/`
async fn list() -> Html<String> {
    let mut links = String::new();
    for (entry, _) in with_page() {
        let _ = write!(links, "<li><a href=\"{PROBLEMS}{0}\">{0}</a>", entry.code);
    }
    Html(html("Problems", &format!("<h1>Problems</h1><ul>{links}</ul>")))
}

/// `GET /problems/{code}`
async fn page(code: Result<Path<String>, PathRejection>) -> Result<Html<String>, ApiError> {
    let code = code.map_err(|_| ApiError::RouteNotFound)?;
    let entry = with_page().find(|(entry, _)| entry.code == *code);
    let (entry, page) = entry.ok_or(ApiError::RouteNotFound)?;
    let (code, status, meaning, remedy) = (entry.code, entry.status, page.meaning, page.remedy);
    let body = format!(
        "<h1>{code}</h1><p>Status {status}.</p><h2>What it means</h2><p>{meaning}</p><h2>What to do</h2><p>{remedy}</p>\
         <p><a href=\"{PROBLEMS}\">All problems</a></p>"
    );
    Ok(Html(html(code, &body)))
}

/// A page. Nothing is escaped, because all texts come from the catalogue.
fn html(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}}</style>{body}</html>"
    )
}
