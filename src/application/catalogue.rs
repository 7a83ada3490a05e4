//! All items of one sale in memory, by id and by number.
//!
//! A sale may have a million items, and several sales are live at a time, so an item takes few bytes. Its texts are in one buffer with
//! those of all others, and of a name or a link only the middle that differs from the first one of its group (module `texts`). An
//! id that is the item's number, as `sale create` gives it, takes no memory and is found without an index.

use std::hash::{BuildHasher, RandomState};

use super::texts::{self, Texts};
use crate::domain::ids::{ItemId, ItemNo};

/// Items whose texts are stored as differences from those of the first of them.
const GROUP: usize = 16;
/// Digits of the largest number of an item.
const MAX_DIGITS: usize = 10;

/// An item as buyers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its number in the sale.
    pub no: ItemNo,
    /// Its id.
    pub id: ItemId,
    /// Its name.
    pub name: String,
    /// Link to its image.
    pub image_url: String,
}

/// The items of a sale.
#[derive(Debug)]
pub struct Catalogue {
    /// The numbers, increasing; `None` if they are those from 1 without a gap.
    numbers: Option<Vec<i32>>,
    /// Where the texts of each item begin in `texts`.
    starts: Vec<u32>,
    texts: String,
    /// Of the items whose id is not their number: a hash table with open addressing that has places + 1, or 0 if empty. At most half
    /// full.
    index: Vec<u32>,
    hasher: RandomState,
}

/// The texts are too long for the catalogue's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sale's item texts are too long for the catalogue")]
pub struct CatalogueTooLarge;

/// Builds a [`Catalogue`] item by item.
#[derive(Debug, Default)]
pub struct CatalogueBuilder {
    numbers: Vec<i32>,
    starts: Vec<u32>,
    texts: String,
    /// Number of items whose id is not their number.
    indexed: usize,
    /// Name and link of the first item of the group.
    first: [String; 2],
}

impl CatalogueBuilder {
    /// Adds an item; numbers must be increasing.
    pub fn push(
        &mut self,
        no: ItemNo,
        id: &str,
        name: &str,
        image_url: &str,
    ) -> Result<(), CatalogueTooLarge> {
        let start = u32::try_from(self.texts.len()).map_err(|_| CatalogueTooLarge)?;
        let is_first = self.starts.len().is_multiple_of(GROUP);
        if is_first {
            self.first = [name.to_owned(), image_url.to_owned()];
        }
        let id = if number_of(id) == Some(no) { "" } else { id };
        let like = if is_first { ["", ""] } else { self.first.each_ref().map(String::as_str) };
        texts::push(&mut self.texts, id, [name, image_url], like).ok_or(CatalogueTooLarge)?;
        self.indexed += usize::from(!id.is_empty());
        self.numbers.push(no.0);
        self.starts.push(start);
        Ok(())
    }

    /// The finished catalogue.
    #[must_use]
    pub fn build(mut self) -> Catalogue {
        self.starts.shrink_to_fit();
        self.texts.shrink_to_fit();
        let has_gaps = self.numbers.iter().zip(1..).any(|(number, place)| *number != place);
        let slots = if self.indexed == 0 { 0 } else { (self.indexed * 2).next_power_of_two() };
        let mut catalogue = Catalogue {
            numbers: has_gaps.then_some(self.numbers),
            starts: self.starts,
            texts: self.texts,
            index: vec![0; slots],
            hasher: RandomState::new(),
        };
        for place in 0..catalogue.len() {
            let id = catalogue.id_at(place);
            if id.is_empty() {
                continue;
            }
            let mut slot = catalogue.first_slot(id);
            while catalogue.index[slot] != 0 {
                slot = (slot + 1) % slots;
            }
            catalogue.index[slot] = u32::try_from(place + 1).unwrap_or(u32::MAX);
        }
        catalogue
    }
}

