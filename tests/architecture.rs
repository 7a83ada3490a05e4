//! The import rule: which layer and which room may import what, and that no file imports itself by way of others. Checked by reading
//! the sources, so that a shortcut fails the build.
//!
//! Comments and texts are left out first. Then every path that starts with `crate::`, `super::`, a child module or the name of a
//! dependency is checked. Code under `cfg(test)` may also import `crate::testing` and what only tests depend on.

#![expect(clippy::unwrap_used, reason = "sources that cannot be read fail the test")]

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/lexer.rs"]
mod lexer;
#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/rooms.rs"]
mod rooms;
#[path = "architecture/tree.rs"]
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use circles::{circles, imports};
use lexer::{split_tests, without_comments_and_texts};
use paths::{own_paths, words};
use rooms::ROOM_ORDERS;
use tree::{Dependencies, module_of, rust_files};

/// Most lines of `main.rs`: it parses the command line and hands over.
const MAIN_LINES: usize = 40;
/// Dependencies that the rules may use: values, and errors made of them.
const DOMAIN_MAY_USE: &[&str] = &["thiserror", "chrono", "uuid"];
/// Dependencies that use cases may use: values, and combinators of futures, which do no I/O and need no runtime.
const APPLICATION_MAY_USE: &[&str] =
    &["async_trait", "bytes", "chrono", "futures_util", "thiserror", "tracing", "uuid"];
/// The part of a dependency that use cases may use besides: locks that are awaited, which do no I/O and need no runtime.
const APPLICATION_MAY_USE_PART: (&str, &str) = ("tokio", "::sync::");
/// What adapters share; it is not an adapter itself.
const SHARED_KITS: &[&str] = &["batching", "circuit", "traces"];
/// Places that put the others together.
const COMPOSERS: &[&str] = &["app", "cli", "bench", "testing", "lib", "main"];

/// A source file, and the crates that Cargo.toml names.
struct Source<'a> {
    /// The module's path: `["infrastructure", "cache", "keys"]`.
    module: Vec<String>,
    text: &'a str,
    dependencies: &'a Dependencies,
}

/// The text of every source, by its module.
fn sources() -> BTreeMap<Vec<String>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&root);
    assert!(files.len() > 10, "the sources were not found");
    let read = |file: &PathBuf| {
        (module_of(file.strip_prefix(&root).unwrap()), fs::read_to_string(file).unwrap())
    };
    files.iter().map(read).collect()
}

#[test]
fn every_layer_names_only_what_it_may() {
    let dependencies =
        Dependencies::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));

    let mut faults = Vec::new();
    for (module, text) in sources() {
        let shown = module.join("::");
        let source = Source { module, text: &text, dependencies: &dependencies };
        faults.extend(source.faults().into_iter().map(|fault| format!("{shown}: {fault}")));
    }

    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_room_imports_only_rooms_below_it() {
    let mut faults = Vec::new();
    for (module, imported) in imports(&sources()) {
        for (order, path) in
            ROOM_ORDERS.iter().flat_map(|order| imported.iter().map(move |p| (order, p)))
        {
            let fault = order.fault(&module, path);
            faults.extend(fault.map(|fault| format!("{}: {fault}", module.join("::"))));
        }
    }

    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    let circles = circles(&imports(&sources()));

    let shown: Vec<String> = circles
        .iter()
        .map(|circle| {
            circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(" -> ")
        })
        .collect();
    assert!(circles.is_empty(), "{}", shown.join("\n"));
}

#[test]
fn a_circle_would_be_found() {
    let sources = |files: &[(&str, &str)]| -> BTreeMap<Vec<String>, String> {
        let module = |path: &str| path.split('/').map(str::to_owned).collect();
        files.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect()
    };
    let two = [("a", "mod b; pub use b::B;"), ("a/b", "use super::A;")];
    let three = [
        ("a", "use crate::b::B;"),
        ("b", "fn f() { crate::c::g(); }"),
        ("c", "use crate::{a::A, d};"),
        ("d", ""),
    ];
    let none = [
        ("a", "mod b; mod c; use b::B;"),
        ("a/b", "use super::c::C; #[cfg(test)] mod tests { use crate::a::A; }"),
        ("a/c", "/// See [`super::b`].\nstruct C;"),
    ];

    assert_eq!(circles(&imports(&sources(&two))).len(), 1);
    assert_eq!(circles(&imports(&sources(&three))).len(), 1);
    assert_eq!(circles(&imports(&sources(&none))), Vec::<Vec<Vec<String>>>::new());
}

