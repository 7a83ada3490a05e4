//! Lists, by pages or by stretches.

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// From 1.
    pub page: u32,
    /// Entries a page.
    pub limit: u32,
}

impl PageRequest {
    /// Entries before the page.
    #[must_use]
    pub fn offset(self) -> i64 {
        i64::from(self.page.saturating_sub(1)) * i64::from(self.limit)
    }
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Entries of the whole list.
    pub total: i64,
}

/// Where a stretch of a list begins: what lies before does not cost anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After<K> {
    /// Behind this entry, which need not be there any more; at the beginning if there is none.
    pub entry: Option<K>,
    /// Most entries.
    pub limit: u32,
}

impl<K> After<K> {
    /// The first entries.
    #[must_use]
    pub fn beginning(limit: u32) -> Self {
        Self { entry: None, limit }
    }
}

/// Some entries of a list that nobody counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch<T, K> {
    /// The entries; perhaps fewer than were wanted, or none, although there are others.
    pub entries: Vec<T>,
    /// Behind which entry the list goes on, if it does.
    pub next: Option<K>,
}

impl<T, K> Stretch<T, K> {
    /// Of entries of which one more was asked for than are wanted; `key` is an entry's place.
    #[must_use]
    pub fn cut(mut entries: Vec<T>, limit: u32, key: impl FnOnce(&T) -> K) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(key);
        Self { entries, next }
    }
}
