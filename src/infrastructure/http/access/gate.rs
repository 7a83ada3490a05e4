//! Decides over a request before its handler runs: who sends it, and whether it is within its limits.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, Method, Uri};

use super::address::{ClientAddresses, counted_as};
use super::caller::{Caller, Principal};
use super::credentials::{Credential, api_key, bearer};
use super::metrics::AccessMetrics;
use super::named::named;
use super::signature::{Signed, Unsigned, WINDOW_SECONDS};
use crate::application::ports::{
    Clock, InvalidToken, LimitedBy, NonceStore, RateLimiter, ServiceKeys, TokenVerifier,
};
use crate::infrastructure::http::error::{ApiError, Challenge, Scheme};
use crate::infrastructure::http::middleware::auth_metrics::{AuthKind, AuthOutcome};

/// How long a nonce is remembered, in seconds: a request may be signed for the end of the window in the future.
pub(crate) const NONCE_SECONDS: u64 = 2 * WINDOW_SECONDS.unsigned_abs() + 1;

/// What the gate needs. Each part may be off.
pub(crate) struct AccessPorts {
    /// If there are tokens, every request of a buyer needs one, or the key of a service.
    pub(crate) tokens: Option<Arc<dyn TokenVerifier>>,
    /// The keys of services.
    pub(crate) keys: Arc<dyn ServiceKeys>,
    /// If there are nonces, every request of a buyer must be signed.
    pub(crate) nonces: Option<Arc<dyn NonceStore>>,
    /// The limits.
    pub(crate) limiter: Option<Arc<dyn RateLimiter>>,
    /// The time of signatures.
    pub(crate) clock: Arc<dyn Clock>,
}

/// The gate.
#[derive(Clone)]
pub(crate) struct Access {
    shared: Arc<Shared>,
}

struct Shared {
    ports: AccessPorts,
    addresses: ClientAddresses,
    metrics: Arc<AccessMetrics>,
}

/// A request at the gate.
pub(crate) struct Arrival<'r> {
    /// The other end of the connection.
    pub(crate) peer: IpAddr,
    pub(crate) method: &'r Method,
    /// As the client has sent it.
    pub(crate) target: &'r Uri,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) body: &'r [u8],
    /// The route without its version; `None` if there is none.
    pub(crate) route: Option<&'r str>,
    /// Whether it is about a buyer, and so needs a sender who may act for that buyer.
    pub(crate) is_of_buyer: bool,
}

impl Access {
    /// The gate; `None` if nothing is on or can be switched on, and every request may pass.
    pub(crate) fn new(
        ports: AccessPorts,
        addresses: ClientAddresses,
        metrics: AccessMetrics,
    ) -> Option<Self> {
        let is_on = ports.tokens.is_some() || ports.nonces.is_some() || ports.limiter.is_some();
        let metrics = Arc::new(metrics);
        is_on.then(|| Self { shared: Arc::new(Shared { ports, addresses, metrics }) })
    }

    /// Whether anything is on now.
    pub(crate) fn is_on(&self) -> bool {
        let AccessPorts { tokens, nonces, limiter, .. } = &self.shared.ports;
        tokens.is_some() || nonces.is_some() || limiter.as_ref().is_some_and(|it| it.is_on())
    }

    /// Whether bodies are signed.
    pub(crate) fn reads_bodies(&self) -> bool {
        self.shared.ports.nonces.is_some()
    }

    /// Finds out who sends a request. One whose limits are known to be reached is refused; it is not counted yet.
    pub(crate) async fn let_in(&self, arrival: &Arrival<'_>) -> (Caller, Result<(), ApiError>) {
        if let Some(let_in) = self.let_in_at_once(arrival) {
            return let_in;
        }
        let mut caller = self.shared.at_address(arrival);
        let result = self.shared.identify(arrival, &mut caller).await;
        (caller, result)
    }

    /// The same without I/O; `None` if it is not known yet who sends the request.
    pub(crate) fn let_in_at_once(
        &self,
        arrival: &Arrival<'_>,
    ) -> Option<(Caller, Result<(), ApiError>)> {
        let principal = self.shared.known(arrival)?;
        let mut caller = self.shared.at_address(arrival);
        caller.is(principal);
        let result = Shared::fill(arrival, &mut caller);
        Some((caller, result))
    }
}

impl Shared {
    /// The sender of a request, of whom only the address is known.
    fn at_address(&self, arrival: &Arrival<'_>) -> Caller {
        let limiter = self.ports.limiter.as_ref().filter(|limiter| limiter.is_on());
        let mut caller = Caller::new(&self.metrics, limiter);
        if let (_, Some(counting)) = caller.parts()
            && counting.limiter.has(LimitedBy::Address)
        {
            let address = self.addresses.of(arrival.peer, arrival.headers);
            counting.fill(LimitedBy::Address, &counted_as(address));
        }
        caller
    }

