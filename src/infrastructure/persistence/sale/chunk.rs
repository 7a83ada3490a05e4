//! A part of a sale's catalogue, as one statement reads it.

use crate::application::catalogue::CatalogueBuilder;
use crate::application::ports::PortError;
use crate::domain::ids::ItemNo;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::row::from_row;

pub(super) const CATALOGUE: &str = "the catalogue";
/// Maximum number of catalogue items that one statement reads. It bounds the memory and the time of a statement.
pub(super) const CHUNK: i32 = 20_000;
pub(super) const CHUNK_ITEMS: usize = CHUNK.unsigned_abs() as usize;

// One row: a row for each item would take the driver several times as long. All names are one text, as are the ids and the links, and
// the bytes of each are in an array, because a text of its own for each item costs both sides more than its content.
pub(crate) const CHUNK_OF_ITEMS: &str = r"
    SELECT coalesce(array_agg(item_no), '{}') AS numbers,
           coalesce(array_agg(octet_length(item_id)), '{}') AS id_bytes,
           coalesce(array_agg(octet_length(name)), '{}') AS name_bytes,
           coalesce(array_agg(octet_length(image_url)), '{}') AS link_bytes,
           coalesce(string_agg(item_id, ''), '') AS ids,
           coalesce(string_agg(name, ''), '') AS names,
           coalesce(string_agg(image_url, ''), '') AS links
    FROM (
        SELECT item_no, item_id, name, image_url
        FROM items{of_sale}
        WHERE sale_id = $1 AND item_no > $2
        ORDER BY item_no
        LIMIT $3
    ) AS chunk
";

from_row! {
    /// Items of a catalogue: of ids, names and links the bytes of each, and all of them one behind the other.
    #[derive(Debug)]
    pub(super) struct Chunk {
        pub(super) numbers: Vec<i32>,
        id_bytes: Vec<i32>,
        name_bytes: Vec<i32>,
        link_bytes: Vec<i32>,
        ids: String,
        names: String,
        links: String,
    }
}

impl Chunk {
    /// Adds the items to a catalogue.
    pub(super) fn add_to(&self, builder: &mut CatalogueBuilder) -> Result<(), PortError> {
        let mut ids = Joined { bytes: &self.id_bytes, texts: &self.ids };
        let mut names = Joined { bytes: &self.name_bytes, texts: &self.names };
        let mut links = Joined { bytes: &self.link_bytes, texts: &self.links };
        let broken = || DatabaseError::Unreadable("items").into_port_error(CATALOGUE);
        for number in &self.numbers {
            let texts = ids.next().zip(names.next()).zip(links.next());
            let ((id, name), link) = texts.ok_or_else(broken)?;
            builder
                .push(ItemNo(*number), id, name, link)
                .map_err(|error| PortError::Broken { what: CATALOGUE, source: error.into() })?;
        }
        Ok(())
    }
}

/// Texts one behind the other.
struct Joined<'a> {
    bytes: &'a [i32],
    texts: &'a str,
}

impl<'a> Iterator for Joined<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (bytes, further) = self.bytes.split_first()?;
        let (text, rest) = self.texts.split_at_checked(usize::try_from(*bytes).ok()?)?;
        (self.bytes, self.texts) = (further, rest);
        Some(text)
    }
}
