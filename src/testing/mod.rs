//! Test doubles and what tests share. Fakes keep state; contract suites hold fakes and real adapters to the same promises.

pub(crate) mod builders;
pub(crate) mod sabotage;
