//! The types of jobs, a file each.
//!
//! [`payload`]: what all of them have.
//!
//! A new type is a file here with its payload and its handler, a line in [`TYPES`], and a line where `app/workers.rs` makes the
//! handlers. When a payload changes, its version grows and `upgrade` learns the older one: jobs and schedules that were written before
//! are still there. A payload of a version that `upgrade` does not know is refused with a sentence.

pub(crate) mod close_sales;
pub(crate) mod drop_sales;
pub(crate) mod noop;
pub(crate) mod payload;
pub(crate) mod prune_jobs;
pub(crate) mod prune_keys;
pub(crate) mod rebuild_filter;

use payload::TypeSpec;

/// All types, by name.
pub(crate) const TYPES: &[TypeSpec] = &[
    TypeSpec::of::<close_sales::CloseSales>(),
    TypeSpec::of::<drop_sales::DropSalesPayload>(),
    TypeSpec::of::<noop::Noop>(),
    TypeSpec::of::<prune_jobs::PruneJobs>(),
    TypeSpec::of::<prune_keys::PruneKeys>(),
    TypeSpec::of::<rebuild_filter::RebuildFilterPayload>(),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_have_names_of_their_own_in_order() {
        assert!(TYPES.is_sorted_by(|one, other| one.name < other.name));
    }

    #[test]
    fn operators_find_each_type_in_the_table_of_their_page() {
        let page = include_str!("../../../../docs/jobs.md");
        let table = page.split_once("\n## Types\n").unwrap().1.split_once("\n## ").unwrap().0;
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let rows: Vec<[String; 4]> = rows
            .map(|row| {
                let cells: Vec<String> =
                    row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
                [1, 2, 4, 5].map(|column: usize| cells[column].clone())
            })
            .collect();

        let expected = TYPES.iter().map(|spec| {
            let slots = spec.limits.concurrency.map(|slots| slots.to_string());
            let slots = slots.unwrap_or_else(|| "jobs.workers".to_owned());
            let attempts = spec.limits.attempts.map(|attempts| attempts.to_string());
            let attempts = attempts.unwrap_or_else(|| "jobs.max_attempts".to_owned());
            [spec.name.to_owned(), spec.takes.to_owned(), slots, attempts]
        });
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_wrong_payload_is_refused() {
        let rebuild = TYPES.iter().find(|spec| spec.name == "rebuild_filter").unwrap();

        for wrong in [json!([]), json!({ "sale": 1 }), json!({ "sale_id": "X" }), json!("x")] {
            assert!((rebuild.check)(1, wrong.clone()).is_err(), "{wrong}");
        }
        for right in [json!({}), json!({ "sale_id": "S-1" })] {
            assert_eq!((rebuild.check)(1, right.clone()), Ok(right));
        }
    }
}
