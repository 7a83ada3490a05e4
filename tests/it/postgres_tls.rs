//! TLS to PostgreSQL: whose certificate is trusted, and what a server that asks for certificates gets.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use sqlx::{AssertSqlSafe, PgPool};

use crate::harness::commands::Ran;
use crate::harness::{World, until};

/// A certificate authority, in a folder of its own.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("postgres-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.join("authority.pem"), parameters.self_signed(&key).unwrap().pem())
            .unwrap();
        Self { folder, issuer: Issuer::new(parameters, key) }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// A certificate and its key, for a server with this DNS name.
    fn of_server(&self, host: &str) -> (String, String) {
        self.signed(&CertificateParams::new([host.to_owned()]).unwrap())
    }

    /// The files of a certificate and its key, for this role.
    fn of_client(&self, role: &str) -> (PathBuf, PathBuf) {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, role);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = self.signed(&parameters);
        let files = (self.folder.join("client.pem"), self.folder.join("client.key"));
        std::fs::write(&files.0, certificate).unwrap();
        std::fs::write(&files.1, key).unwrap();
        files
    }

    fn signed(&self, parameters: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The server writes a file of its own, below its data.
async fn write(pool: &PgPool, name: &str, text: &str) {
    assert!(!text.contains(['\\', '\'']), "{text}");
    let copy = format!(
        "COPY (SELECT line FROM unnest(string_to_array('{text}', E'\\n')) AS line)
         TO PROGRAM 'umask 077; cat > {name}'"
    );
    sqlx::raw_sql(AssertSqlSafe(copy)).execute(pool).await.unwrap();
}

/// From now on connections over TCP need TLS, and what `method` asks for.
async fn accepts(world: &World, authority: &Authority, method: &str) {
    let (certificate, key) = authority.of_server("localhost");
    let roots = std::fs::read_to_string(authority.certificate()).unwrap();
    let rules = format!("local all all trust\nhostssl all all 127.0.0.1/32 {method}\n");
    let files = [
        ("tls.pem", &certificate),
        ("tls.key", &key),
        ("roots.pem", &roots),
        ("pg_hba.conf", &rules),
    ];
    for (name, text) in files {
        write(world.pool(), name, text).await;
    }
    for setting in [
        "ssl_cert_file = 'tls.pem'",
        "ssl_key_file = 'tls.key'",
        "ssl_ca_file = 'roots.pem'",
        "ssl = on",
    ] {
        let set = format!("ALTER SYSTEM SET {setting}");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(world.pool()).await.unwrap();
    }
    sqlx::raw_sql("SELECT pg_reload_conf()").execute(world.pool()).await.unwrap();
    until("the server has TLS", async || {
        let shown = sqlx::query_scalar::<_, String>("SHOW ssl").fetch_one(world.pool());
        shown.await.unwrap() == "on"
    })
    .await;
}

/// The URL of the test's database over TCP at this host, with these parameters.
fn url(world: &World, host: &str, parameters: &str) -> String {
    let address = world.postgres_address();
    let url = world.url_through(address);
    let at = format!("@{host}:{}/", address.port());
    url.replace(&format!("@{address}/"), &at).replace("sslmode=disable", parameters)
}

async fn lists_sales(world: &World, url: &str) -> Ran {
    world.program.clone().variable("DATABASE_URL", url).run(&["sale", "list"]).await
}

/// It gives up at once, with one sentence.
#[track_caller]
fn is_refused(ran: &Ran, reason: &str) {
    assert_eq!(ran.code, Some(2), "{ran}");
    let complaint = ran.complaint().join(" ");
    assert!(complaint.contains("trying again would not help"), "{complaint}");
    assert!(complaint.contains(reason), "{complaint}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_by_its_authority_and_its_name() {
    let mut world = World::plan(0).private_postgres().start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    accepts(&world, &authority, "trust").await;
    let trusting = |authority: &Authority, mode: &str| {
        format!("sslmode={mode}&sslrootcert={}", text(&authority.certificate()))
    };
    let right = url(&world, "localhost", &trusting(&authority, "verify-full"));

    let clear = lists_sales(&world, &url(&world, "localhost", "sslmode=disable")).await;
    let stranger =
        lists_sales(&world, &url(&world, "localhost", &trusting(&stranger, "verify-full"))).await;
    let public = lists_sales(&world, &url(&world, "localhost", "sslmode=verify-full")).await;
    let name =
        lists_sales(&world, &url(&world, "127.0.0.1", &trusting(&authority, "verify-full"))).await;
    let by_address =
        lists_sales(&world, &url(&world, "127.0.0.1", &trusting(&authority, "verify-ca"))).await;

    is_refused(&clear, "no encryption");
    is_refused(&stranger, "UnknownIssuer");
    is_refused(&public, "UnknownIssuer");
    is_refused(&name, "not valid for name");
    by_address.succeeded();
    world.program = world.program.clone().variable("DATABASE_URL", &right);
    world.start(1).await;
    let sale = world.create_sale("--items 3").await;
    world.at(0).buys(&sale, "ann", "1").await;
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE ssl AND application_name = 'flash-sale'";
    let encrypted: i64 = sqlx::query_scalar(encrypted).fetch_one(world.pool()).await.unwrap();
    assert!(encrypted > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_known_by_its_certificate() {
    let mut world = World::plan(0).private_postgres().start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let (authority, stranger) = (Authority::new("clients"), Authority::new("others"));
    accepts(&world, &authority, "cert").await;
    let server = format!("sslmode=verify-full&sslrootcert={}", text(&authority.certificate()));
    let known_by = |(certificate, key): &(PathBuf, PathBuf)| {
        let files = format!("&sslcert={}&sslkey={}", text(certificate), text(key));
        url(&world, "localhost", &format!("{server}{files}"))
    };
    let own = authority.of_client("postgres");
    let right = known_by(&own);
    let without = lists_sales(&world, &url(&world, "localhost", &server)).await;
    let forged = lists_sales(&world, &known_by(&stranger.of_client("postgres"))).await;
    let mixed = (own.0.clone(), stranger.folder.join("client.key"));
    let mixed = lists_sales(&world, &known_by(&mixed)).await;

    is_refused(&without, "requires a valid client certificate");
    is_refused(&forged, "UnknownCA");
    is_refused(&mixed, "KeyMismatch");
    world.program = world.program.clone().variable("DATABASE_URL", &right);
    world.start(1).await;
    let sale = world.create_sale("--items 3").await;
    world.at(0).buys(&sale, "ann", "1").await;
    // The same authority, and another role.
    authority.of_client("another_user");
    is_refused(&lists_sales(&world, &right).await, "authentication failed");
}
