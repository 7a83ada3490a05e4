//! Links to this service as its clients reach it: at a public address, or below a path that a gateway removes.
//!
//! A response is made far from the request, so the base of links is a value of the task that serves the request.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::config::LinksConfig;
use crate::infrastructure::http::model::headers::FORWARDED_PREFIX;

/// Longest prefix that is accepted from a proxy, in bytes.
const MAX_PREFIX_BYTES: usize = 256;

tokio::task_local! {
    static BASE: Arc<str>;
}

/// The link to a path of this service.
pub(crate) fn link(path: &str) -> String {
    BASE.try_with(|base| format!("{base}{path}")).unwrap_or_else(|_| path.to_owned())
}

/// Serves a request, whose links have this base.
pub(crate) async fn with_base<T>(base: Option<Arc<str>>, serve: impl Future<Output = T>) -> T {
    match base {
        Some(base) => BASE.scope(base, serve).await,
        None => serve.await,
    }
}

/// What clients put before the paths of this service.
#[derive(Debug, Clone)]
pub(crate) struct LinkBase {
    public_url: Option<Arc<str>>,
    trusted_proxies: Arc<[IpNet]>,
}

impl LinkBase {
    pub(crate) fn new(config: &LinksConfig) -> Self {
        Self {
            public_url: config.public_url.as_deref().map(Arc::from),
            trusted_proxies: config.trusted_proxies.clone().into(),
        }
    }

    /// What the client that sent this request puts before the paths; `None` for nothing.
    pub(crate) fn of(&self, peer: IpAddr, headers: &HeaderMap) -> Option<Arc<str>> {
        if let Some(public_url) = &self.public_url {
            return Some(Arc::clone(public_url));
        }
        // An address of IPv4 at a socket of IPv6 is written as one of IPv6.
        let peer = peer.to_canonical();
        if !self.trusted_proxies.iter().any(|trusted| trusted.contains(&peer)) {
            return None;
        }
        let mut values = headers.get_all(FORWARDED_PREFIX).iter();
        let (prefix, None) = (values.next()?.to_str().ok()?, values.next()) else {
            return None;
        };
        let prefix = prefix.trim_end_matches('/');
        is_prefix(prefix).then(|| prefix.into())
    }
}

/// Whether it is the beginning of a path, and nothing that would end a header or a link, or name another host.
fn is_prefix(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    text.len() <= MAX_PREFIX_BYTES
        && text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn base(public_url: Option<&str>) -> LinkBase {
        LinkBase::new(&LinksConfig {
            public_url: public_url.map(str::to_owned),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        })
    }

    fn prefix(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(FORWARDED_PREFIX, HeaderValue::from_str(value).unwrap())])
    }

    async fn linked(base: &LinkBase, peer: IpAddr, headers: &HeaderMap) -> String {
        with_base(base.of(peer, headers), async { link("/v2/sales") }).await
    }

    #[tokio::test]
    async fn a_trusted_proxy_names_the_prefix() {
        for value in ["/shop", "/shop/"] {
            assert_eq!(
                linked(&base(None), PROXY, &prefix(value)).await,
                "/shop/v2/sales",
                "{value}"
            );
        }
        let mapped = IpAddr::V6(std::net::Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped());
        assert_eq!(linked(&base(None), mapped, &prefix("/shop")).await, "/shop/v2/sales");
    }

    #[tokio::test]
    async fn no_other_caller_and_no_other_text_changes_a_link() {
        let other = "192.0.2.1".parse().unwrap();
        assert_eq!(linked(&base(None), other, &prefix("/shop")).await, "/v2/sales");
        for value in
            ["", "/", "shop", "//evil.example", "https://evil.example", "/a b", "/a>", "/%2e"]
        {
            assert_eq!(linked(&base(None), PROXY, &prefix(value)).await, "/v2/sales", "{value}");
        }
        let mut twice = prefix("/shop");
        twice.append(FORWARDED_PREFIX, HeaderValue::from_static("/other"));
        assert_eq!(linked(&base(None), PROXY, &twice).await, "/v2/sales");
    }

    #[tokio::test]
    async fn the_public_address_is_in_every_link() {
        let base = base(Some("https://shop.example/sale"));

        let linked = linked(&base, PROXY, &prefix("/other")).await;

        assert_eq!(linked, "https://shop.example/sale/v2/sales");
    }
}
