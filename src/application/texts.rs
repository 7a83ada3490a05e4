//! The texts of an item in a buffer: its id, and of its name and its link the middle that another item's do not have.
//!
//! Names and links of one sale begin and end alike (`https://images.example.com/items/17.jpg`). So of each only the number of bytes is
//! stored that it shares with the other one at its begin and at its end, and what is between.
//!
//! An item is a head of seven numbers and three texts. The numbers: bytes of the id (0: it is the item's number); of the name and then
//! of the link, bytes shared at the begin, bytes shared at the end, bytes of the middle. The texts: id, middle of the name, middle of
//! the link. A number is one character if all of them are small; otherwise [`LONG`] is before seven numbers of three characters.
//! Characters of numbers are ASCII, so that the buffer is a text whose parts need no validation.

const NUMBERS: usize = 7;
/// The first character of a head with long numbers; small ones are below it.
const LONG: u8 = 127;
/// Characters of a long number, of seven bits each.
const LONG_DIGITS: usize = 3;
const LONG_HEAD: usize = 1 + LONG_DIGITS * NUMBERS;
const MAX_NUMBER: usize = (1 << (7 * LONG_DIGITS)) - 1;

/// An item's texts, as they are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts<'a> {
    /// The id; empty if it is the item's number.
    pub(super) id: &'a str,
    name: Part<'a>,
    link: Part<'a>,
}

/// A text: how much it shares with another one, and what not.
#[derive(Debug, Clone, Copy)]
struct Part<'a> {
    begin: usize,
    end: usize,
    middle: &'a str,
}

/// Appends an item, with name and link like these; `None` if a text is too long.
pub(super) fn push(
    buffer: &mut String,
    id: &str,
    [name, link]: [&str; 2],
    like: [&str; 2],
) -> Option<()> {
    let (name, link) = (difference(name, like[0]), difference(link, like[1]));
    push_head(
        buffer,
        [
            id.len(),
            name.begin,
            name.end,
            name.middle.len(),
            link.begin,
            link.end,
            link.middle.len(),
        ],
    )?;
    for text in [id, name.middle, link.middle] {
        buffer.push_str(text);
    }
    Some(())
}

/// The item whose texts begin here; `None` for what [`push`] did not write.
pub(super) fn read(buffer: &str) -> Option<Texts<'_>> {
    let (numbers, texts) = read_head(buffer)?;
    let [id, name_begin, name_end, name, link_begin, link_end, link] = numbers;
    let (id, texts) = texts.split_at_checked(id)?;
    let (name, texts) = texts.split_at_checked(name)?;
    let link = texts.get(..link)?;
    Some(Texts {
        id,
        name: Part { begin: name_begin, end: name_end, middle: name },
        link: Part { begin: link_begin, end: link_end, middle: link },
    })
}

impl Texts<'_> {
    /// Name and link. `like` has those that they share their ends with, whole.
    pub(super) fn whole(&self, like: &Texts<'_>) -> Option<[String; 2]> {
        Some([self.name.whole(like.name.middle)?, self.link.whole(like.link.middle)?])
    }
}

impl Part<'_> {
    fn whole(&self, like: &str) -> Option<String> {
        let (begin, end) =
            (like.get(..self.begin)?, like.get(like.len().checked_sub(self.end)?..)?);
        let mut text = String::with_capacity(begin.len() + self.middle.len() + end.len());
        for part in [begin, self.middle, end] {
            text.push_str(part);
        }
        Some(text)
    }
}

/// What a text shares with this one, in whole characters, and what not.
fn difference<'a>(text: &'a str, like: &str) -> Part<'a> {
    let mut begin = shared(text.bytes(), like.bytes());
    while !text.is_char_boundary(begin) {
        begin -= 1;
    }
    let (rest, rest_of_like) = (&text.as_bytes()[begin..], &like.as_bytes()[begin..]);
    let mut end = shared(rest.iter().rev(), rest_of_like.iter().rev());
    while !text.is_char_boundary(text.len() - end) {
        end -= 1;
    }
    Part { begin, end, middle: &text[begin..text.len() - end] }
}

fn shared<T: PartialEq>(one: impl Iterator<Item = T>, other: impl Iterator<Item = T>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

fn push_head(buffer: &mut String, numbers: [usize; NUMBERS]) -> Option<()> {
    let digit = |number: usize| u8::try_from(number).ok().filter(u8::is_ascii).map(char::from);
    if numbers.iter().all(|number| *number < usize::from(LONG)) {
        buffer.extend(numbers.into_iter().filter_map(digit));
        return Some(());
    }
    buffer.push(char::from(LONG));
    for number in numbers {
        if number > MAX_NUMBER {
            return None;
        }
        let digits = [number >> 14, number >> 7 & 127, number & 127];
        buffer.extend(digits.into_iter().filter_map(digit));
    }
    Some(())
}

fn read_head(buffer: &str) -> Option<([usize; NUMBERS], &str)> {
    if buffer.as_bytes().first() != Some(&LONG) {
        let head = buffer.as_bytes().first_chunk::<NUMBERS>()?;
        return Some((head.map(usize::from), buffer.get(NUMBERS..)?));
    }
    let head = buffer.as_bytes().first_chunk::<LONG_HEAD>()?;
    let digit = |at: usize| usize::from(head[at]);
    let number = |at: usize| digit(at) << 14 | digit(at + 1) << 7 | digit(at + 2);
    let numbers = std::array::from_fn(|at| number(1 + LONG_DIGITS * at));
    Some((numbers, buffer.get(LONG_HEAD..)?))
}
