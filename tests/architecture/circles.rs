//! Import circles between files: files of which each, by way of others, imports itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::lexer::{split_tests, without_comments_and_texts};
use crate::paths::own_paths;

/// The modules that each module imports, by files: a path counts for the file of its longest prefix that is a module.
pub(crate) type Imports = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// What the sources import, tests left out.
pub(crate) fn imports(sources: &BTreeMap<Vec<String>, String>) -> Imports {
    let imported = sources.iter().map(|(module, text)| {
        let (code, _) = split_tests(&without_comments_and_texts(text));
        let paths = own_paths(&code, module, &children(sources, module));
        let files = paths.iter().filter_map(|path| file_of(path, sources));
        (module.clone(), files.filter(|file| file != module).collect())
    });
    imported.collect()
}

/// The module whose file has what a path names.
fn file_of(path: &[String], sources: &BTreeMap<Vec<String>, String>) -> Option<Vec<String>> {
    let prefixes = (1..=path.len()).rev().map(|end| path[..end].to_vec());
    prefixes.into_iter().find(|module| sources.contains_key(module))
}

/// Names of the modules that lie directly in a module.
pub(crate) fn children(sources: &BTreeMap<Vec<String>, String>, module: &[String]) -> Vec<String> {
    let is_child = |path: &&Vec<String>| path.len() == module.len() + 1 && path.starts_with(module);
    sources.keys().filter(is_child).filter_map(|path| path.last().cloned()).collect()
}

/// The shortest circle that each module is in, one for each set of modules.
pub(crate) fn circles(imports: &Imports) -> Vec<Vec<Vec<String>>> {
    let mut found = BTreeMap::new();
    for module in imports.keys() {
        if let Some(circle) = circle_through(module, imports) {
            let members: BTreeSet<Vec<String>> = circle.iter().cloned().collect();
            found.entry(members).or_insert(circle);
        }
    }
    found.into_values().collect()
}

/// Breadth first: the shortest way from a module back to itself.
fn circle_through(start: &Vec<String>, imports: &Imports) -> Option<Vec<Vec<String>>> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| imports.get(last)).into_iter().flatten() {
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push([way.clone(), vec![next.clone()]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}
