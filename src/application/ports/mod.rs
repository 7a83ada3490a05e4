//! The interfaces of the adapters, each named by the need of the application. Adapters are in `infrastructure`, test
//! doubles and contract suites in `testing`.

mod access;
mod api_keys;
mod audit;
mod causes;
mod events;
mod hints;
mod idempotency;
mod imports;
mod jobs;
mod lists;
mod operator_requests;
mod operators;
mod records;
mod reports;
mod retention;
mod returns;
mod sales;
mod schedules;
mod selling;
mod stories;
mod system;
mod webhooks;

pub use access::*;
pub use api_keys::*;
pub use audit::*;
pub use causes::*;
pub use events::*;
pub use hints::*;
pub use idempotency::*;
pub use imports::*;
pub use jobs::*;
pub use lists::*;
pub use operator_requests::*;
pub use operators::*;
pub use records::*;
pub use reports::*;
pub use retention::*;
pub use returns::*;
pub use sales::*;
pub use schedules::*;
pub use selling::*;
pub use stories::*;
pub use system::*;
pub use webhooks::*;
