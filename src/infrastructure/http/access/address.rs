//! The address of a client: the other end of its connection, or what trusted proxies say.
//!
//! Each proxy adds the address that it was connected from, so the list is read from its end, for as long as those who wrote it
//! are trusted. What a client has written itself comes before that, and does not count.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::config::{ForwardedHeader, LimitsConfig};
use crate::infrastructure::http::model::headers::X_FORWARDED_FOR;

/// Bits of an IPv6 address that are counted: a client has all addresses of its network.
const IPV6_NETWORK_BITS: u32 = 64;

/// Finds the addresses of clients.
#[derive(Debug, Clone)]
pub(crate) struct ClientAddresses {
    trusted: Arc<[IpNet]>,
    header: ForwardedHeader,
}

impl ClientAddresses {
    pub(crate) fn new(config: &LimitsConfig) -> Self {
        Self { trusted: config.trusted_proxies.clone().into(), header: config.forwarded_header }
    }

    /// The client's address; `peer` is at the other end of the connection.
    pub(crate) fn of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let addresses = match self.header {
            ForwardedHeader::Auto if !headers.contains_key(X_FORWARDED_FOR) => forwarded(headers),
            ForwardedHeader::Forwarded => forwarded(headers),
            ForwardedHeader::XForwardedFor | ForwardedHeader::Auto => x_forwarded_for(headers),
        };
        let mut client = peer;
        for address in addresses.into_iter().rev() {
            // The proxy that wrote something else hides its client, and is counted in its place.
            let Some(address) = address else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

/// What requests from an address are counted as.
pub(crate) fn counted_as(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS;
            format!("{}/{IPV6_NETWORK_BITS}", Ipv6Addr::from_bits(network))
        }
    }
}

/// The addresses in all lines of the header; `None` for one that is no address.
fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    lines(headers, &X_FORWARDED_FOR).flat_map(|line| line.split(',')).map(parse).collect()
}

/// The same of `Forwarded` (RFC 7239), whose elements have the address as `for=…`.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let elements = lines(headers, &FORWARDED).flat_map(|line| split_unquoted(line, ','));
    let address = |element: &str| {
        let mut pairs = split_unquoted(element, ';').into_iter();
        let value = pairs.find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
        })?;
        parse(value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value))
    };
    elements.map(address).collect()
}

fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    // A line that is no text hides an address.
    headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("?"))
}

/// An address, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = bracketed.unwrap_or(text).parse().ok();
    let address = address.or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))?;
    Some(address.to_canonical())
}

/// The parts between separators that are not inside of quotes.
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    let parts = text.split(|character: char| {
        is_quoted ^= character == '"';
        character == separator && !is_quoted
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.7";

    fn addresses(header: ForwardedHeader) -> ClientAddresses {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        ClientAddresses { trusted: trusted.into(), header }
    }

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        client_by(ForwardedHeader::Auto, peer, headers)
    }

    fn client_by(header: ForwardedHeader, peer: &str, headers: &[(&'static str, &str)]) -> String {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        addresses(header).of(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn what_a_client_says_of_itself_does_not_count() {
        let forged = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")];

        assert_eq!(client("192.0.2.1", &forged), "192.0.2.1");
        assert_eq!(client("192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(client(PROXY, &[]), PROXY);
    }

    #[test]
    fn a_trusted_proxy_tells_the_address_and_what_stands_before_it_is_forged() {
        for (list, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("1.1.1.1, 192.0.2.1", "192.0.2.1"),
            ("10.1.1.1, 192.0.2.1,10.2.2.2 , 10.0.0.9", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
            ("192.0.2.1, unknown, 10.0.0.9", "10.0.0.9"),
            ("", PROXY),
            ("\u{e9}", PROXY),
        ] {
            assert_eq!(client(PROXY, &[("x-forwarded-for", list)]), expected, "{list}");
        }
        assert_eq!(client("::ffff:10.0.0.7", &[("x-forwarded-for", "192.0.2.1")]), "192.0.2.1");
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = [("x-forwarded-for", "1.1.1.1, 192.0.2.1"), ("x-forwarded-for", "10.0.0.9")];

        assert_eq!(client(PROXY, &lines), "192.0.2.1");
    }

    #[test]
    fn forwarded_has_the_address_in_its_element() {
        for (value, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("for=1.1.1.1, For=\"[2001:db8::1]:443\";proto=https;by=10.0.0.7", "2001:db8::1"),
            ("proto=https;for=192.0.2.1;host=\"a,b;for=1.1.1.1\"", "192.0.2.1"),
            ("for=192.0.2.1, for=_hidden", PROXY),
            ("proto=https", PROXY),
        ] {
            assert_eq!(client(PROXY, &[("forwarded", value)]), expected, "{value}");
        }
    }

    #[test]
    fn only_the_header_that_proxies_write_counts() {
        let both = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.2")];

        assert_eq!(client_by(ForwardedHeader::Auto, PROXY, &both), "192.0.2.1");
        assert_eq!(client_by(ForwardedHeader::XForwardedFor, PROXY, &both), "192.0.2.1");
        assert_eq!(client_by(ForwardedHeader::Forwarded, PROXY, &both), "192.0.2.2");
        assert_eq!(client_by(ForwardedHeader::XForwardedFor, PROXY, &both[1..]), PROXY);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let counted = |text: &str| counted_as(text.parse().unwrap());

        assert_eq!(counted("2001:db8:1:2::1"), counted("2001:db8:1:2:ffff::9"));
        assert_ne!(counted("2001:db8:1:2::1"), counted("2001:db8:1:3::1"));
        assert_eq!(counted("192.0.2.1"), "192.0.2.1");
    }

    proptest! {
        #[test]
        fn no_header_causes_a_panic(value in "\\PC{0,60}") {
            if let Ok(value) = HeaderValue::from_str(&value) {
                let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, value.clone()), (FORWARDED, value)]);
                for header in [ForwardedHeader::Auto, ForwardedHeader::Forwarded] {
                    addresses(header).of(PROXY.parse().unwrap(), &headers);
                }
            }
        }
    }
}
