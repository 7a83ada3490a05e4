//! PostgreSQL and Redis: those that all tests share, and private ones for tests that break them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use uuid::Uuid;

/// Where the servers are.
#[derive(Debug, Clone)]
pub(crate) struct Urls {
    /// A superuser's URL of the PostgreSQL cluster.
    pub(crate) database: String,
    /// Redis.
    pub(crate) redis: String,
}

impl Urls {
    /// The servers that `make test` brought up for all tests.
    pub(crate) fn shared() -> Self {
        Self {
            database: setting("FLASH_SALE_TEST_DATABASE_URL"),
            redis: setting("FLASH_SALE_TEST_REDIS_URL"),
        }
    }
}

/// Servers of one test alone. They are stopped when it is over, however it ends.
#[derive(Debug)]
pub(crate) struct PrivateServers {
    folder: PathBuf,
}

impl PrivateServers {
    /// Brings up a PostgreSQL of this test's own, and returns its URL.
    pub(crate) fn postgres() -> (Self, String) {
        Self::up("up-postgres", "DATABASE_URL")
    }

    /// Brings up a Redis of this test's own, and returns its URL.
    pub(crate) fn redis() -> (Self, String) {
        Self::up("up-redis", "REDIS_URL")
    }

    fn up(verb: &str, prints: &str) -> (Self, String) {
        // Short: a Unix socket's path has at most 107 bytes.
        let name = Uuid::now_v7().simple().to_string();
        let servers = Self { folder: std::env::temp_dir().join(format!("it-{}", &name[16..])) };
        // The exports are a shell's words, so a shell reads them.
        let script = r#"exports=$("$0" "$1" "$2") && eval "$exports" && printf '%s' "${!3}""#;
        let told = Command::new("bash")
            .args(["-c", script, &setting("FLASH_SALE_TEST_SERVICES"), verb])
            .args([servers.folder.as_os_str(), prints.as_ref()])
            .env_remove(prints)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let url = String::from_utf8(told.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success() && !url.is_empty(), "services.sh {verb}: {complaint}");
        (servers, url)
    }

    /// Does what a verb of services.sh says, such as `kill-redis`.
    pub(crate) fn tell(&self, verb: &str) {
        let told = Command::new(setting("FLASH_SALE_TEST_SERVICES"))
            .arg(verb)
            .arg(&self.folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success(), "services.sh {verb}: {complaint}");
    }
}

impl Drop for PrivateServers {
    fn drop(&mut self) {
        // Nothing here may panic: it may run while a failed test unwinds.
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

fn setting(name: &str) -> String {
    match std::env::var_os(name).map(std::ffi::OsString::into_string) {
        Some(Ok(value)) => value,
        _ => panic!("{name} is missing: run `make test`"),
    }
}
