//! The body of a page, in both versions.

use serde::Serialize;
use utoipa::ToSchema;

use crate::application::ports::PageRequest;
use crate::infrastructure::http::model::schema;

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct PageBody<T> {
    data: Vec<T>,
    pagination: Pagination,
}

#[derive(Serialize, ToSchema)]
struct Pagination {
    #[schema(value_type = schema::PageNumber)]
    page: u32,
    #[schema(value_type = schema::Limit)]
    limit: u32,
    /// Number of entries in the whole list.
    #[schema(minimum = 0, examples(1))]
    total_items: i64,
    #[schema(minimum = 0, examples(1))]
    total_pages: i64,
    #[schema(examples(false))]
    has_next: bool,
    #[schema(examples(false))]
    has_previous: bool,
}

impl<T> PageBody<T> {
    pub(crate) fn new(data: Vec<T>, total_items: i64, request: PageRequest) -> Self {
        let PageRequest { page, limit } = request;
        let total_pages = total_items.unsigned_abs().div_ceil(u64::from(limit).max(1));
        let total_pages = i64::try_from(total_pages).unwrap_or(i64::MAX);
        let has_next = i64::from(page) < total_pages;
        let has_previous = page > 1;
        let pagination =
            Pagination { page, limit, total_items, total_pages, has_next, has_previous };
        Self { data, pagination }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pagination(total: i64, page: u32) -> Pagination {
        PageBody::<()>::new(Vec::new(), total, PageRequest { page, limit: 50 }).pagination
    }

    #[test]
    fn the_last_page_has_no_next() {
        let last = pagination(101, 3);

        assert_eq!(last.total_pages, 3);
        assert!(!last.has_next && last.has_previous);
    }

    #[test]
    fn an_empty_list_has_no_pages() {
        let first = pagination(0, 1);

        assert_eq!(first.total_pages, 0);
        assert!(!first.has_next && !first.has_previous);
    }
}
