//! The purchase protocol, checked in every reachable state: two instances, a Redis that may lose everything, a PostgreSQL and
//! instances that may die between any two steps, requests that come twice and late.
//!
//! docs/testing.md describes what the model covers and what it does not.

mod protocol;

use protocol::{Protection, Protocol};
use stateright::{Checker, HasDiscoveries, Model};

/// Both buyers want one item, and one of them another item too.
const SMALL: Protocol =
    Protocol { limit: 2, without: None, wishes: [1, 1, 1], purchases: 1, deaths: 1 };

fn check(protocol: Protocol) -> impl Checker<Protocol> {
    protocol.checker().threads(2).spawn_bfs().join()
}

#[test]
fn purchases_that_come_twice_and_late_break_no_promise() {
    check(Protocol { purchases: 2, deaths: 0, ..SMALL }).assert_properties();
}

#[test]
fn checkouts_that_come_twice_and_late_break_no_promise() {
    check(Protocol { wishes: [2, 1, 1], deaths: 0, ..SMALL }).assert_properties();
}

#[test]
fn deaths_between_any_two_steps_break_no_promise() {
    check(Protocol { deaths: 2, ..SMALL }).assert_properties();
}

#[test]
fn a_death_and_purchases_that_come_twice_break_no_promise() {
    let checked = check(Protocol { wishes: [1, 1, 0], purchases: 2, deaths: 2, ..SMALL });
    for promise in ["I1", "I2", "I3", "I4", "I5"] {
        let broken = checked.discoveries().into_keys().find(|name| name.starts_with(promise));
        assert_eq!(broken, None);
    }
}

#[test]
fn a_property_fails_without_any_one_protection() {
    for protection in [
        Protection::Version,
        Protection::Stock,
        Protection::OutcomeWithEffects,
        Protection::AnswerAfterCommit,
        Protection::FreshVersions,
        Protection::Limit,
        Protection::StoredOutcomeFirst,
    ] {
        let limit = if protection == Protection::Limit { 1 } else { SMALL.limit };
        let protocol = Protocol { limit, without: Some(protection), purchases: 2, ..SMALL };
        let checker = protocol.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
        let broken: Vec<_> = checker.spawn_bfs().join().discoveries().into_keys().collect();
        let broken: Vec<_> = broken.into_iter().filter(|name| name.starts_with('I')).collect();
        assert!(!broken.is_empty(), "no property fails without {protection:?}");
    }
}
