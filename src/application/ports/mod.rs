//! What the application needs of the world outside. Each port is named by the need; adapters live in `infrastructure`,
//! doubles and contract suites in `testing`.

mod audit;
mod idempotency;
mod lists;
mod memory;
mod records;
mod sales;
mod selling;
mod system;

pub use audit::*;
pub use idempotency::*;
pub use lists::*;
pub use memory::*;
pub use records::*;
pub use sales::*;
pub use selling::*;
pub use system::*;
