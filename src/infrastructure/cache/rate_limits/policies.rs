//! The limits, and which of them counts for a bucket.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::digest::{SHA256, digest};

use crate::application::ports::{BUCKET_ID_BYTES, Bucket, LimitedBy};
use crate::config::{LimitsConfig, RouteLimit, Setting};
use crate::domain::rate_limit::RateLimit;

/// The kinds of which every name has the same limit, each at its place.
const SHARED: [LimitedBy; 3] = [LimitedBy::Buyer, LimitedBy::Address, LimitedBy::ApiKey];

/// The limits of each moment. A bucket is of the limits in which it was looked up: after a change it may find none, or another
/// route's, once.
pub(super) struct LivePolicies {
    config: Setting<Arc<LimitsConfig>>,
    made: ArcSwap<MadePolicies>,
}

/// The limits of a configuration.
pub(super) struct MadePolicies {
    of: Arc<LimitsConfig>,
    pub(super) whole: Policies,
    /// The limits while Redis is away.
    pub(super) shares: Policies,
}

impl LivePolicies {
    pub(super) fn new(config: Setting<Arc<LimitsConfig>>) -> Self {
        let made = ArcSwap::from_pointee(MadePolicies::of(config.get()));
        Self { config, made }
    }

    /// The limits of now.
    pub(super) fn get(&self) -> Arc<MadePolicies> {
        let (config, made) = (self.config.get(), self.made.load_full());
        if Arc::ptr_eq(&made.of, &config) {
            return made;
        }
        let made = Arc::new(MadePolicies::of(config));
        self.made.store(Arc::clone(&made));
        made
    }
}

impl MadePolicies {
    fn of(config: Arc<LimitsConfig>) -> Self {
        let whole = Policies::new(&config);
        let shares = whole.share(config.local_share);
        Self { of: config, whole, shares }
    }

    pub(super) fn is_on(&self) -> bool {
        self.of.is_on()
    }
}

/// The limits, each at its place: one for each kind that shares it, then those of routes.
#[derive(Debug, Clone)]
pub(super) struct Policies {
    limits: Vec<Option<RateLimit>>,
    routes: Vec<(RouteLimit, Bucket)>,
}

impl Policies {
    fn new(config: &LimitsConfig) -> Self {
        let mut limits = vec![config.buyer, config.address, config.api_key];
        let mut routes = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            // The configuration has bounded their number.
            let Ok(place) = u8::try_from(limits.len()) else { break };
            let bucket = bucket(LimitedBy::Route, place, &route.to_string());
            routes.push((route.clone(), bucket));
            limits.push(Some(route.limit));
        }
        Self { limits, routes }
    }

    /// This part of each limit, in percent.
    fn share(&self, percent: u32) -> Self {
        let share = |limit: &Option<RateLimit>| limit.map(|limit| limit.share(percent));
        Self { limits: self.limits.iter().map(share).collect(), routes: self.routes.clone() }
    }

    /// The limit that counts for a bucket.
    pub(super) fn of(&self, bucket: &Bucket) -> Option<RateLimit> {
        self.at(bucket.limit)
    }

    /// The limit at a place.
    pub(super) fn at(&self, place: u8) -> Option<RateLimit> {
        self.limits.get(usize::from(place)).copied().flatten()
    }

    pub(super) fn has(&self, by: LimitedBy) -> bool {
        SHARED.contains(&by) && self.limits[by as usize].is_some()
    }

    pub(super) fn bucket(&self, by: LimitedBy, name: &str) -> Option<Bucket> {
        self.has(by).then(|| bucket(by, by as u8, name))
    }

    /// The bucket of a route. HEAD is answered by what answers GET, so it counts as that.
    pub(super) fn bucket_of_route(&self, method: &str, route: &str) -> Option<Bucket> {
        let method = if method == "HEAD" { "GET" } else { method };
        let is_it = |limit: &RouteLimit| limit.method == method && limit.route == route;
        self.routes.iter().find(|(limit, _)| is_it(limit)).map(|(_, bucket)| *bucket)
    }
}

fn bucket(by: LimitedBy, limit: u8, name: &str) -> Bucket {
    let mut id = [0; BUCKET_ID_BYTES];
    id.copy_from_slice(&digest(&SHA256, name.as_bytes()).as_ref()[..BUCKET_ID_BYTES]);
    Bucket { by, limit, id }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::ForwardedHeader;

    /// Limits of these kinds, and of these routes.
    pub(in super::super) fn policies(
        (buyer, address): (Option<&str>, Option<&str>),
        routes: &[(&str, &str, &str)],
    ) -> Policies {
        let parse = |text: &str| text.parse().unwrap();
        let route = |(method, route, limit): &(&str, &str, &str)| RouteLimit {
            method: (*method).to_owned(),
            route: (*route).to_owned(),
            limit: parse(limit),
        };
        Policies::new(&LimitsConfig {
            buyer: buyer.map(parse),
            address: address.map(parse),
            api_key: None,
            routes: routes.iter().map(route).collect(),
            local_share: 50,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::Auto,
        })
    }

    #[test]
    fn each_route_has_its_own_limit_and_bucket() {
        let routes = [("GET", "/sales", "7/s"), ("POST", "/checkout", "9/s")];
        let policies = policies((Some("1/s"), None), &routes);
        let of = |method, route| {
            let bucket = policies.bucket_of_route(method, route)?;
            policies.of(&bucket).map(RateLimit::quota)
        };

        assert_eq!((of("GET", "/sales"), of("POST", "/checkout")), (Some(7), Some(9)));
        assert_eq!((of("GET", "/checkout"), of("GET", "/sales/{sale_id}")), (None, None));
        let buyer = policies.bucket(LimitedBy::Buyer, "ann").unwrap();
        assert_eq!(policies.of(&buyer).map(RateLimit::quota), Some(1));
    }

    #[test]
    fn head_counts_as_get() {
        let policies = policies((None, None), &[("GET", "/sales", "7/s")]);

        let get = policies.bucket_of_route("GET", "/sales");
        assert!(get.is_some());
        assert_eq!(policies.bucket_of_route("HEAD", "/sales"), get);
    }
}
