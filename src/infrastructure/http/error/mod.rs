//! Errors: [`catalogue`] has an entry for each, with its status, code, message and page; [`convert`] maps refusals of use cases to
//! them; [`respond`] writes them as [`v1`] or as problem details ([`problem_body`]). [`problem`] is the error type of version 2's
//! handlers; [`facts`] are members that both versions have;
//! [`challenge`] is about requests that are not let in.
//!
//! Responses never contain causes: the log has them under the request's id.

mod catalogue;
mod challenge;
mod convert;
mod facts;
pub(crate) mod problem;
pub(crate) mod problem_body;
mod respond;
pub(crate) mod v1;

pub(crate) use catalogue::{ApiError, Entry, ValidationErrors, with_page};
pub(crate) use challenge::{Challenge, RateLimited, Scheme};
pub(crate) use respond::Cause;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_to_be_repeated_is_repeated_by_a_good_client() {
        let (_, section) =
            include_str!("../../../../docs/http.md").split_once("\n## A good client\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let clients = [
            include_str!("../../../../examples/buyer.py"),
            include_str!("../../../../examples/typescript/buyer.ts"),
        ];

        let repeated =
            with_page().filter(|(entry, page)| entry.retry || page.remedy.contains("Repeat"));
        let repeated: Vec<_> = repeated.map(|(entry, _)| entry).collect();
        assert!(repeated.len() >= 5, "{repeated:?}");
        for entry in repeated {
            let status = entry.status.as_u16();
            assert!(section.contains(&format!("{status} `{}`", entry.code)), "{}", entry.code);
            // All of a status of the server, else by code.
            let name =
                if status >= 500 { status.to_string() } else { format!("\"{}\"", entry.code) };
            assert!(clients.iter().all(|client| client.contains(&name)), "{name}");
        }
    }
}
