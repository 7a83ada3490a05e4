//! How texts become pages: the layout that all pages share, templates and escapes.

use std::borrow::Cow;
use std::fmt::Write;

use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Response};

use crate::infrastructure::http::model::etag::with_etag;

const LAYOUT: &str = include_str!("pages/layout.html");
/// The pages that every page links to, by their paths below the start page.
const LINKS: [(&str, &str); 3] =
    [("docs/", "API reference"), ("problems/", "Problems"), ("openapi.json", "OpenAPI")];

/// What a page adds to the layout.
#[derive(Default)]
pub(crate) struct Page<'p> {
    pub(crate) title: &'p str,
    /// The path of the start page, relative to this page: a gateway may serve the service below a path.
    pub(crate) root: &'static str,
    /// The link that leads to this page.
    pub(crate) link: &'static str,
    /// Elements for the head.
    pub(crate) head: &'static str,
}

impl Page<'_> {
    /// The page with this content, which is HTML.
    pub(crate) fn with(&self, content: &str) -> String {
        let mut links = String::new();
        for (path, name) in LINKS {
            let current = if path == self.link { " aria-current=\"page\"" } else { "" };
            let _ = write!(links, "<a href=\"{}{path}\"{current}>{name}</a>", self.root);
        }
        let title = escape(self.title);
        let values = [
            ("title", &*title),
            ("root", self.root),
            ("head", self.head),
            ("nav", &links),
            ("content", content),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        fill(LAYOUT, &values)
    }
}

/// The response with a page, or 304 if the client has it.
pub(crate) async fn respond(
    request_headers: &HeaderMap,
    page: impl Into<Cow<'static, str>>,
) -> Response {
    with_etag(request_headers, Html(page.into()).into_response()).await
}

/// Puts values, which are HTML, in the place of their names in double braces.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut parts = template.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        filled.push_str(value.map_or("", |(_, value)| value));
        filled.push_str(rest);
    }
    filled
}

/// A text in HTML, also inside of an attribute in double quotes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A text in HTML, in which backticks mark code.
pub(crate) fn prose(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in escape(text).split('`').enumerate() {
        let is_code = index % 2 == 1;
        html.push_str(if is_code { "<code>" } else { "" });
        html.push_str(part);
        html.push_str(if is_code { "</code>" } else { "" });
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_become_markup() {
        assert_eq!(escape("a<b> & \"c\""), "a&lt;b&gt; &amp; &quot;c&quot;");
        assert_eq!(prose("the `<id>` & more"), "the <code>&lt;id&gt;</code> &amp; more");
        assert!(Page { title: "<script>", ..Page::default() }.with("").contains("&lt;script&gt;"));
    }

    #[test]
    fn a_value_is_not_a_template() {
        assert_eq!(fill("{{a}}-{{b}}", &[("a", "{{b}}"), ("b", "c")]), "{{b}}-c");
    }

    #[test]
    fn only_the_link_to_the_page_itself_is_marked() {
        let page = Page { root: "../", link: "problems/", ..Page::default() }.with("text");

        assert_eq!(page.matches("aria-current").count(), 1);
        assert!(page.contains("<a href=\"../problems/\" aria-current=\"page\">"));
        assert!(page.contains("<a href=\"../docs/\">"));
    }
}
