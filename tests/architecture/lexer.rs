//! Parts code from comments, texts and tests.

/// Code as it is built, and what is only built for tests.
pub(crate) fn split_tests(code: &str) -> (String, String) {
    if code.trim_start().starts_with("#![cfg(test)]") {
        return (String::new(), code.to_owned());
    }
    let (mut built, mut tests, mut rest) = (String::new(), String::new(), code);
    while let Some(start) =
        rest.find("#[cfg(test)]").into_iter().chain(rest.find("#[cfg_attr(test")).min()
    {
        built.push_str(&rest[..start]);
        let length = item_length(&rest[start..]);
        tests.push_str(&rest[start..start + length]);
        rest = &rest[start + length..];
    }
    built.push_str(rest);
    (built, tests)
}

/// Length of the item behind an attribute, or of the attribute itself if it only adds others.
fn item_length(code: &str) -> usize {
    let attribute = code.find(']').map_or(code.len(), |end| end + 1);
    if code.starts_with("#[cfg_attr") {
        return attribute;
    }
    let mut depth = 0;
    for (place, letter) in code[attribute..].char_indices() {
        let end = attribute + place + 1;
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return end,
            '}' => depth -= 1,
            ';' if depth == 0 => return end,
            _ => {}
        }
    }
    code.len()
}

/// The code with blanks where comments, texts and characters were.
pub(crate) fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = skipped_length(rest);
        if length > 0 {
            code.push(' ');
            rest = &rest[length..];
            continue;
        }
        code.push(letter);
        rest = &rest[letter.len_utf8()..];
        // `r` and `br` before a text belong to it, but `r` at the end of a name does not begin one.
        if letter.is_alphanumeric() || letter == '_' {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            code.push_str(&rest[..word]);
            rest = &rest[word..];
        }
    }
    code
}

/// Bytes of the comment, text or character that begins here; 0 if none does.
fn skipped_length(code: &str) -> usize {
    let upto = |end: &str, from: usize| {
        code[from..].find(end).map_or(code.len(), |at| from + at + end.len())
    };
    let raw = code.strip_prefix("br").or_else(|| code.strip_prefix('r'));
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let start = code.len() - raw.len() + hashes + 1;
            return upto(&format!("\"{}", "#".repeat(hashes)), start);
        }
    }
    if code.starts_with("//") {
        return code.find('\n').unwrap_or(code.len());
    }
    if code.starts_with("/*") {
        return upto("*/", 2);
    }
    if code.starts_with('"') {
        return quoted_length(code, '"');
    }
    let mut letters = code.chars();
    match (letters.next(), letters.next(), letters.next()) {
        (Some('\''), Some('\\'), _) => quoted_length(code, '\''),
        (Some('\''), Some(letter), Some('\'')) => 2 + letter.len_utf8(),
        _ => 0,
    }
}

/// Bytes up to the closing quote, over escaped ones.
fn quoted_length(code: &str, quote: char) -> usize {
    let mut escaped = false;
    for (place, letter) in code.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == quote => return place + letter.len_utf8(),
            _ => {}
        }
    }
    code.len()
}
