//! Sales in great number, by plain SQL: creating them by command would take minutes.

use crate::database::{self, Database};
use crate::outcome::Outcome;

/// Digits of a sale's number, in order of value: Crockford's base 32, like the service.
const DIGITS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Sales that share a partition: those of a hundred.
const SALES_A_PARTITION: usize = 100;
/// Partitions that one transaction creates: each takes locks, of which a server has a limited number.
const PARTITIONS_A_STEP: usize = 10;

/// Sales with numbers from `first` to `last`, `step` apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sales {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) step: u32,
    /// Number of items of each.
    pub(super) items: u32,
    /// Pieces of each item.
    pub(super) stock: u32,
    /// Hours from now until they begin and until they end.
    pub(super) window: (i32, i32),
}

impl Sales {
    fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        (self.first..=self.last).step_by(usize::try_from(self.step).unwrap_or(1).max(1))
    }

    /// Their ids.
    pub(super) fn ids(&self) -> Vec<String> {
        self.numbers().map(id).collect()
    }

    /// Creates them. Sales that are created later get higher numbers.
    pub(super) fn create(&self, database: &Database) -> Outcome<()> {
        let Self { first, last, step, items, stock, window: (starts, ends) } = self;
        let execute = |statement: &str| database::execute(&database.url, statement);
        execute(&format!("SELECT setval('sale_ids', {last})"))?;
        let mut partitions: Vec<u32> = self.numbers().collect();
        partitions.dedup_by_key(|number| usize::try_from(*number).unwrap_or(0) / SALES_A_PARTITION);
        for some in partitions.chunks(PARTITIONS_A_STEP) {
            let some: Vec<String> = some.iter().map(u32::to_string).collect();
            let numbers = some.join(", ");
            execute(&format!("SELECT ensure_partitions(n) FROM unnest(ARRAY[{numbers}]) AS n"))?;
        }
        let sales = format!("generate_series({first}, {last}, {step}) AS sale");
        let digit = |value: u32| format!("substr('{DIGITS}', sale / {value} % 32 + 1, 1)");
        let public_id =
            format!("'S-' || ltrim({} || {} || {}, '0')", digit(1_024), digit(32), digit(1));
        let statements = [
            format!(
                "INSERT INTO sales (id, public_id, name, starts_at, ends_at, buyer_limit, items)
                 SELECT sale, {public_id}, 'Sale ' || sale, now() + interval '{starts} h',
                        now() + interval '{ends} h', 10, {items}
                 FROM {sales}"
            ),
            format!(
                "INSERT INTO items (sale_id, item_no, item_id, name, image_url)
                 SELECT sale, item, item::text, 'Item ' || item,
                        'https://images.example.com/items/' || item || '.jpg'
                 FROM {sales}, generate_series(1, {items}) AS item"
            ),
            format!(
                "INSERT INTO item_stock (sale_id, item_no, stock)
                 SELECT sale, item, {stock} FROM {sales}, generate_series(1, {items}) AS item"
            ),
            // As `sale create` leaves it, for `verify`.
            format!(
                "INSERT INTO sale_audit (sale_id, action, actor)
                 SELECT sale, 'created', 'bench' FROM {sales}"
            ),
        ];
        statements.iter().try_for_each(|statement| execute(statement))
    }
}

/// A sale's id from its number.
fn id(number: u32) -> String {
    let digits = [1_024, 32, 1].map(|value| {
        let digit = usize::try_from(number / value % 32).unwrap_or(0);
        char::from(DIGITS.as_bytes()[digit])
    });
    let digits = String::from_iter(digits);
    format!("S-{}", digits.trim_start_matches('0'))
}