impl Catalogue {
    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let numbers = self.numbers.as_deref().map_or(0, size_of_val);
        let tables = size_of_val(self.starts.as_slice()) + size_of_val(self.index.as_slice());
        numbers + tables + self.texts.len()
    }

    /// Whether it has no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The number of the item with this id.
    #[must_use]
    pub fn find(&self, id: &ItemId) -> Option<ItemNo> {
        if let Some(no) = number_of(id.as_str())
            && let Some(place) = self.place(no)
            && (self.index.is_empty() || self.id_at(place).is_empty())
        {
            return Some(no);
        }
        if self.index.is_empty() {
            return None;
        }
        let mut slot = self.first_slot(id.as_str());
        loop {
            let place = usize::try_from(self.index[slot]).ok()?.checked_sub(1)?;
            if self.id_at(place) == id.as_str() {
                return Some(self.number_at(place));
            }
            slot = (slot + 1) % self.index.len();
        }
    }

    /// The item with this number.
    #[must_use]
    pub fn item(&self, no: ItemNo) -> Option<Item> {
        let place = self.place(no)?;
        let own = self.texts_at(place)?;
        let first = self.texts_at(place / GROUP * GROUP)?;
        let [name, image_url] = own.whole(&first)?;
        let mut digits = [0; MAX_DIGITS];
        let id = if own.id.is_empty() { digits_of(no, &mut digits)? } else { own.id };
        Some(Item { no, id: ItemId::parse(id).ok()?, name, image_url })
    }

    /// The index of an item, from 0.
    #[must_use]
    pub fn place(&self, no: ItemNo) -> Option<usize> {
        let guess = usize::try_from(no.0).ok()?.checked_sub(1)?;
        let Some(numbers) = &self.numbers else {
            return (guess < self.len()).then_some(guess);
        };
        if numbers.get(guess) == Some(&no.0) {
            return Some(guess);
        }
        numbers.binary_search(&no.0).ok()
    }

    fn number_at(&self, place: usize) -> ItemNo {
        let counted = || i32::try_from(place + 1).unwrap_or(i32::MAX);
        ItemNo(self.numbers.as_ref().map_or_else(counted, |numbers| numbers[place]))
    }

    fn texts_at(&self, place: usize) -> Option<Texts<'_>> {
        texts::read(self.texts.get(self.starts[place] as usize..)?)
    }

    /// The id of the item at this place; empty if it is its number.
    fn id_at(&self, place: usize) -> &str {
        self.texts_at(place).map_or("", |texts| texts.id)
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits of the hash are used")]
    fn first_slot(&self, id: &str) -> usize {
        self.hasher.hash_one(id) as usize & (self.index.len() - 1)
    }
}

/// The digits of an item's number, without an allocation.
fn digits_of(no: ItemNo, digits: &mut [u8; MAX_DIGITS]) -> Option<&str> {
    let (mut rest, mut first) = (no.0.unsigned_abs(), MAX_DIGITS);
    while first > 0 && (rest > 0 || first == MAX_DIGITS) {
        first -= 1;
        digits[first] = b"0123456789"[(rest % 10) as usize];
        rest /= 10;
    }
    str::from_utf8(&digits[first..]).ok()
}

