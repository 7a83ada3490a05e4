//! Items of an import: what a row must be, and what was wrong with one.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::ids::ItemId;
use super::sale::{MAX_ITEMS, MAX_STOCK};

/// Maximum length of an item's name, in characters.
pub const MAX_ITEM_NAME_CHARS: usize = 200;
/// Maximum length of an item's link, in characters.
pub const MAX_IMAGE_URL_CHARS: usize = 2_000;

/// A row as it was read: the texts of its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawItem {
    /// Line of the file, from 1.
    pub line: u64,
    /// `id`
    pub id: String,
    /// `name`
    pub name: String,
    /// `image_url`
    pub image_url: String,
    /// `stock`
    pub stock: String,
}

/// An item to be added to a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItem {
    /// Its id.
    pub id: ItemId,
    /// Its name.
    pub name: String,
    /// Its link.
    pub image_url: String,
    /// Its pieces.
    pub stock: i32,
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// Line of the file, from 1.
    pub line: u64,
    /// The column; `None` for the whole line.
    pub field: Option<&'static str>,
    /// The fault.
    pub why: &'static str,
}

/// Parts of the known ids, each of which grows alone: a single table would for a moment be there a second time, twice as large.
const PARTS: usize = 64;

/// The ids of a sale, as hashes: a million texts would take more memory than an import may. Two texts have the same hash with a
/// probability of 2⁻³¹, for a million ids, and not in the next import.
#[derive(Debug)]
pub struct KnownIds {
    hashers: [RandomState; 2],
    parts: [HashSet<u64>; PARTS],
}

impl Default for KnownIds {
    fn default() -> Self {
        Self { hashers: Default::default(), parts: std::array::from_fn(|_| HashSet::new()) }
    }
}

impl KnownIds {
    /// Adds an id; `false` if it is known.
    #[expect(clippy::cast_possible_truncation, reason = "the last bits choose the part")]
    pub fn add(&mut self, id: &str) -> bool {
        let [one, other] = self.hashers.each_ref().map(|hasher| hasher.hash_one(id));
        self.parts[other as usize % PARTS].insert(one)
    }

    /// Number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(HashSet::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl RawItem {
    /// The item, or every fault of the row.
    pub fn checked(self, known: &mut KnownIds, faults: &mut Vec<Rejected>) -> Option<NewItem> {
        let (line, before) = (self.line, faults.len());
        let mut fault = |field, why| faults.push(Rejected { line, field: Some(field), why });
        let id = ItemId::parse(&self.id);
        match &id {
            Ok(_) if self.id.trim() != self.id => {
                fault("id", "must not begin or end with a space");
            }
            Ok(_) => {}
            Err(_) => fault("id", "must be 1 to 64 characters without control characters"),
        }
        if !is_text(&self.name, MAX_ITEM_NAME_CHARS) {
            fault("name", "must be 1 to 200 characters without control characters");
        }
        if !is_text(&self.image_url, MAX_IMAGE_URL_CHARS) {
            fault("image_url", "must be 1 to 2000 characters without control characters");
        }
        let stock = self.stock.parse().ok().filter(|stock| (1..=MAX_STOCK).contains(stock));
        if stock.is_none() {
            fault("stock", "must be a whole number from 1 to 100000000");
        }
        let (Ok(id), Some(stock)) = (id, stock) else { return None };
        if faults.len() > before {
            return None;
        }
        let mut fault = |why| faults.push(Rejected { line, field: Some("id"), why });
        if known.len() >= usize::try_from(MAX_ITEMS).unwrap_or(usize::MAX) {
            fault("a sale has at most 1000000 items");
            return None;
        }
        if !known.add(id.as_str()) {
            fault("is the id of another item");
            return None;
        }
        Some(NewItem { id, name: self.name, image_url: self.image_url, stock })
    }
}

fn is_text(text: &str, max_chars: usize) -> bool {
    !text.is_empty() && text.chars().nth(max_chars).is_none() && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, stock: &str) -> RawItem {
        let (name, image_url) = ("Socks".to_owned(), "https://x/1".to_owned());
        RawItem { line: 7, id: id.to_owned(), name, image_url, stock: stock.to_owned() }
    }

    fn faults(row: RawItem) -> Vec<Option<&'static str>> {
        let mut faults = Vec::new();
        let item = row.checked(&mut KnownIds::default(), &mut faults);
        assert_eq!(item.is_none(), !faults.is_empty());
        assert!(faults.iter().all(|fault| fault.line == 7));
        faults.iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn any_id_of_an_item_is_taken() {
        for id in ["17", "a/b", "50 %", "ü", "..", "\"quoted\", with a comma"] {
            assert_eq!(faults(row(id, "1")), [], "{id}");
        }
    }

    #[test]
    fn every_fault_of_a_row_is_named() {
        let bad = RawItem { line: 7, ..RawItem::default() };
        assert_eq!(faults(bad), ["id", "name", "image_url", "stock"].map(Some));
        for stock in ["0", "-1", "1.5", "100000001", "99999999999999", " 1", "many"] {
            assert_eq!(faults(row("17", stock)), [Some("stock")], "{stock}");
        }
        for id in ["", " 17", "a\tb", &"x".repeat(65)] {
            assert_eq!(faults(row(id, "1")), [Some("id")], "{id}");
        }
        let long = RawItem { name: "x".repeat(201), ..row("17", "1") };
        assert_eq!(faults(long), [Some("name")]);
    }

    #[test]
    fn an_id_is_taken_once_and_a_rejected_row_takes_none() {
        let (mut known, mut faults) = (KnownIds::default(), Vec::new());

        let taken = [("17", "many"), ("17", "1"), ("17", "2"), ("18", "1")]
            .map(|(id, stock)| row(id, stock).checked(&mut known, &mut faults).is_some());

        assert_eq!(taken, [false, true, false, true]);
        assert_eq!(faults[1].why, "is the id of another item");
    }
}
