//! The port for operators.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use reqwest::Method;
use serde_json::Value;

use super::client::{Answer, Client};
use super::instance::announced;
use super::world::{Plan, World};
use crate::dice::Dice;

/// Ports that the system gives to no process by itself, so that no other process of these tests takes one in between.
const FIRST_PORT: u16 = 20_000;
const PORTS: usize = 10_000;

/// An operator at one instance, with an API key.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    client: Client,
    /// `fsk_…`
    pub(crate) key: String,
}

impl World {
    /// A world whose instances have a port for operators.
    pub(crate) async fn with_admin(instances: usize) -> (Self, Vec<Client>) {
        Self::planned_with_admin(Self::plan(0), instances).await
    }

    /// The same by a plan without instances.
    pub(crate) async fn planned_with_admin(plan: Plan, instances: usize) -> (Self, Vec<Client>) {
        let mut world = plan.start().await;
        world.program.run(&["migrate"]).await.succeeded();
        let mut ports = Vec::new();
        for _ in 0..instances {
            ports.push(Client::new(world.start_with_admin().await));
        }
        (world, ports)
    }

    /// Starts one more instance, and returns the address of its port for operators.
    pub(crate) async fn start_with_admin(&mut self) -> SocketAddr {
        let port = free_port().to_string();
        let process = self.program.clone().set("admin.port", &port).start(&["serve"]);
        self.adopt(process).await;
        let instance = self.instances.last().unwrap();
        instance.ready().await;
        announced(&instance.process, "admin").unwrap()
    }

    /// Creates a key with these options, such as `--scopes read,operate`. Returns its id and the key.
    pub(crate) async fn create_key(&self, name: &str, options: &str) -> (String, String) {
        let options: Vec<&str> = options.split(' ').collect();
        let created = self.printed(&[&["key", "create", name], &options[..]].concat()).await;
        let text = |field: &str| created[field].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    /// Operators at these ports, with one key.
    pub(crate) async fn operators(&self, ports: &[Client]) -> Vec<Operator> {
        let (_, key) = self.create_key("eve", "--scopes read,operate").await;
        ports.iter().map(|port| Operator::new(port, &key)).collect()
    }
}

impl Operator {
    /// With this key.
    pub(crate) fn new(port: &Client, key: &str) -> Self {
        Self { client: port.clone(), key: key.to_owned() }
    }

    /// `GET`
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], String::new()).await
    }

    /// Any request with a JSON body, or none if it is null.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, &headers, body).await
    }

    /// A `POST` with an idempotency key.
    pub(crate) async fn keyed(&self, path: &str, key: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(Method::POST, path, &headers, body).await
    }

    /// Any request.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let headers = [&[("x-api-key", self.key.as_str())], headers].concat();
        self.client.send_with(method, path, &headers, body).await
    }

    /// The actions on record, newest first, with who did them and to what.
    pub(crate) async fn audit(&self) -> Vec<[String; 3]> {
        let listed = self.get("/admin/audit?limit=100").await.is(200).json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = listed["data"].as_array().unwrap().iter();
        let entries =
            entries.map(|entry| ["actor", "action", "subject"].map(|name| text(&entry[name])));
        entries.collect()
    }
}

fn free_port() -> u16 {
    let (_, seed) = uuid::Uuid::now_v7().as_u64_pair();
    let mut dice = Dice::new(seed);
    loop {
        let port = FIRST_PORT + u16::try_from(dice.below(PORTS)).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
