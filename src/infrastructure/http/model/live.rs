//! Events of the live state of a sale (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! The id of an event is made of its facts, so every instance gives the same facts the same id.

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::schema;
use super::time::rfc3339;
use crate::application::live::{LiveFacts, LiveState};
use crate::domain::sale::SaleState;

/// The data of an event `state`.
#[derive(Serialize, ToSchema)]
pub(crate) struct SaleStatus {
    #[schema(value_type = schema::SaleState)]
    state: &'static str,
    /// Number of pieces that are sold.
    #[schema(minimum = 0, examples(17))]
    sold: i64,
    /// Number of pieces that are not sold.
    #[schema(minimum = 0, examples(9_983))]
    remaining: i64,
    /// The database's clock, which opens and ends sales.
    #[schema(format = DateTime, examples("2027-01-31T15:00:00.250Z"))]
    server_time: String,
}

/// Writes an event. None of its parts can have a line break, which would end it.
pub(crate) fn event(state: &LiveState) -> Bytes {
    let LiveFacts { state: name, sold, remaining } = state.facts;
    let server_time = rfc3339(state.server_time);
    let status = SaleStatus { state: name.as_str(), sold, remaining, server_time };
    // Numbers and texts are always JSON.
    let data = serde_json::to_string(&status).unwrap_or_default();
    format!("event: state\nid: {name}-{sold}-{remaining}\ndata: {data}\n\n").into()
}

/// The facts of the event with this id; `None` for an id that is not of this service.
pub(crate) fn facts(id: &str) -> Option<LiveFacts> {
    let mut parts = id.splitn(3, '-');
    let name = parts.next()?;
    let states = [SaleState::Upcoming, SaleState::Open, SaleState::Ended];
    let state = states.into_iter().find(|state| state.as_str() == name)?;
    let mut number = || parts.next()?.parse().ok();
    Some(LiveFacts { state, sold: number()?, remaining: number()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::at;

    #[test]
    fn an_event_has_a_name_an_id_and_one_line_of_data() {
        let facts = LiveFacts { state: SaleState::Open, sold: 17, remaining: 9_983 };
        let event = event(&LiveState { facts, server_time: at(0) });

        let text = String::from_utf8(event.to_vec()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["event: state", "id: open-17-9983"]);
        let data = lines[2].strip_prefix("data: ").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!((&data["sold"], &data["remaining"]), (&17.into(), &9_983.into()));
        assert!(text.ends_with("}\n\n") && lines.len() == 4, "{text}");
    }

    #[test]
    fn only_an_id_of_this_service_has_facts() {
        for state in [SaleState::Upcoming, SaleState::Open, SaleState::Ended] {
            let told = LiveFacts { state, sold: 0, remaining: i64::MAX };
            assert_eq!(facts(&format!("{state}-0-{}", i64::MAX)), Some(told));
        }
        for other in
            ["", "-", "open", "open-1", "open-1-", "open-1-2-3", "shut-1-2", "open-x-2", "7"]
        {
            assert_eq!(facts(other), None, "{other}");
        }
    }
}
