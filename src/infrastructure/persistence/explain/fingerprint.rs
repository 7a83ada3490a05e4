//! Fingerprints: the same for a statement in every release that does not change it, whatever the partition.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::all;
use crate::infrastructure::persistence::partitions::SUFFIX;

/// Bytes of a hash that a fingerprint shows: enough that no two of some hundred statements share one.
const BYTES: usize = 6;
/// What precedes the first number of a partition in the names of its tables.
const PARTITION: &str = "_from_";

/// A statement as logs name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recognised {
    /// Its name; `other` for statements that have none.
    pub(crate) name: &'static str,
    /// Its fingerprint.
    pub(crate) fingerprint: String,
}

/// Recognises a statement by its text.
pub(crate) fn recognise(sql: &str) -> Recognised {
    static NAMES: OnceLock<HashMap<String, &'static str>> = OnceLock::new();
    let names =
        NAMES.get_or_init(|| all().map(|it| (fingerprint(it.template()), it.name)).collect());
    let fingerprint = fingerprint(sql);
    let name = names.get(&fingerprint).copied().unwrap_or("other");
    Recognised { name, fingerprint }
}

/// The fingerprint of a statement: a hash of its words.
pub(crate) fn fingerprint(sql: &str) -> String {
    let mut hash = Sha256::new();
    for word in without_partitions(sql).split_whitespace() {
        hash.update(word);
        hash.update(" ");
    }
    let mut text = String::new();
    for byte in hash.finalize().iter().take(BYTES) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The statement with the placeholder in place of the partition's suffix.
fn without_partitions(sql: &str) -> String {
    let mut parts = sql.split(PARTITION);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        text.push_str(if rest.len() == part.len() { PARTITION } else { SUFFIX });
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::infrastructure::persistence::explain::named::Example;
    use crate::infrastructure::persistence::pool::metrics::Statement;

    #[test]
    fn a_statement_is_recognised_in_every_partition_and_layout() {
        for named in all() {
            let of =
                |suffix: &str| named.statement(&Example { sale: 1, suffix: suffix.to_owned() });

            let one = recognise(&of("_from_0"));
            let other = recognise(&of("_from_123400").replace('\n', " "));

            assert_eq!(one, other);
            assert_eq!(one.name, named.name);
        }
    }

    #[test]
    fn a_statement_without_a_name_has_a_fingerprint_of_its_own() {
        let [one, other] = ["SELECT 1", "SELECT 2"].map(recognise);

        assert_eq!((one.name, other.name), ("other", "other"));
        assert_ne!(one.fingerprint, other.fingerprint);
        assert_eq!(one.fingerprint, fingerprint("SELECT\n   1 "));
    }

    #[test]
    fn names_and_fingerprints_are_unique_and_begin_with_the_kind() {
        let names: BTreeSet<_> = all().map(|named| named.name).collect();
        let fingerprints: BTreeSet<_> = all().map(|named| fingerprint(named.template())).collect();

        assert_eq!(names.len(), all().count());
        assert_eq!(fingerprints.len(), all().count());
        for named in all() {
            let kind = named.name.split('.').next().unwrap();
            assert_eq!(kind, named.kind.as_str(), "{}", named.name);
        }
    }

    #[test]
    fn every_kind_that_is_measured_is_the_name_of_a_statement() {
        let names: BTreeSet<_> = all().map(|named| named.name).collect();
        let measured = Statement::ALL.iter().map(|kind| kind.as_str());
        // They have no plan.
        let left: Vec<_> = measured
            .filter(|kind| !names.contains(kind) && !["begin", "commit", "rollback"].contains(kind))
            .collect();

        assert!(left.is_empty(), "{left:?}");
    }
}
