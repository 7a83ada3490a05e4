//! The rules of a flash sale, pure: no I/O, no clock, no async, nothing but values in and values out.
//!
//! - [`ids`]: the names things go by (sale, item, buyer, attempt), parsed once at the door.
//! - [`alphabet`]: the letters in which numbers are shown to people.
//! - [`code`]: the text of a checkout code.
//! - [`sale`]: a sale, its window and what a new one needs.
//! - [`checkout`]: what a buyer has collected, and whether one more item fits.
//! - [`settlement`]: who gets what when several ask at once.
//! - [`purchase`]: the outcome of a purchase, as it is stored and repeated.
//! - [`bloom`]: the arithmetic of the sold-out filter.

pub mod alphabet;
pub mod bloom;
pub mod checkout;
pub mod code;
pub mod ids;
pub mod purchase;
pub mod sale;
pub mod settlement;
