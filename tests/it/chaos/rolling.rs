//! A rolling restart under load: instances behind a load balancer are replaced one after the other.

use nix::sys::signal::Signal;
use reqwest::Method;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::arena::Arena;
use crate::harness::client::{Client, checkout_path, purchase_path};
use crate::harness::process::Process;
use crate::harness::world::PATIENT;
use crate::harness::{PATIENCE, until};

/// Concurrent buyers.
const BUYERS: usize = 16;
/// Requests before, between and after the restarts.
const REQUESTS: usize = 200;
/// Paths of the load balancer in distributions.
const HAPROXY: [&str; 3] = ["/usr/sbin/haproxy", "/usr/bin/haproxy", "/opt/homebrew/bin/haproxy"];

/// As docs/balancers.md describes: readiness decides where requests go, and no request is sent twice.
fn configuration(arena: &Arena, socket: &str) -> String {
    let servers = arena.stations.iter().enumerate().map(|(number, station)| {
        let instance = &station.instance;
        let (http, monitoring) = (instance.client.address, instance.monitor.address.port());
        format!("  server instance{number} {http} check port {monitoring}\n")
    });
    let servers = servers.collect::<Vec<_>>().concat();
    format!(
        "defaults\n  mode http\n  timeout connect 1m\n  timeout client 5m\n  timeout server 5m\n  timeout check 1m\n  \
         retries 0\n\
         frontend shop\n  bind {socket}\n  default_backend instances\n\
         backend instances\n  option httpchk GET /readyz\n  http-check expect status 200\n  \
         default-server inter 100ms fall 1 rise 1\n{servers}"
    )
}

/// Buyers who record failed requests.
struct Buyers {
    answered: Arc<AtomicUsize>,
    failed: Arc<std::sync::Mutex<Vec<String>>>,
    closing: CancellationToken,
    tasks: JoinSet<()>,
}

impl Buyers {
    fn at(balancer: &Client, sale: &str) -> Self {
        let (answered, failed) = (Arc::default(), Arc::default());
        let mut buyers =
            Self { answered, failed, closing: CancellationToken::new(), tasks: JoinSet::new() };
        for place in 0..BUYERS {
            let (balancer, sale, closing) =
                (balancer.clone(), sale.to_owned(), buyers.closing.clone());
            let (answered, failed) = (Arc::clone(&buyers.answered), Arc::clone(&buyers.failed));
            buyers.tasks.spawn(async move {
                for visit in 0.. {
                    let user = format!("buyer-{place}-{visit}");
                    let mut paths =
                        vec![checkout_path(&sale, &user, &(visit % 50 + 1).to_string())];
                    while let Some(path) = paths.pop() {
                        let answer = balancer.attempt(Method::POST, &path, PATIENCE).await;
                        answered.fetch_add(1, Ordering::Relaxed);
                        match answer {
                            Some(answer) if answer.status == 200 => {
                                let is_checkout = path.starts_with("/checkout");
                                paths.extend(
                                    is_checkout.then(|| purchase_path(&answer.checkout_code())),
                                );
                            }
                            other => failed.lock().unwrap().push(format!("{path}: {other:?}")),
                        }
                    }
                    if closing.is_cancelled() {
                        return;
                    }
                }
            });
        }
        buyers
    }

    /// Waits until [`REQUESTS`] more requests were answered.
    async fn go_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        until("the buyers go on", async || {
            self.answered.load(Ordering::Relaxed) >= before + REQUESTS
        })
        .await;
    }

    async fn disperse(self) -> Vec<String> {
        self.closing.cancel();
        self.tasks.join_all().await;
        std::mem::take(&mut *self.failed.lock().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_a_load_balancer_fails_no_request() {
    let Some(haproxy) = HAPROXY.into_iter().map(PathBuf::from).find(|path| path.exists()) else {
        eprintln!("chaos: haproxy is not installed, so there is no rolling restart behind it");
        return;
    };
    // The load balancer must notice within the grace period.
    let mut arena = Arena::with(&[&PATIENT[..], &[("shutdown.grace", "3s")]].concat()).await;
    let sale = arena.create_sale(&["--items", "50", "--stock", "1000000"]).await;
    let folder = std::env::temp_dir().join(format!("rolling-{}", Uuid::now_v7().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("haproxy.cfg");
    let address = super::arena::free_address();
    std::fs::write(&file, configuration(&arena, &address.to_string())).unwrap();
    let process = Process::start(Command::new(haproxy).arg("-db").arg("-f").arg(&file));
    let balancer = Client::new(address);
    until("the load balancer serves", async || {
        let sales = balancer.attempt(Method::GET, &format!("/sales/{sale}"), PATIENCE).await;
        sales.is_some_and(|answer| answer.status == 200)
    })
    .await;

    let buyers = Buyers::at(&balancer, &sale);
    buyers.go_on().await;
    for station in &mut arena.stations {
        station.end(Signal::SIGTERM).await;
        buyers.go_on().await;
        station.start_again(&[]).await;
        let served = station.instance.monitor.clone();
        until("the load balancer sends requests to it", async || {
            let metrics = served.get("/metrics").await.is(200).body;
            metrics
                .lines()
                .any(|line| line.starts_with("flash_sale_purchases_total") && !line.ends_with(" 0"))
        })
        .await;
    }
    buyers.go_on().await;

    let failed = buyers.disperse().await;
    drop(process);
    let _ = std::fs::remove_dir_all(&folder);
    assert!(
        failed.is_empty(),
        "{} requests failed: {:#?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    assert!(!arena.run(&["verify"]).await.is_empty());
}
