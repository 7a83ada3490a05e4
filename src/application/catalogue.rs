//! All items of one sale in memory, by id and by number.
//!
//! A sale may have a million items, and several sales are live at a time, so all texts are in one buffer and the index
//! contains numbers only.

use std::hash::{BuildHasher, RandomState};

use crate::domain::ids::{ItemId, ItemNo};

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

/// The position of an item's texts in the buffer: id, name and link, in this order.
#[derive(Debug, Clone, Copy)]
struct Entry {
    no: i32,
    start: u32,
    id_bytes: u16,
    name_bytes: u16,
}

/// The items of a sale.
#[derive(Debug)]
pub struct Catalogue {
    /// Sorted by item number.
    entries: Vec<Entry>,
    texts: String,
    /// Hash table with open addressing: index in `entries` + 1, or 0 if empty. At most half full.
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
    entries: Vec<Entry>,
    texts: String,
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
        let id_bytes = u16::try_from(id.len()).map_err(|_| CatalogueTooLarge)?;
        let name_bytes = u16::try_from(name.len()).map_err(|_| CatalogueTooLarge)?;
        self.entries.push(Entry { no: no.0, start, id_bytes, name_bytes });
        for text in [id, name, image_url] {
            self.texts.push_str(text);
        }
        Ok(())
    }

    /// The finished catalogue.
    #[must_use]
    pub fn build(mut self) -> Catalogue {
        self.entries.shrink_to_fit();
        self.texts.shrink_to_fit();
        let slots = (self.entries.len() * 2).next_power_of_two();
        let mut catalogue = Catalogue {
            entries: self.entries,
            texts: self.texts,
            index: vec![0; slots],
            hasher: RandomState::new(),
        };
        for place in 0..catalogue.entries.len() {
            let mut slot = catalogue.first_slot(catalogue.id_at(place));
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
        self.entries.len()
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(self.entries.as_slice()) + self.texts.len() + size_of_val(self.index.as_slice())
    }

    /// Whether it has no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the item with this id.
    #[must_use]
    pub fn find(&self, id: &ItemId) -> Option<ItemNo> {
        let mut slot = self.first_slot(id.as_str());
        loop {
            let place = usize::try_from(self.index[slot]).ok()?.checked_sub(1)?;
            if self.id_at(place) == id.as_str() {
                return Some(ItemNo(self.entries[place].no));
            }
            slot = (slot + 1) % self.index.len();
        }
    }

    /// The item with this number.
    #[must_use]
    pub fn item(&self, no: ItemNo) -> Option<Item> {
        let place = self.place(no)?;
        let (id, name, image_url) = self.texts_at(place);
        Some(Item {
            no,
            id: ItemId::parse(id).ok()?,
            name: name.to_owned(),
            image_url: image_url.to_owned(),
        })
    }

    /// The index of an item, from 0.
    #[must_use]
    pub fn place(&self, no: ItemNo) -> Option<usize> {
        // Numbers usually have no gaps: then the index needs no search.
        let guess = usize::try_from(no.0).ok()?.checked_sub(1)?;
        if self.entries.get(guess).is_some_and(|entry| entry.no == no.0) {
            return Some(guess);
        }
        self.entries.binary_search_by_key(&no.0, |entry| entry.no).ok()
    }

    fn id_at(&self, place: usize) -> &str {
        self.texts_at(place).0
    }

    fn texts_at(&self, place: usize) -> (&str, &str, &str) {
        let entry = self.entries[place];
        let start = entry.start as usize;
        let end = self.entries.get(place + 1).map_or(self.texts.len(), |next| next.start as usize);
        let (id, rest) = self.texts[start..end].split_at(usize::from(entry.id_bytes));
        let (name, image_url) = rest.split_at(usize::from(entry.name_bytes));
        (id, name, image_url)
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits of the hash are used")]
    fn first_slot(&self, id: &str) -> usize {
        self.hasher.hash_one(id) as usize & (self.index.len() - 1)
    }
}

#[cfg(test)]
mod tests {
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
