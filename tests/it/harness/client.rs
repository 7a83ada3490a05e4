//! Sends HTTP requests to one address.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::eventually::PATIENCE;

/// A client of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// The address that it sends to.
    pub(crate) address: SocketAddr,
}

/// A response.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
    headers: HeaderMap,
}

impl Client {
    /// A client of this address.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let http = builder()
            .no_gzip()
            .no_zstd()
            .timeout(PATIENCE)
            // Shorter than the service's limit for an idle connection, so that no request is sent on one that is closing.
            .pool_idle_timeout(Duration::from_secs(3))
            .build()
            .unwrap();
        Self { http, address }
    }

    /// `GET`; fails the test without a response.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[]).await
    }

    /// `POST`; fails the test without a response.
    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send(Method::POST, path, &[]).await
    }

    /// Any request; fails the test without a response.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        self.send_with(method, path, headers, String::new()).await
    }

    /// Any request with a body; fails the test without a response.
    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let url = format!("http://{}{path}", self.address);
        let mut request = self.http.request(method, &url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match request.send().await {
            Ok(response) => Answer::read(response).await.unwrap(),
            Err(error) => panic!("no response to {path}: {error:?}"),
        }
    }

    /// Version 2: a write with a JSON body and an idempotency key.
    pub(crate) async fn write(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.send_with(method, path, &headers, body.to_string()).await
    }

    /// Version 2: adds one piece of each of these items to a buyer's checkout.
    pub(crate) async fn collect(
        &self,
        sale: &str,
        buyer: &str,
        items: &[&str],
        key: &str,
    ) -> Answer {
        let items: Vec<Value> = items.iter().map(|item| json!({ "id": item })).collect();
        let body = json!({ "buyer_id": buyer, "sale_id": sale, "items": items });
        self.write(Method::POST, "/v2/checkouts", key, &body).await
    }

    /// Version 2: purchases a checkout by its code.
    pub(crate) async fn buy(&self, code: &str, key: &str) -> Answer {
        let path = format!("/v2/checkouts/{code}/purchase");
        self.send(Method::POST, &path, &[("idempotency-key", key)]).await
    }

    /// A request that may get no response, or none within the timeout.
    pub(crate) async fn attempt(
        &self,
        method: Method,
        path: &str,
        timeout: Duration,
    ) -> Option<Answer> {
        let url = format!("http://{}{path}", self.address);
        let response = self.http.request(method, &url).timeout(timeout).send().await.ok()?;
        Answer::read(response).await.ok()
    }

    /// The same with headers and a body, and with [`PATIENCE`] as the timeout.
    pub(crate) async fn attempt_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Option<Answer> {
        let url = format!("http://{}{path}", self.address);
        let mut request = self.http.request(method, &url).timeout(PATIENCE).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(request.send().await.ok()?).await.ok()
    }

    /// The status of a `GET`, if there is a response.
    pub(crate) async fn status(&self, path: &str) -> Option<u16> {
        let answer = self.attempt(Method::GET, path, PATIENCE).await?;
        Some(answer.status)
    }

    /// Adds one piece of an item to a buyer's checkout.
    pub(crate) async fn checkout(&self, sale: &str, user: &str, item: &str) -> Answer {
        self.post(&checkout_path(sale, user, item)).await
    }

    /// Adds some pieces of an item to a buyer's checkout.
    pub(crate) async fn checkout_pieces(
        &self,
        sale: &str,
        user: &str,
        item: &str,
        pieces: u32,
    ) -> Answer {
        self.post(&format!("{}&quantity={pieces}", checkout_path(sale, user, item))).await
    }

    /// Purchases a checkout by its code.
    pub(crate) async fn purchase(&self, code: &str) -> Answer {
        self.post(&purchase_path(code)).await
    }

    /// A checkout that must succeed; its code.
    pub(crate) async fn collects(&self, sale: &str, user: &str, item: &str) -> String {
        self.checkout(sale, user, item).await.checkout_code()
    }

    /// A checkout and a purchase that must succeed; the code.
    pub(crate) async fn buys(&self, sale: &str, user: &str, item: &str) -> String {
        let code = self.collects(sale, user, item).await;
        self.purchase(&code).await.is(200);
        code
    }
}

impl Answer {
    async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = String::from_utf8_lossy(&response.bytes().await?).into_owned();
        Ok(Self { status, body, headers })
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.body);
        parsed.unwrap_or_else(|_| {
            panic!("{} with a body that is not JSON: {}", self.status, self.body)
        })
    }

    /// A value of the body, by JSON pointer; null if it is not there.
    #[track_caller]
    pub(crate) fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or(Value::Null)
    }

    /// The status and the body's `code`.
    #[track_caller]
    pub(crate) fn status_and_code(&self) -> (u16, String) {
        (self.status, self.at("/code").as_str().unwrap_or_default().to_owned())
    }

    /// Status and body, which a repeat must return again.
    pub(crate) fn content(&self) -> (u16, &str) {
        (self.status, &self.body)
    }

    /// Fails the test unless the response has this status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// Fails the test unless the response has this status, this code and a message.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status_and_code(), (status, code.to_owned()), "{}", self.body);
        assert!(self.at("/message").as_str().is_some_and(|text| !text.is_empty()), "{}", self.body);
        self
    }

    /// Fails the test unless the response is problem details with this status and code.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Self {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.body);
        assert_eq!(self.status_and_code(), (status, code.to_owned()), "{}", self.body);
        assert_eq!(self.at("/status"), status, "{}", self.body);
        self
    }

    /// The code of a checkout that succeeded.
    #[track_caller]
    pub(crate) fn checkout_code(self) -> String {
        let answer = self.is(200);
        answer.at("/code").as_str().unwrap().to_owned()
    }
}

/// A builder of clients whose TLS is the service's own: the tree has one provider, and `reqwest` brings none.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

/// `POST /checkout` with its parameters.
pub(crate) fn checkout_path(sale: &str, user: &str, item: &str) -> String {
    format!("/checkout?user_id={}&item_id={}&sale_id={sale}", encoded(user), encoded(item))
}

/// `POST /purchase` with its parameter.
pub(crate) fn purchase_path(code: &str) -> String {
    format!("/purchase?code={}", encoded(code))
}

/// Percent-encodes everything that has a meaning in a URL.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut coded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            coded.push(char::from(byte));
        } else {
            write!(coded, "%{byte:02X}").unwrap();
        }
        coded
    })
}