    async fn identify(&self, arrival: &Arrival<'_>, caller: &mut Caller) -> Result<(), ApiError> {
        if arrival.is_of_buyer {
            // Before anything that costs more, such as a signature.
            caller.refuse_if_limited()?;
            caller.is(self.principal(arrival).await?);
        }
        Self::fill(arrival, caller)
    }

    /// Adds the buckets that only an identified request fills.
    fn fill(arrival: &Arrival<'_>, caller: &mut Caller) -> Result<(), ApiError> {
        // Not before: requests without credentials could use up what a route may do.
        if let ((_, Some(counting)), Some(route)) = (caller.parts(), arrival.route)
            && let Some(bucket) = counting.limiter.bucket_of_route(arrival.method.as_str(), route)
        {
            counting.buckets.set(bucket);
        }
        Self::fill_by_principal(arrival, caller);
        caller.refuse_if_limited()
    }

    fn fill_by_principal(arrival: &Arrival<'_>, caller: &mut Caller) {
        let (principal, counting) = caller.parts();
        let Some(counting) = counting else { return };
        match principal {
            Principal::Buyer(buyer) => counting.fill(LimitedBy::Buyer, buyer.as_str()),
            Principal::Service(id) => counting.fill(LimitedBy::ApiKey, id),
            Principal::Anyone => {}
        }
        if !matches!(principal, Principal::Buyer(_))
            && counting.limiter.has(LimitedBy::Buyer)
            && let Some(name) = named(arrival.target, arrival.body)
        {
            counting.fill(LimitedBy::Buyer, &name);
        }
    }

    /// Who sends a request that needs not say so, or says so by nothing but a token that was verified before.
    fn known(&self, arrival: &Arrival<'_>) -> Option<Principal> {
        if !arrival.is_of_buyer {
            return Some(Principal::Anyone);
        }
        let AccessPorts { tokens, nonces: None, .. } = &self.ports else { return None };
        let Credential::Missing = api_key(arrival.headers) else { return None };
        let Some(tokens) = tokens else { return Some(Principal::Anyone) };
        let Credential::Present(token) = bearer(arrival.headers) else { return None };
        let buyer = tokens.remembered(token)?;
        self.metrics.credential(AuthKind::Token, AuthOutcome::Accepted);
        Some(Principal::Buyer(buyer))
    }

    async fn principal(&self, arrival: &Arrival<'_>) -> Result<Principal, ApiError> {
        let signer = match &self.ports.nonces {
            Some(nonces) => Some(self.signer(arrival, &**nonces).await?),
            None => None,
        };
        let key = api_key(arrival.headers);
        let Some(tokens) = &self.ports.tokens else {
            let known = match (signer, key) {
                (Some(signer), _) => Some(signer),
                // A request need not say who sends it: a key only matters for its limit.
                (None, Credential::Present(key)) => self.service(key).await.ok(),
                (None, _) => None,
            };
            return Ok(known.map_or(Principal::Anyone, Principal::Service));
        };
        match (key, bearer(arrival.headers), signer) {
            (Credential::Present(key), ..) => self.service(key).await.map(Principal::Service),
            (Credential::Malformed, ..) => Err(self.refuse_key(AuthOutcome::Invalid)),
            (Credential::Missing, Credential::Present(token), _) => {
                self.buyer(&**tokens, token).await
            }
            (Credential::Missing, Credential::Malformed, _) => {
                Err(self.refuse_token(InvalidToken::Invalid))
            }
            (Credential::Missing, Credential::Missing, Some(signer)) => {
                Ok(Principal::Service(signer))
            }
            (Credential::Missing, Credential::Missing, None) => {
                self.metrics.credential(AuthKind::Token, AuthOutcome::Missing);
                Err(Challenge::new(Scheme::Bearer, None).into())
            }
        }
    }

    async fn buyer(&self, tokens: &dyn TokenVerifier, token: &str) -> Result<Principal, ApiError> {
        // One that is signed as well may have been verified before.
        let buyer = match tokens.remembered(token) {
            Some(buyer) => buyer,
            None => tokens.verify(token).await.map_err(|reason| self.refuse_token(reason))?,
        };
        self.metrics.credential(AuthKind::Token, AuthOutcome::Accepted);
        Ok(Principal::Buyer(buyer))
    }

