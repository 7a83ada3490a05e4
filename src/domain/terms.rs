//! What a client wants to hold when its checkout is changed or bought, so that nothing happens that it has not seen.

use uuid::Uuid;

use super::checkout::Line;
use super::purchase::SettledLine;

/// Distinguishes the tags of checkouts from other names in UUIDs of version 5.
const NAMESPACE: Uuid = Uuid::from_u128(0x8f1b_3c56_5c0e_4d5b_9a54_6f1a_9d2e_77c3);

/// Identifies the lines of a checkout: the same items with the same quantities have the same tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckoutTag(Uuid);

impl CheckoutTag {
    /// The tag of these lines, in whatever order.
    #[must_use]
    pub fn of(lines: &[Line]) -> Self {
        let mut lines: Vec<[i32; 2]> =
            lines.iter().map(|line| [line.item.0, line.quantity.get()]).collect();
        lines.sort_unstable();
        let bytes: Vec<u8> = lines.into_iter().flatten().flat_map(i32::to_be_bytes).collect();
        Self(Uuid::new_v5(&NAMESPACE, &bytes))
    }

    /// Its bytes, from which [`Self::from_bytes`] makes the same tag.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The tag with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

/// The terms of a purchase. Without any, whatever is in the checkout is bought as far as it is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurchaseTerms {
    /// The checkout has one of these tags; `None`: any.
    pub tags: Option<Vec<CheckoutTag>>,
    /// The checkout has exactly these lines, in whatever order; `None`: any.
    pub lines: Option<Vec<Line>>,
    /// Every line is sold, or none.
    pub all_or_nothing: bool,
}

/// A purchase that does not meet its terms. Nothing is bought, and nothing is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declined {
    /// The checkout has none of the tags.
    OtherTag,
    /// The checkout has other lines.
    OtherLines,
    /// Not every line can be sold; these are all lines, by item number.
    Unavailable(Vec<SettledLine>),
}

impl PurchaseTerms {
    /// Checks what is known before anything is sold.
    pub fn check(&self, lines: &[Line]) -> Result<(), Declined> {
        if self.tags.as_ref().is_some_and(|tags| !tags.contains(&CheckoutTag::of(lines))) {
            return Err(Declined::OtherTag);
        }
        let expected = self.lines.as_ref();
        if expected.is_some_and(|expected| CheckoutTag::of(expected) != CheckoutTag::of(lines)) {
            return Err(Declined::OtherLines);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ItemNo, Quantity};

    fn line(item: i32, pieces: i32) -> Line {
        Line { item: ItemNo(item), quantity: Quantity::new(pieces).unwrap() }
    }

    #[test]
    fn the_same_lines_have_the_same_tag_in_any_order() {
        let tag = CheckoutTag::of(&[line(1, 2), line(3, 4)]);

        assert_eq!(tag, CheckoutTag::of(&[line(3, 4), line(1, 2)]));
        assert_eq!(tag, CheckoutTag::from_bytes(*tag.as_bytes()));
        for other in
            [vec![], vec![line(1, 2)], vec![line(1, 2), line(3, 5)], vec![line(1, 4), line(3, 2)]]
        {
            assert_ne!(tag, CheckoutTag::of(&other), "{other:?}");
        }
    }

    #[test]
    fn terms_without_conditions_hold_for_every_checkout() {
        assert_eq!(PurchaseTerms::default().check(&[]), Ok(()));
        assert_eq!(PurchaseTerms::default().check(&[line(1, 1)]), Ok(()));
    }

    #[test]
    fn one_of_the_tags_is_enough() {
        let tags = vec![CheckoutTag::of(&[]), CheckoutTag::of(&[line(1, 1)])];
        let terms = PurchaseTerms { tags: Some(tags), ..PurchaseTerms::default() };

        assert_eq!(terms.check(&[line(1, 1)]), Ok(()));
        assert_eq!(terms.check(&[line(1, 2)]), Err(Declined::OtherTag));
    }

    #[test]
    fn expected_lines_are_all_lines() {
        let lines = Some(vec![line(2, 1), line(1, 1)]);
        let terms = PurchaseTerms { lines, ..PurchaseTerms::default() };

        assert_eq!(terms.check(&[line(1, 1), line(2, 1)]), Ok(()));
        for other in [vec![line(1, 1)], vec![line(1, 1), line(2, 1), line(3, 1)]] {
            assert_eq!(terms.check(&other), Err(Declined::OtherLines), "{other:?}");
        }
    }
}
