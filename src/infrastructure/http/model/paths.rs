//! Paths without a version.

/// The start page. It is for browsers only: other clients get an error of their version.
pub(crate) const START: &str = "/";
/// The page of links, wherever the start page leads.
pub(crate) const LINKS: &str = "/start";
/// The files of the shop page.
pub(crate) const SHOP_FILES: &str = "/shop/{file}";
const SHOP: &str = "/shop/";
/// The OpenAPI document.
pub(crate) const OPENAPI: &str = "/openapi.json";
/// The page that shows the document.
pub(crate) const UI: &str = "/docs";
/// The page itself.
pub(crate) const UI_PAGE: &str = "/docs/";
/// The files of pages.
pub(crate) const FILES: &str = "/docs/{*rest}";
/// The list of problems. The `type` of a problem is this path and its code.
pub(crate) const PROBLEMS: &str = "/problems/";
/// The page of a problem.
pub(crate) const PROBLEM: &str = "/problems/{code}";
/// The response of `/healthz` on the monitoring port.
pub(crate) const HEALTH: &str = "/health";
/// The metrics, if `monitoring.on_http_port` is on.
pub(crate) const METRICS: &str = "/metrics";

/// The route templates of all paths without a version.
pub(crate) const UNVERSIONED_ROUTES: [&str; 11] =
    [START, LINKS, SHOP_FILES, OPENAPI, UI, UI_PAGE, FILES, PROBLEMS, PROBLEM, HEALTH, METRICS];

/// Whether a path has no version.
pub(crate) fn is_unversioned(path: &str) -> bool {
    [HEALTH, METRICS, OPENAPI, LINKS].contains(&path)
        || [PROBLEMS, UI, SHOP].iter().any(|pages| path.starts_with(pages))
}
