//! `limits.*`: how often.

use std::fmt;

use ipnet::IpNet;

use super::http::LinksConfig;
use crate::config::reader::Reader;
use crate::domain::rate_limit::{InvalidRateLimit, RateLimit};

/// Maximum number of routes with a limit of their own: more than the API has.
const MAX_ROUTES: usize = 64;

/// `limits.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct LimitsConfig {
    pub buyer: Option<RateLimit>,
    pub address: Option<RateLimit>,
    pub api_key: Option<RateLimit>,
    pub routes: Vec<RouteLimit>,
    pub local_share: u32,
    pub trusted_proxies: Vec<IpNet>,
    pub forwarded_header: ForwardedHeader,
}

/// One of `limits.routes`: how often all clients together may use a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLimit {
    /// The method, such as `POST`.
    pub method: String,
    /// The route without its version, such as `/checkouts/{code}`.
    pub route: String,
    /// How often.
    pub limit: RateLimit,
}

/// As it is written in `limits.routes`, without the limit.
impl fmt::Display for RouteLimit {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}", self.method, self.route)
    }
}

/// `limits.forwarded_header`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, else `Forwarded`.
    Auto,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl LimitsConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        let headers = [
            ("auto", ForwardedHeader::Auto),
            ("x-forwarded-for", ForwardedHeader::XForwardedFor),
            ("forwarded", ForwardedHeader::Forwarded),
        ];
        let header = read.choice("limits.forwarded_header", &headers);
        Self {
            buyer: limit(read, "limits.buyer"),
            address: limit(read, "limits.address"),
            api_key: limit(read, "limits.api_key"),
            routes: route_limits(read, "limits.routes"),
            local_share: read.number("limits.local_share", 1..=100),
            trusted_proxies: read.networks("limits.trusted_proxies"),
            forwarded_header: header.unwrap_or(ForwardedHeader::Auto),
        }
    }

    /// What an operator may not have meant.
    pub(crate) fn warning(&self, links: &LinksConfig) -> Option<String> {
        let is_behind_proxy = self.trusted_proxies.is_empty() && !links.trusted_proxies.is_empty();
        (self.address.is_some() && is_behind_proxy).then(|| {
            "limits.address counts by the address of the proxy, because limits.trusted_proxies is empty and \
             http.trusted_proxies is not"
                .to_owned()
        })
    }

    /// Whether there is any limit.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let has_any = [self.buyer, self.address, self.api_key].iter().any(Option::is_some);
        has_any || !self.routes.is_empty()
    }
}

fn limit(read: &mut Reader, key: &str) -> Option<RateLimit> {
    let text = Some(read.text(key)).filter(|text| !text.trim().is_empty())?;
    text.parse().map_err(|error| read.fault(key, error)).ok()
}

fn route_limits(read: &mut Reader, key: &str) -> Vec<RouteLimit> {
    let mut limits: Vec<RouteLimit> = Vec::new();
    for entry in read.list(key) {
        match route_limit(&entry) {
            Ok(limit) if limits.iter().any(|known| known.to_string() == limit.to_string()) => {
                read.fault(key, format!("names {limit} twice"));
            }
            Ok(limit) => limits.push(limit),
            Err(InvalidRateLimit) => read.fault(
                key,
                "must be empty, or routes with their limits, separated by commas, like POST /checkout 500/s burst 1000",
            ),
        }
    }
    if limits.len() > MAX_ROUTES {
        read.fault(key, format!("has more than {MAX_ROUTES} routes"));
    }
    limits
}

fn route_limit(entry: &str) -> Result<RouteLimit, InvalidRateLimit> {
    let mut words = entry.splitn(3, char::is_whitespace);
    let (Some(method), Some(route), Some(limit)) = (words.next(), words.next(), words.next())
    else {
        return Err(InvalidRateLimit);
    };
    let is_method = method.bytes().all(|byte| byte.is_ascii_uppercase());
    if !is_method || !route.starts_with('/') {
        return Err(InvalidRateLimit);
    }
    let limit = limit.parse()?;
    Ok(RouteLimit { method: method.to_owned(), route: route.to_owned(), limit })
}