#[test]
fn an_import_from_a_room_above_or_beside_would_be_found() {
    const HTTP: &str = "infrastructure::http";
    const PERSISTENCE: &str = "infrastructure::persistence";
    let path = |text: &str| -> Vec<String> { text.split("::").map(str::to_owned).collect() };
    let fault = |from: &str, to: &str| {
        ROOM_ORDERS.iter().find_map(|order| order.fault(&path(from), &path(to)))
    };
    for (from, to) in [("error", "v2::sale"), ("v2::sale", "v1::sale"), ("new", "error")] {
        let (from, to) = (format!("{HTTP}::{from}"), format!("{HTTP}::{to}"));
        assert!(fault(&from, &to).is_some(), "{from} {to}");
    }
    let pool = format!("{PERSISTENCE}::pool::database");
    assert!(fault(&pool, &format!("{PERSISTENCE}::batch::contention")).is_some());
    assert!(fault(&format!("{PERSISTENCE}::batch::session"), &pool).is_none());
    assert!(fault("app::components", &pool).is_none());
}

#[test]
fn main_only_hands_over() {
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs");

    assert!(fs::read_to_string(main).unwrap().lines().count() <= MAIN_LINES);
}

#[test]
fn a_forbidden_import_would_be_found() {
    for (module, text) in [
        ("domain/sale", "use serde::Serialize;"),
        ("domain/sale", "use crate::application::ports::Clock;"),
        ("domain/sale", "fn f() { tokio::join!() }"),
        ("domain/sale", "use crate::{domain::ids, infrastructure::cache};"),
        ("application/checkout", "use sqlx::PgPool;"),
        ("application/checkout", "fn f(x: axum::Router) {}"),
        ("application/checkout", "use tokio::time::sleep;"),
        ("application/checkout", "use\n    crate::infrastructure::cache::Limits;"),
        ("application/checkout", "use super::super::config::Config;"),
        ("application/checkout", "use crate::testing::Fake;"),
        ("application/checkout", "use mockall::automock;"),
        ("infrastructure/cache/keys", "use crate::infrastructure::http::Routes;"),
        ("infrastructure/cache/keys", "use crate::infrastructure::{cache::a, persistence::b};"),
        ("infrastructure/cache/keys", "use super::super::persistence::Ledger;"),
        ("infrastructure/cache", "use super::persistence::Ledger;"),
        (
            "infrastructure/cache/keys",
            "#[cfg(test)] mod tests { use crate::infrastructure::http::R; }",
        ),
        ("infrastructure/cache/plans", "#![cfg(test)]\nuse crate::infrastructure::http::Routes;"),
        ("infrastructure/cache/keys", "use crate::app::build;"),
        ("config", "use crate::infrastructure::cache::Limits;"),
        ("elsewhere/new", "use crate::domain::ids;"),
    ] {
        assert_eq!(faults(module, text).len(), 1, "{module}: {text}");
    }
}

#[test]
fn an_allowed_import_is_let_through() {
    for (module, text) in [
        (
            "domain/sale",
            "use std::fmt; use chrono::Utc; use super::ids::SaleId; use crate::domain::code;",
        ),
        (
            "domain/sale",
            "// use sqlx;\n/* crate::app */ const A: &str = \"crate::app serde::x {\";",
        ),
        ("domain/sale", "#[cfg(test)]\nmod tests { use proptest::prelude::*; use super::*; }"),
        (
            "application/checkout",
            "use super::ports::Clock; use crate::domain::ids; use async_trait::async_trait;",
        ),
        ("application/checkout", "#[cfg_attr(test, mockall::automock)] trait A {}"),
        ("application/checkout", "use tokio::sync::OnceCell;"),
        ("application/checkout", "#[cfg(test)]\nuse crate::testing::Fake;\nuse tracing::info;"),
        ("application/checkout", "#[cfg(test)] mod tests { #[tokio::test] async fn a() { '{'; } }"),
        (
            "infrastructure/cache/keys",
            "use crate::config::RedisConfig; use redis::Script; use super::Pool;",
        ),
        ("infrastructure/cache/plans", "//! A.\n\n#![cfg(test)]\n\nuse crate::testing::Fake;"),
        (
            "infrastructure/cache/keys",
            "use crate::infrastructure::{batching::Lane, cache::scripts};",
        ),
        ("infrastructure", "use crate::infrastructure::cache; mod http;"),
        ("app", "use crate::infrastructure::{cache::A, http::B};"),
        ("cli/verify", "use crate::infrastructure::persistence::A; use crate::app;"),
    ] {
        assert_eq!(faults(module, text), Vec::<String>::new(), "{module}: {text}");
    }
}

