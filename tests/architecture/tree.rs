//! What lies in the crate: sources, and the names of its dependencies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates by their names in code.
pub(crate) struct Dependencies {
    /// All of them.
    pub(crate) all: BTreeSet<String>,
    /// Those that only tests may use.
    pub(crate) tests_only: BTreeSet<String>,
}

impl Dependencies {
    /// Reads the names under `[dependencies]` and `[dev-dependencies]`.
    pub(crate) fn read(manifest: &Path) -> Self {
        let mut found = Self { all: BTreeSet::new(), tests_only: BTreeSet::new() };
        let mut section = String::new();
        for line in fs::read_to_string(manifest).unwrap().lines() {
            if line.starts_with('[') {
                line.clone_into(&mut section);
            }
            let Some((name, _)) = line.split_once('=') else {
                continue;
            };
            let name = name.trim().replace('-', "_");
            match section.as_str() {
                "[dependencies]" => drop(found.all.insert(name)),
                "[dev-dependencies]" => {
                    found.all.insert(name.clone());
                    found.tests_only.insert(name);
                }
                _ => {}
            }
        }
        // Its macros run the tests of code that does not use it otherwise.
        found.tests_only.insert("tokio".to_owned());
        found
    }
}

/// All sources below a folder.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// `infrastructure/cache/mod.rs` is `["infrastructure", "cache"]`.
pub(crate) fn module_of(file: &Path) -> Vec<String> {
    let path = file.with_extension("");
    let names = path.iter().map(|name| name.to_str().unwrap().to_owned());
    names.filter(|name| name != "mod").collect()
}
