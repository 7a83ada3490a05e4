//! The body of a sale in version 1.

use serde::Serialize;
use utoipa::ToSchema;

use crate::application::browse::SaleView;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::model::time::rfc3339;

#[derive(Serialize, ToSchema)]
pub(crate) struct SaleBody {
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(examples("Flash sale of 2027-01-31 15:00:00 UTC"))]
    name: String,
    #[schema(value_type = schema::SaleState)]
    state: &'static str,
    #[schema(value_type = schema::Time)]
    starts_at: String,
    /// The sale is open before this time.
    #[schema(format = DateTime, examples("2027-01-31T16:00:00Z"))]
    ends_at: String,
    /// The database's clock, which opens and ends sales.
    #[schema(format = DateTime, examples("2027-01-31T15:20:00.123456Z"))]
    server_time: String,
    /// Maximum number of pieces that one buyer can buy.
    #[schema(minimum = 1, maximum = 1_000, examples(10))]
    buyer_limit: i32,
    /// Number of items.
    #[schema(minimum = 1, maximum = 1_000_000, examples(10_000))]
    items: i32,
    /// Number of pieces that are sold.
    #[schema(minimum = 0, examples(17))]
    sold: i64,
    /// Number of pieces that are not sold.
    #[schema(minimum = 0, examples(9_983))]
    remaining: i64,
}

impl From<SaleView> for SaleBody {
    fn from(view: SaleView) -> Self {
        let SaleView { sale, state, server_time, progress } = view;
        Self {
            sale_id: sale.id.to_string(),
            name: sale.name,
            state: state.as_str(),
            starts_at: rfc3339(sale.window.starts_at()),
            ends_at: rfc3339(sale.window.ends_at()),
            server_time: rfc3339(server_time),
            buyer_limit: sale.buyer_limit,
            items: sale.items,
            sold: progress.sold,
            remaining: progress.remaining,
        }
    }
}
