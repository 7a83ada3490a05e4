//! A buyer's story: checkouts, lines, purchases, refusals and cancellations in the order of time.

use std::sync::Arc;

use crate::application::codes::Codes;
use crate::application::ports::{
    Cursor, CursorPage, Happened, PortError, StoryEntry, StoryFilter, StoryKey, StoryReader,
};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, BuyerId};

/// An entry, with the code of its checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldEntry {
    /// The entry.
    pub entry: StoryEntry,
    /// The code; `None` if the entry is about no checkout.
    pub code: Option<CodeClaim>,
}

/// The use case.
pub struct BuyerStory {
    reader: Arc<dyn StoryReader>,
    codes: Arc<Codes>,
}

impl BuyerStory {
    /// Reads through this port.
    #[must_use]
    pub fn new(reader: Arc<dyn StoryReader>, codes: Arc<Codes>) -> Self {
        Self { reader, codes }
    }

    /// A page of the story. A buyer of whom nothing is on record has an empty one.
    pub async fn execute(
        &self,
        buyer: &BuyerId,
        wanted: StoryFilter,
        after: Cursor<StoryKey>,
    ) -> Result<CursorPage<ToldEntry, StoryKey>, PortError> {
        let page = self.reader.story(buyer, wanted, after).await?;
        let mut told = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            let code = match attempt_of(&entry.happened) {
                Some(attempt) => Some(self.codes.sign(entry.sale, attempt).await?),
                None => None,
            };
            told.push(ToldEntry { entry, code });
        }
        Ok(CursorPage { entries: told, next: page.next })
    }
}

fn attempt_of(happened: &Happened) -> Option<AttemptId> {
    match happened {
        Happened::Began(attempt)
        | Happened::Collected(attempt, ..)
        | Happened::Purchased(attempt, _)
        | Happened::Cancelled(attempt, ..) => Some(*attempt),
        Happened::Refused(refusal) => refusal.attempt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{CodeSigner, MockStoryReader};
    use crate::testing::builders::{at, attempt_id, buyer, sale_id};
    use crate::testing::fakes::FakeSigner;
    use crate::testing::test_shop::codes_of;

    #[tokio::test]
    async fn entries_of_a_checkout_have_its_code() {
        let key = StoryKey { at: at(1), kind: 1, sale: 3, first: 7, second: 0 };
        let happened = Happened::Began(attempt_id(7));
        let entry = StoryEntry { key, sale: sale_id(3), happened };
        let mut reader = MockStoryReader::new();
        let page = CursorPage { entries: vec![entry], next: Some(key) };
        reader.expect_story().return_once(move |_, _, _| Ok(page));
        let signer = Arc::new(FakeSigner { key: 1 });

        let story = BuyerStory::new(Arc::new(reader), codes_of(Arc::<FakeSigner>::clone(&signer)));
        let wanted = StoryFilter::default();
        let told = story.execute(&buyer("ann"), wanted, Cursor::beginning(1)).await.unwrap();

        assert_eq!(told.entries[0].code, Some(signer.sign(sale_id(3), attempt_id(7))));
        assert_eq!(told.next, Some(key));
    }
}
