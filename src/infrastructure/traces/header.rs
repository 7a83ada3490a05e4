//! The W3C trace context in headers: <https://www.w3.org/TR/trace-context/>.
//!
//! Every client can send these headers. One that does not follow the letter of the standard is ignored, and a new
//! trace begins.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-<32 digits>-<16 digits>-<2 digits>`; later versions may append to it.
const LENGTH: usize = 55;
/// Later versions are read up to this length.
const MAX_LENGTH: usize = 128;
/// Longer states are dropped as a whole, as the standard permits: they are copied into every span.
const MAX_STATE_BYTES: usize = 512;

/// The caller's span; `None` if there is none, or if the header is not valid.
pub(super) fn parse(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let (parent, None) = (parents.next()?, parents.next()) else {
        return None;
    };
    let (trace, span, flags) = parse_parent(parent.as_bytes())?;
    Some(SpanContext::new(trace, span, flags, true, state(headers)))
}

fn parse_parent(text: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    if !(LENGTH..=MAX_LENGTH).contains(&text.len()) {
        return None;
    }
    let (known, rest) = text.split_at(LENGTH);
    let mut parts = known.split(|byte| *byte == b'-');
    let version = u8::try_from(hex(parts.next()?, 2)?).ok()?;
    let trace = hex(parts.next()?, 32)?;
    let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
    let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
    let is_complete = match version {
        0 => rest.is_empty(),
        u8::MAX => false,
        _ => rest.is_empty() || rest.starts_with(b"-"),
    };
    if !is_complete || parts.next().is_some() || trace == 0 || span == 0 {
        return None;
    }
    // Of the flags only this one has a meaning that every version shares.
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    Some((TraceId::from(trace), SpanId::from(span), flags))
}

/// So many lower-case hexadecimal digits.
fn hex(digits: &[u8], count: usize) -> Option<u128> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != count || !digits.iter().all(is_digit) {
        return None;
    }
    u128::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// The state of other vendors, which is passed on; empty if it is not valid or too long.
fn state(headers: &HeaderMap) -> TraceState {
    let mut text = String::new();
    for value in headers.get_all(TRACESTATE) {
        let Ok(value) = value.to_str() else { return TraceState::default() };
        if text.len() + value.len() + 1 > MAX_STATE_BYTES {
            return TraceState::default();
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(value);
    }
    // The library takes members without a key.
    let has_key =
        |member: &str| member.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty());
    if text.split(',').all(has_key) {
        text.parse().unwrap_or_default()
    } else {
        TraceState::default()
    }
}

/// The headers for whom this span calls.
pub(super) fn write(span: &SpanContext) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    headers.extend(HeaderValue::try_from(format(span)).map(|parent| (TRACEPARENT, parent)));
    let state = span.trace_state().header();
    if !state.is_empty() {
        headers.extend(HeaderValue::try_from(state).map(|state| (TRACESTATE, state)));
    }
    headers
}

fn format(span: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parsed(parent: &str) -> Option<SpanContext> {
        parse(&HeaderMap::from_iter([(TRACEPARENT, parent.parse().unwrap())]))
    }

    #[test]
    fn a_valid_header_is_read_and_written() {
        let span = parsed(VALID).unwrap();

        assert!(span.is_sampled() && span.is_remote());
        assert_eq!(format(&span), VALID);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        assert!(parsed(&VALID.replace("00-0af", "cc-0af")).is_some());
        assert!(
            parsed(&format!("{}-what-comes-later", VALID.replace("00-0af", "01-0af"))).is_some()
        );
        assert!(parsed(&format!("{}.later", VALID.replace("00-0af", "01-0af"))).is_none());
    }

    #[test]
    fn what_does_not_follow_the_letter_is_ignored() {
        let zero = "0".repeat(32);
        for hostile in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            &format!("00-{zero}-b7ad6b7169203331-01"),
            &format!("01-{}", "a".repeat(100_000)),
        ] {
            assert!(parsed(hostile).is_none(), "{hostile}");
        }
    }

    #[test]
    fn a_header_that_is_there_twice_is_ignored() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, VALID.parse().unwrap());
        headers.append(TRACEPARENT, VALID.parse().unwrap());

        assert!(parse(&headers).is_none());
    }

    #[test]
    fn a_state_is_kept_in_order_unless_it_is_too_long() {
        let with_states = |states: &[&str]| {
            let mut headers = HeaderMap::from_iter([(TRACEPARENT, VALID.parse().unwrap())]);
            for state in states {
                headers.append(TRACESTATE, state.parse().unwrap());
            }
            parse(&headers).unwrap().trace_state().header()
        };

        assert_eq!(with_states(&["a=1,b=2", "c=3"]), "a=1,b=2,c=3");
        assert_eq!(with_states(&["=,=;;"]), "");
        assert_eq!(with_states(&[&format!("a={}", "x".repeat(600))]), "");
    }
}
