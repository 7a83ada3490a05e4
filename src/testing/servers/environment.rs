//! The addresses of the test servers, which `make test` passes in environment variables.

/// The value of a variable; panics without it.
#[expect(
    clippy::disallowed_methods,
    reason = "the test servers are not part of the configuration that reads the environment"
)]
pub(crate) fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is missing: run `make test`"))
}
