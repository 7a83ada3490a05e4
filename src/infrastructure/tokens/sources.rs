//! Where the keys of tokens are read from: a file or a URL with a key set (RFC 7517).

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use async_trait::async_trait;

use super::keys::UnreadableKeys;

/// Maximum size of a key set, in bytes.
pub(super) const MAX_KEY_SET_BYTES: usize = 65_536;

/// A place with a key set.
#[async_trait]
pub(super) trait KeySource: Send + Sync {
    /// The key set as it is now. Bounded in size and time.
    async fn read(&self) -> Result<Vec<u8>, UnreadableKeys>;

    /// Whether only this service reads it, so that it may have secrets.
    fn is_private(&self) -> bool;
}

/// A file.
pub(super) struct KeyFile(pub(super) PathBuf);

#[async_trait]
impl KeySource for KeyFile {
    async fn read(&self) -> Result<Vec<u8>, UnreadableKeys> {
        let failed = |error: std::io::Error| UnreadableKeys::Io(error.to_string());
        let limit = u64::try_from(MAX_KEY_SET_BYTES).unwrap_or(u64::MAX) + 1;
        let mut json = Vec::new();
        let file = File::open(&self.0).map_err(failed)?;
        file.take(limit).read_to_end(&mut json).map_err(failed)?;
        if json.len() > MAX_KEY_SET_BYTES {
            return Err(UnreadableKeys::TooLarge(MAX_KEY_SET_BYTES));
        }
        Ok(json)
    }

    fn is_private(&self) -> bool {
        true
    }
}
