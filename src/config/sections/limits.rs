//! `limits.*`: how often.

use ipnet::IpNet;

use super::http::LinksConfig;
use crate::config::reader::Reader;
use crate::domain::rate_limit::RateLimit;

/// `limits.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct LimitsConfig {
    pub buyer: Option<RateLimit>,
    pub address: Option<RateLimit>,
    pub api_key: Option<RateLimit>,
    pub local_share: u32,
    pub trusted_proxies: Vec<IpNet>,
    pub forwarded_header: ForwardedHeader,
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
        self.buyer.is_some() || self.address.is_some() || self.api_key.is_some()
    }
}

fn limit(read: &mut Reader, key: &str) -> Option<RateLimit> {
    let text = Some(read.text(key)).filter(|text| !text.trim().is_empty())?;
    text.parse().map_err(|error| read.fault(key, error)).ok()
}
