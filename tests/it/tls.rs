//! TLS: both versions of HTTP over it, certificates that are replaced while the service runs, and invalid files.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Url, Version};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::harness::client::builder;
use crate::harness::{PATIENCE, Program, World, until};

/// The folder of a test's certificate.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn certificate(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    /// Writes a new certificate, and returns it for the clients that are to trust it.
    fn renew(&self) -> reqwest::Certificate {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.key(), signing_key.serialize_pem()).unwrap();
        std::fs::write(self.certificate(), cert.pem()).unwrap();
        reqwest::Certificate::from_pem(cert.pem().as_bytes()).unwrap()
    }

    async fn world(&self) -> World {
        World::plan(1)
            .set("http.tls.certificate", self.certificate().to_str().unwrap())
            .set("http.tls.key", self.key().to_str().unwrap())
            .set("http.tls.reload_interval", "50ms")
            .start()
            .await
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A client that trusts only this certificate and has no connection yet.
fn client(trusted: &reqwest::Certificate) -> reqwest::ClientBuilder {
    builder().tls_certs_only([trusted.clone()])
}

async fn get(
    client: reqwest::ClientBuilder,
    world: &World,
) -> Result<reqwest::Response, reqwest::Error> {
    let url = format!("https://localhost:{}/v2/sales", world.at(0).address.port());
    client.build().unwrap().get(url).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_served_encrypted() {
    let files = Files::new("both");
    let trusted = files.renew();
    let world = files.world().await;

    for (client, version) in
        [(client(&trusted), Version::HTTP_2), (client(&trusted).http1_only(), Version::HTTP_11)]
    {
        let answer = get(client, &world).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    }
    let stranger = Files::new("stranger").renew();
    assert!(get(client(&stranger), &world).await.is_err());

    // A request without TLS gets no response, and its connection is closed.
    let mut clear = TcpStream::connect(world.at(0).address).await.unwrap();
    clear.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await.unwrap();
    let mut received = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, clear.read_to_end(&mut received)).await.unwrap();
    assert!(!received.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&received));
    // The monitoring port does not use TLS.
    world.instances[0].monitor.get("/livez").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_while_the_service_runs_and_an_invalid_one_is_ignored() {
    let files = Files::new("reload");
    let first = files.renew();
    let world = files.world().await;
    get(client(&first), &world).await.unwrap();

    std::fs::write(files.certificate(), "no certificate").unwrap();
    until("the invalid certificate is reported", async || {
        world.instances[0]
            .process
            .stderr
            .lines()
            .iter()
            .any(|line| line.contains("read the certificate"))
    })
    .await;
    get(client(&first), &world).await.unwrap();

    let second = files.renew();
    until("the new certificate is served", async || get(client(&second), &world).await.is_ok())
        .await;
    assert!(get(client(&first), &world).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_files_fail_the_start() {
    let files = Files::new("bad");
    files.renew();
    let (certificate, key) = (files.certificate(), files.key());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let other = Files::new("other");
    other.renew();
    let other_key = other.key();

    let alone = Program::new().set("http.tls.certificate", certificate);
    let ended = alone.run(&["sale", "list"]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("http.tls.key"), "{}", ended.stderr);
    let world = World::of(0).await;
    for (certificate, key) in [
        ("/nowhere.pem", key),
        (certificate, "/nowhere.pem"),
        (key, key),
        (certificate, certificate),
        (certificate, other_key.to_str().unwrap()),
    ] {
        let program = world.program.clone();
        let program = program.set("http.tls.certificate", certificate).set("http.tls.key", key);
        let ended = program.run(&["serve"]).await;
        assert_eq!(ended.code, Some(1), "{certificate} {key}: {}", ended.stderr);
        assert!(ended.stderr.contains("http.tls"), "{}", ended.stderr);
    }
}

/// Decrypts connections with this certificate, for a server that has no TLS. It runs as long as the test.
async fn terminate(files: &Files, server: String) -> u16 {
    let certificate = CertificateDer::from_pem_file(files.certificate()).unwrap();
    let key = PrivateKeyDer::from_pem_file(files.key()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tasks.spawn(async move {
                let Ok(mut decrypted) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut decrypted, &mut plain).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_trusted_by_its_private_authority() {
    let files = Files::new("redis");
    files.renew();
    let mut world = World::plan(0).start().await;
    let plain = Url::parse(world.program.value("REDIS_URL")).unwrap();
    let server = format!("{}:{}", plain.host_str().unwrap(), plain.port().unwrap());
    let port = terminate(&files, server).await;
    let url = format!("rediss://localhost:{port}/0");
    world.program = world
        .program
        .clone()
        .variable("REDIS_URL", &url)
        .set("redis.ssl_root_cert", files.certificate().to_str().unwrap());

    world.start(1).await;

    until("redis is used", async || {
        let health = world.instances[0].monitor.get("/healthz").await.json();
        health["checks"]["redis"]["status"] == "up"
    })
    .await;
    let sale = world.create_sale("--items 9").await;
    world.at(0).buys(&sale, "ann", "1").await;
    let empty = files.0.join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let program = world.program.clone().set("redis.ssl_root_cert", empty.to_str().unwrap());
    let ended = program.run(&["serve"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("contains no certificate"), "{}", ended.stderr);
}
