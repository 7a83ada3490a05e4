//! Finds paths in code.

/// All paths of the own crate in a piece of code, from its root. `base` is the module that the code is in; a path may begin with
/// `crate`, `super`, `self` or the name of one of the module's `children`.
pub(crate) fn own_paths(code: &str, base: &[String], children: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (start, word) in words(code) {
        let before = code[..start].trim_end();
        let Some(rest) = code[start + word.len()..].trim_start().strip_prefix("::") else {
            continue;
        };
        if before.ends_with("::") || before.ends_with('.') {
            continue;
        }
        let (mut from, mut rest) = match word {
            "crate" => (Vec::new(), rest.trim_start()),
            "self" => (base.to_vec(), rest.trim_start()),
            "super" => (base[..base.len().saturating_sub(1)].to_vec(), rest.trim_start()),
            child if children.iter().any(|known| known == child) => {
                ([base, &[child.to_owned()]].concat(), rest.trim_start())
            }
            _ => continue,
        };
        while let Some(further) = rest.strip_prefix("super::") {
            from.pop();
            rest = further.trim_start();
        }
        follow(rest, &from, &mut paths);
    }
    paths
}

/// Follows a path, and every branch of it where it has braces.
fn follow(rest: &str, from: &[String], paths: &mut Vec<Vec<String>>) {
    let rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        for branch in branches(group) {
            follow(branch, from, paths);
        }
    } else if let Some((_, name)) = words(rest).next().filter(|(start, _)| *start == 0) {
        let path = [from, &[name.to_owned()]].concat();
        match rest[name.len()..].trim_start().strip_prefix("::") {
            Some(further) => follow(further, &path, paths),
            None if name == "self" => paths.push(from.to_vec()),
            None => paths.push(path),
        }
    } else if !from.is_empty() {
        // A glob, or `super` itself.
        paths.push(from.to_vec());
    }
}

/// The parts of a group in braces, whose opening brace is gone.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (1, 0, Vec::new());
    for (place, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && letter == ',') {
            parts.push(group[start..place].trim());
            start = place + 1;
        }
        if depth == 0 {
            break;
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Identifiers with their places.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + code[rest..].find(is_word)?;
        let length = code[start..].find(|letter| !is_word(letter)).unwrap_or(code.len() - start);
        rest = start + length;
        Some((start, &code[start..rest]))
    })
}
