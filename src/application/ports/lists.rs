//! Lists, by page number or by cursor.

/// A page by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Number of the page, from 1.
    pub page: u32,
    /// Entries per page.
    pub limit: u32,
}

impl PageRequest {
    /// Entries before the page.
    #[must_use]
    pub fn offset(self) -> i64 {
        i64::from(self.page.saturating_sub(1)) * i64::from(self.limit)
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Number of entries of the whole list.
    pub total: i64,
}

/// The position of a page in a list. The entries before it cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor<K> {
    /// The entry before the page, which need not exist any more; `None` is the beginning of the list.
    pub entry: Option<K>,
    /// Maximum number of entries.
    pub limit: u32,
}

impl<K> Cursor<K> {
    /// The first page.
    #[must_use]
    pub fn beginning(limit: u32) -> Self {
        Self { entry: None, limit }
    }
}

/// A page of a list whose length is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorPage<T, K> {
    /// The entries: possibly fewer than requested, or none, although more follow.
    pub entries: Vec<T>,
    /// The last entry of the page, if more follow.
    pub next: Option<K>,
}

impl<T, K> CursorPage<T, K> {
    /// A page of the first `limit` entries; more follow if there are more entries. `key` returns the position of an entry.
    #[must_use]
    pub fn cut(mut entries: Vec<T>, limit: u32, key: impl FnOnce(&T) -> K) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(key);
        Self { entries, next }
    }
}