/// The number that an id is in its only form: digits, the first of them not zero.
fn number_of(id: &str) -> Option<ItemNo> {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_digit()) && !id.starts_with('0');
    if is_plain { id.parse().ok().map(ItemNo) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn catalogue(items: &[(i32, &str)]) -> Catalogue {
        let mut builder = CatalogueBuilder::default();
        for (no, id) in items {
            builder.push(ItemNo(*no), id, &format!("Item {id}"), &format!("u/{id}")).unwrap();
        }
        builder.build()
    }

    #[test]
    fn every_item_is_found_by_its_id_and_by_its_number() {
        let ids: Vec<String> = (1..=1_000).map(|no| format!("sku-{no}")).collect();
        let items: Vec<_> = ids.iter().zip(1..).map(|(id, no)| (no, id.as_str())).collect();
        let catalogue = catalogue(&items);

        for (no, id) in items {
            let id = ItemId::parse(id).unwrap();
            assert_eq!(catalogue.find(&id), Some(ItemNo(no)));
            let item = catalogue.item(ItemNo(no)).unwrap();
            assert_eq!(
                (item.name, item.image_url),
                (format!("Item {}", id.as_str()), format!("u/{}", id.as_str()))
            );
        }
    }

    #[test]
    fn an_unknown_id_is_not_found() {
        let catalogue = catalogue(&[(1, "1"), (2, "2")]);

        assert_eq!(catalogue.find(&ItemId::parse("3").unwrap()), None);
        assert_eq!(catalogue.item(ItemNo(3)), None);
    }

    #[test]
    fn ids_that_are_numbers_of_other_items_are_found_by_their_text() {
        let catalogue = catalogue(&[(1, "2"), (2, "1"), (3, "3"), (4, "04"), (5, "+5"), (6, "٦")]);
        let find = |id: &str| catalogue.find(&ItemId::parse(id).unwrap()).map(|no| no.0);

        let found = ["2", "1", "3", "04", "+5", "٦", "4", "5", "6", "03"].map(find);

        let known = [1, 2, 3, 4, 5, 6].map(Some);
        assert_eq!((&found[..6], &found[6..]), (&known[..], &[None; 4][..]));
        let ids = (1..=6).map(|no| catalogue.item(ItemNo(no)).unwrap().id.as_str().to_owned());
        assert_eq!(ids.collect::<Vec<_>>(), ["2", "1", "3", "04", "+5", "٦"]);
    }

    #[test]
    fn items_as_a_command_creates_them_take_less_than_half_of_their_texts() {
        let mut builder = CatalogueBuilder::default();
        let mut bytes = 0;
        for no in 100_000..200_000 {
            let (id, name) = (no.to_string(), format!("Item {no}"));
            let image_url = format!("https://images.example.com/items/{no}.jpg");
            bytes += id.len() + name.len() + image_url.len();
            builder.push(ItemNo(no), &id, &name, &image_url).unwrap();
        }
        let catalogue = builder.build();

        assert!(catalogue.bytes() < bytes / 2, "{} of {bytes}", catalogue.bytes());
        let item = catalogue.item(ItemNo(123_456)).unwrap();
        assert_eq!(item.image_url, "https://images.example.com/items/123456.jpg");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_text_comes_back_as_it_was(
            texts in vec(("[a-c1-3é]{1,4}", "(Item |é|ß){0,3}[a-z0-9é]{1,150}", "(h|ht|hé)?[ab]{1,300}"), 1..20),
            step in 1..3_i32,
        ) {
            let mut builder = CatalogueBuilder::default();
            let id_of = |(at, (id, ..)): (i32, &(String, String, String))| match id.as_str() {
                "1" => (at * step).to_string(),
                id => format!("{id}-{at}"),
            };
            let ids: Vec<String> = (1..).zip(&texts).map(id_of).collect();
            for (at, ((_, name, link), id)) in (1..).zip(texts.iter().zip(&ids)) {
                builder.push(ItemNo(at * step), id, name, link).unwrap();
            }
            let catalogue = builder.build();

            for (at, ((_, name, link), id)) in (1..).zip(texts.iter().zip(&ids)) {
                let (no, id) = (ItemNo(at * step), ItemId::parse(id).unwrap());
                prop_assert_eq!(catalogue.find(&id), Some(no));
                let (name, image_url) = (name.clone(), link.clone());
                prop_assert_eq!(catalogue.item(no), Some(Item { no, id, name, image_url }));
            }
        }
    }

    #[test]
    fn numbers_may_have_gaps() {
        let catalogue = catalogue(&[(2, "a"), (7, "b"), (9, "c")]);

        assert_eq!(catalogue.place(ItemNo(7)), Some(1));
        assert_eq!(catalogue.place(ItemNo(3)), None);
    }

    #[test]
    fn an_empty_sale_finds_nothing() {
        assert_eq!(catalogue(&[]).find(&ItemId::parse("1").unwrap()), None);
    }
}
