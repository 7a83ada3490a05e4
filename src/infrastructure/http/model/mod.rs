//! Bodies, header names, links, paths and formats that several folders share.

pub(crate) mod at_end;
pub(crate) mod checkout;
pub(crate) mod current_request;
pub(crate) mod etag;
pub(crate) mod headers;
pub(crate) mod json;
pub(crate) mod links;
pub(crate) mod live;
pub(crate) mod page;
pub(crate) mod paths;
pub(crate) mod purchase;
pub(crate) mod schema;
pub(crate) mod time;
pub(crate) mod version;
