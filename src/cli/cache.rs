//! `flash-sale cache invalidate`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::{COULD_NOT, Failure};
use super::ids::parse_sale;
use super::output::{self, Format};
use crate::app::ReadCacheSweep;
use crate::application::ports::CacheScope;
use crate::config::Config;
use crate::domain::ids::{BuyerId, SaleId};

#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// Removes pages from the read cache of all instances, and prints how many.
    Invalidate(InvalidateArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct InvalidateArgs {
    /// All pages.
    #[arg(long)]
    all: bool,
    /// The items of a sale, what is sold of it, and the lists of sales.
    #[arg(long, value_name = "S-…", value_parser = parse_sale)]
    sale: Option<SaleId>,
    /// The purchases of a buyer.
    #[arg(long, value_name = "U", value_parser = parse_buyer)]
    buyer: Option<BuyerId>,
    /// Pages by their keys, such as 'items:*' or 'items:S-7:*': * stands for any text, ? for a character.
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    pattern: Option<String>,
    /// Pages with exactly these keys.
    #[arg(long, value_name = "K,K", value_delimiter = ',')]
    keys: Vec<String>,
}

/// What is removed.
enum Wanted {
    All,
    Prefixes(Vec<String>),
    Pattern(String),
    Keys(Vec<String>),
}

pub(super) async fn run(
    command: CacheCommand,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let CacheCommand::Invalidate(args) = command;
    let (scopes, wanted) = args.wanted();
    let could_not = |error: &(dyn std::error::Error + 'static)| Failure::because(COULD_NOT, error);
    let sweep = ReadCacheSweep::build(config).map_err(|error| could_not(&error))?;
    let removed = sweep.sweep(&scopes, &|key| wanted.has(key)).await;
    let removed = removed.map_err(|error| could_not(&error))?;
    output::one(format, &["invalidated"], &json!({ "invalidated": removed }))
}

impl InvalidateArgs {
    /// What instances forget, everything if it is nothing, and which pages are removed from Redis.
    fn wanted(self) -> (Vec<CacheScope>, Wanted) {
        if let Some(sale) = self.sale {
            let prefixes = ["items:", "sales:"].map(|kind| format!("{kind}{sale}:"));
            let prefixes = prefixes.into_iter().chain(["sales:all:".to_owned()]).collect();
            return (vec![CacheScope::Sale(sale), CacheScope::Sales], Wanted::Prefixes(prefixes));
        }
        if let Some(buyer) = self.buyer {
            let prefix = format!("purchases:{}:0:", buyer.as_str());
            return (vec![CacheScope::Buyer(buyer)], Wanted::Prefixes(vec![prefix]));
        }
        let wanted = match self.pattern {
            Some(pattern) => Wanted::Pattern(pattern),
            None if self.all => Wanted::All,
            None => Wanted::Keys(self.keys),
        };
        (Vec::new(), wanted)
    }
}

impl Wanted {
    fn has(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefixes(prefixes) => prefixes.iter().any(|prefix| key.starts_with(prefix)),
            Self::Pattern(pattern) => matches(pattern, key),
            Self::Keys(keys) => keys.iter().any(|wanted| wanted == key),
        }
    }
}

/// Whether a text matches a pattern, in which `*` stands for any text and `?` for one character. Takes a time that grows with both
/// lengths alone, whatever the pattern.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut of) = (0, 0);
    // Where the last star stands, and the text behind what it stands for.
    let mut star = None;
    while of < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[of] => {
                at += 1;
                of += 1;
            }
            _ => {
                let Some((star_at, star_of)) = star else { return false };
                star = Some((star_at, star_of + 1));
                at = star_at + 1;
                of = star_of + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

fn parse_buyer(text: &str) -> Result<BuyerId, String> {
    BuyerId::parse(text).map_err(|error| error.to_string())
}

/// A pattern that can match a key.
fn parse_pattern(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be visible ASCII without spaces, such as 'items:*'".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_keys() {
        let key = "items:S-7:1:/v2/sales/S-7/items?limit=50";
        for pattern in [
            "*",
            "items:*",
            "items:S-7:*",
            "*limit=50",
            "i*:S-?:*",
            "items:S-7:1:/v2/sales/S-7/items?limit=50",
        ] {
            assert!(matches(pattern, key), "{pattern}");
        }
        for pattern in ["", "items", "items:", "sales:*", "items:S-77:*", "?", "*limit=5"] {
            assert!(!matches(pattern, key), "{pattern}");
        }
        assert!(matches("*", "") && matches("", "") && !matches("?", ""));
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let (pattern, text) = ("*a".repeat(2_000), "a".repeat(1_999) + "b");

        assert!(!matches(&pattern, &text));
    }
}