fn faults(module: &str, text: &str) -> Vec<String> {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let dependencies = Dependencies {
        all: names(&[
            "serde",
            "sqlx",
            "axum",
            "tokio",
            "redis",
            "chrono",
            "uuid",
            "thiserror",
            "tracing",
            "async_trait",
            "mockall",
            "proptest",
        ]),
        tests_only: names(&["mockall", "proptest", "tokio"]),
    };
    let module = module.split('/').map(str::to_owned).collect();
    Source { module, text, dependencies: &dependencies }.faults()
}

impl Source<'_> {
    fn faults(&self) -> Vec<String> {
        let (code, test_code) = split_tests(&without_comments_and_texts(self.text));
        let mut faults = BTreeSet::new();
        for (code, in_test) in [(code, false), (test_code, true)] {
            for path in own_paths(&code, &self.base(in_test), &[]) {
                let path = &path[..path.len().min(2)];
                let excused = in_test && path[0] == "testing";
                if !excused && !self.may_name(path) {
                    faults.insert(format!("must not name crate::{}", path.join("::")));
                }
            }
            for name in self.foreign_names(&code) {
                let excused = in_test && self.dependencies.tests_only.contains(name);
                if !excused && !self.may_use(name) {
                    faults.insert(format!("must not use {name}"));
                }
            }
        }
        faults.into_iter().collect()
    }

    /// The module that code is in: a module of tests lies one deeper.
    fn base(&self, in_test: bool) -> Vec<String> {
        let mut base = self.module.clone();
        base.extend(in_test.then(|| "tests".to_owned()));
        base
    }

    /// Whether this file may name a path of its own crate.
    fn may_name(&self, path: &[String]) -> bool {
        let [layer, rest @ ..] = path else {
            return true;
        };
        let layer = layer.as_str();
        match self.module[0].as_str() {
            "domain" => layer == "domain",
            "application" => ["domain", "application"].contains(&layer),
            "config" => ["domain", "config"].contains(&layer),
            "infrastructure" => match (self.module.get(1), rest.first()) {
                _ if ["domain", "application", "config"].contains(&layer) => true,
                (Some(own), Some(named)) if layer == "infrastructure" => {
                    named == own || SHARED_KITS.contains(&named.as_str())
                }
                _ => layer == "infrastructure",
            },
            composer => COMPOSERS.contains(&composer),
        }
    }

    /// Whether this file may use a crate.
    fn may_use(&self, name: &str) -> bool {
        match self.module[0].as_str() {
            "domain" => DOMAIN_MAY_USE.contains(&name),
            "application" => APPLICATION_MAY_USE.contains(&name),
            _ => !["mockall", "proptest"].contains(&name) || self.module[0] == "testing",
        }
    }

    /// Names of dependencies at the beginning of a path.
    fn foreign_names<'c>(&self, code: &'c str) -> BTreeSet<&'c str> {
        let words = words(code).filter(|(start, word)| {
            let (before, after) = (&code[..*start], code[start + word.len()..].trim_start());
            let used = before.trim_end().ends_with("use") && after.starts_with([';', ' ']);
            let (name, part) = APPLICATION_MAY_USE_PART;
            let granted =
                self.module[0] == "application" && *word == name && after.starts_with(part);
            !granted && !before.ends_with(':') && (after.starts_with("::") || used)
        });
        words.map(|(_, word)| word).filter(|word| self.dependencies.all.contains(*word)).collect()
    }
}