    /// The id of a service's key.
    async fn service(&self, presented: &str) -> Result<String, ApiError> {
        match self.ports.keys.verify(presented).await {
            Ok(Some(key)) if key.may_sell => {
                self.metrics.credential(AuthKind::ApiKey, AuthOutcome::Accepted);
                Ok(key.id)
            }
            Ok(Some(_)) => {
                self.metrics.credential(AuthKind::ApiKey, AuthOutcome::Forbidden);
                Err(ApiError::Forbidden)
            }
            Ok(None) => Err(self.refuse_key(AuthOutcome::Invalid)),
            Err(error) => {
                self.metrics.credential(AuthKind::ApiKey, AuthOutcome::Unavailable);
                Err(error.into())
            }
        }
    }

    /// The id of the key that has signed the request.
    async fn signer(
        &self,
        arrival: &Arrival<'_>,
        nonces: &dyn NonceStore,
    ) -> Result<String, ApiError> {
        let signed = Signed::read(arrival.headers).map_err(|unsigned| match unsigned {
            Unsigned::Missing(header) => self.refuse_signature(AuthOutcome::Missing, header),
            Unsigned::Malformed(header) => self.refuse_signature(AuthOutcome::Invalid, header),
        })?;
        let now = self.ports.clock.database().map(|reading| reading.at.timestamp());
        if now.is_none_or(|now| !signed.is_recent(now)) {
            return Err(self.refuse_signature(AuthOutcome::Expired, "Signature-Timestamp"));
        }
        let keys = &self.ports.keys;
        let unavailable = |error| {
            self.metrics.credential(AuthKind::Signature, AuthOutcome::Unavailable);
            ApiError::from(error)
        };
        let found = keys.signing_key(signed.key).await.map_err(unavailable)?;
        let Some((key, secret)) = found else {
            return Err(self.refuse_signature(AuthOutcome::UnknownKey, "Signature-Key"));
        };
        if !signed.is_genuine(&secret, (arrival.method, arrival.target), arrival.body) {
            return Err(self.refuse_signature(AuthOutcome::Invalid, "Signature"));
        }
        if !key.may_sell {
            self.metrics.credential(AuthKind::Signature, AuthOutcome::Forbidden);
            return Err(ApiError::Forbidden);
        }
        // Last, so that only a genuine request uses its nonce up.
        if !nonces.is_first_use(&key.id, signed.nonce).await.map_err(unavailable)? {
            return Err(self.refuse_signature(AuthOutcome::Replayed, "Signature-Nonce"));
        }
        keys.signed(&key.id).await;
        self.metrics.credential(AuthKind::Signature, AuthOutcome::Accepted);
        Ok(key.id)
    }

    fn refuse_token(&self, reason: InvalidToken) -> ApiError {
        let (outcome, detail) = match reason {
            InvalidToken::Invalid => (AuthOutcome::Invalid, "the token is not valid"),
            InvalidToken::Expired => (AuthOutcome::Expired, "the token has expired"),
            InvalidToken::NotYet => (AuthOutcome::NotYet, "the token is not valid yet"),
            InvalidToken::UnknownKey => {
                (AuthOutcome::UnknownKey, "the token is signed by an unknown key")
            }
            InvalidToken::NoBuyer => {
                (AuthOutcome::NoBuyer, "the token's sub is not the id of a buyer")
            }
        };
        self.metrics.credential(AuthKind::Token, outcome);
        Challenge::new(Scheme::Bearer, Some(detail)).into()
    }

    fn refuse_key(&self, outcome: AuthOutcome) -> ApiError {
        self.metrics.credential(AuthKind::ApiKey, outcome);
        Challenge::new(Scheme::ApiKey, Some("the key is unknown, expired or revoked")).into()
    }

    fn refuse_signature(&self, outcome: AuthOutcome, header: &'static str) -> ApiError {
        self.metrics.credential(AuthKind::Signature, outcome);
        let detail = match (outcome, header) {
            (AuthOutcome::Missing, "Signature-Key") => "Signature-Key is missing",
            (AuthOutcome::Missing, "Signature-Timestamp") => "Signature-Timestamp is missing",
            (AuthOutcome::Missing, "Signature-Nonce") => "Signature-Nonce is missing",
            (AuthOutcome::Missing, _) => "Signature is missing",
            (AuthOutcome::Expired, _) => {
                "Signature-Timestamp is more than five minutes from the service's clock"
            }
            (AuthOutcome::Replayed, _) => "Signature-Nonce was used before",
            (AuthOutcome::UnknownKey, _) => "Signature-Key is unknown, expired or revoked",
            (_, "Signature-Key") => "Signature-Key is malformed",
            (_, "Signature-Timestamp") => "Signature-Timestamp is not a number of seconds",
            (_, "Signature-Nonce") => {
                "Signature-Nonce must have 1 to 128 visible characters, and no point"
            }
            _ => "Signature is not that of this request",
        };
        Challenge::new(Scheme::Signature, Some(detail)).into()
    }
}
