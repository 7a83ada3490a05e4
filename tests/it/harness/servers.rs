//! PostgreSQL and Redis: shared by all tests, and private for tests that break them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use uuid::Uuid;

/// The URLs of the servers.
#[derive(Debug, Clone)]
pub(crate) struct Urls {
    /// A superuser's URL of the PostgreSQL cluster.
    pub(crate) database: String,
    /// Redis.
    pub(crate) redis: String,
}

impl Urls {
    /// The servers that `make test` started for all tests.
    pub(crate) fn shared() -> Self {
        Self {
            database: setting("FLASH_SALE_TEST_DATABASE_URL"),
            redis: setting("FLASH_SALE_TEST_REDIS_URL"),
        }
    }
}

/// Servers of one test. They are stopped when dropped.
#[derive(Debug)]
pub(crate) struct PrivateServers {
    folder: PathBuf,
}

impl PrivateServers {
    /// Starts a PostgreSQL and returns its URL.
    pub(crate) fn postgres() -> (Self, String) {
        Self::up("up-postgres", "DATABASE_URL", None)
    }

    /// Starts a Redis and returns its URL.
    pub(crate) fn redis() -> (Self, String) {
        Self::up("up-redis", "REDIS_URL", None)
    }

    /// Starts a streaming standby of this PostgreSQL, and returns its URL.
    pub(crate) fn standby(&self) -> (Self, String) {
        Self::up("up-standby", "DATABASE_URL", Some(&self.folder))
    }

    /// Starts a pooler in session mode before this PostgreSQL, and returns its URL. `None` if none is installed.
    pub(crate) fn pooler(&self) -> Option<(Self, String)> {
        is_pooler_installed().then(|| Self::up("up-pooler", "DATABASE_URL", Some(&self.folder)))
    }

    /// The same, which refuses start-up options that it does not know.
    pub(crate) fn strict_pooler(&self) -> Option<(Self, String)> {
        let up = || Self::up("up-strict-pooler", "DATABASE_URL", Some(&self.folder));
        is_pooler_installed().then(up)
    }

    /// The same in transaction mode.
    pub(crate) fn transaction_pooler(&self) -> Option<(Self, String)> {
        let up = || Self::up("up-transaction-pooler", "DATABASE_URL", Some(&self.folder));
        is_pooler_installed().then(up)
    }

    /// Starts a NATS server with JetStream, and returns its URL. `None` if none is installed.
    pub(crate) fn nats() -> Option<(Self, String)> {
        is_nats_installed().then(|| Self::up("up-nats", "NATS_URL", None))
    }

    fn up(verb: &str, prints: &str, of: Option<&Path>) -> (Self, String) {
        // Short, because the path of a Unix socket has at most 107 bytes.
        let name = Uuid::now_v7().simple().to_string();
        let servers = Self { folder: std::env::temp_dir().join(format!("it-{}", &name[16..])) };
        // A shell evaluates the exports, because they are quoted for a shell.
        let script =
            r#"exports=$("$0" "$1" "$2" ${4:+"$4"}) && eval "$exports" && printf '%s' "${!3}""#;
        let ran = Command::new("bash")
            .args(["-c", script, &setting("FLASH_SALE_TEST_SERVICES"), verb])
            .args([servers.folder.as_os_str(), prints.as_ref()])
            .args(of)
            .env_remove(prints)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let url = String::from_utf8(ran.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && !url.is_empty(), "services.sh {verb}: {complaint}");
        (servers, url)
    }

    /// Runs a verb of services.sh, such as `kill-redis`.
    pub(crate) fn run(&self, verb: &str) {
        self.run_with(verb, None);
    }

    /// Stops this PostgreSQL in order, and starts it as a standby of another one.
    pub(crate) fn follow(&self, primary: &Self) {
        self.run_with("follow-postgres", Some(&primary.folder));
    }

    fn run_with(&self, verb: &str, other: Option<&Path>) {
        let ran = Command::new(setting("FLASH_SALE_TEST_SERVICES"))
            .arg(verb)
            .arg(&self.folder)
            .args(other)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "services.sh {verb}: {complaint}");
    }
}

impl Drop for PrivateServers {
    fn drop(&mut self) {
        // Nothing here may panic, because it may run while a failed test unwinds.
        if let Ok(services) = std::env::var_os("FLASH_SALE_TEST_SERVICES").ok_or(()) {
            let _ = Command::new(services)
                .arg("down")
                .arg(&self.folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether a pooler can be started.
pub(crate) fn is_pooler_installed() -> bool {
    is_installed("pgbouncer")
}

/// Whether a NATS server can be started.
pub(crate) fn is_nats_installed() -> bool {
    is_installed("nats-server")
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.any(|folder| folder.join(program).exists())
}

fn setting(name: &str) -> String {
    match std::env::var_os(name).map(std::ffi::OsString::into_string) {
        Some(Ok(value)) => value,
        _ => panic!("{name} is missing: run `make test`"),
    }
}
