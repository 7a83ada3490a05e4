//! Changes of the configuration while the service runs: after SIGHUP, and when a file of a watched folder changes.
//!
//! All layers are loaded again, with the files that variables `…_FILE` name. A configuration that would not start the service changes
//! nothing. Of one that would, the live keys are put in force, and the others are named.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::components::Components;
use super::context::BuildContext;
use super::signals::Hangup;
use crate::application::open_sales::OpenSales;
use crate::config::{Config, InForce, InvalidConfig, LIVE_KEYS};
use crate::infrastructure::http::{UnknownRoute, check_limits};
use crate::infrastructure::monitoring::{LogLevel, ReloadOutcome, ReloadStatus};
use crate::infrastructure::schedule::CronCalendar;
use crate::infrastructure::signing::{HmacCursorSigner, HmacSigner};

/// Files have to be unchanged for this long before they are read: their writer may be in the middle of it.
const QUIET: Duration = Duration::from_millis(300);
/// How often files are looked at without a notification: a folder that was made anew is not watched any more, and network file systems
/// notify of nothing.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A file that keeps changing is read after this many looks all the same.
const MAX_LOOKS: u32 = 10;

/// Puts changed configurations in force.
pub(crate) struct Reloader {
    in_force: InForce,
    /// As the service was started: what other keys than live ones still are.
    started: Arc<Config>,
    targets: ReloadTargets,
    status: Arc<ReloadStatus>,
}

/// What holds more of the configuration than a value to read.
pub(crate) struct ReloadTargets {
    pub(crate) level: LogLevel,
    pub(crate) codes: Arc<HmacSigner>,
    pub(crate) cursors: Arc<HmacCursorSigner>,
    pub(crate) calendar: Arc<CronCalendar>,
    /// `None` in a process that opens no sales.
    pub(crate) open_sales: Option<Arc<OpenSales>>,
}

/// Why a configuration is not put in force.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Invalid(#[from] InvalidConfig),
    #[error(transparent)]
    Keys(#[from] crate::infrastructure::signing::TagClash),
    #[error(transparent)]
    Route(#[from] UnknownRoute),
    #[error(transparent)]
    Log(#[from] crate::infrastructure::monitoring::InvalidLog),
}

/// Starts to listen to SIGHUP, and to watch the folder if there is one.
pub(crate) fn start(
    context: &BuildContext<'_>,
    components: &Components,
    (level, open_sales): (LogLevel, Option<Arc<OpenSales>>),
    hangup: Hangup,
) {
    let targets = ReloadTargets {
        level,
        codes: Arc::clone(&components.cell.code_signer),
        cursors: Arc::clone(&components.shared.cursors),
        calendar: Arc::clone(&components.shared.calendar),
        open_sales,
    };
    let (in_force, status) = (context.in_force.clone(), Arc::clone(&components.reloads));
    let reloader = Reloader { started: in_force.get(), in_force, targets, status };
    context.tasks.background.run(reloader.run(hangup));
}

impl Reloader {
    async fn run(self, mut hangup: Hangup) {
        let changed = Arc::new(Notify::new());
        let is_watching = self.started.watch && self.started.folder().is_some();
        // Dropping it ends the notifications.
        let _watcher = is_watching.then(|| watch(&self.started, &changed));
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Whatever has changed since the start of the process is found by the first look.
        let mut seen = None;
        loop {
            let is_asked = tokio::select! {
                () = hangup.next() => true,
                () = changed.notified() => false,
                _ = looks.tick(), if is_watching => false,
            };
            if !is_asked && seen == Some(digest(&self.in_force.get())) {
                continue;
            }
            seen = Some(settled(&self.in_force.get()).await);
            self.reload(is_asked);
        }
    }

    /// Loads the configuration, and puts it in force if it is valid.
    fn reload(&self, is_asked: bool) {
        let current = self.in_force.get();
        match self.put_in_force(&current) {
            Ok(changed) if changed.is_empty() && !is_asked => self.status.forget_refusal(),
            Ok(changed) if changed.is_empty() => {
                tracing::info!("configuration read again: nothing has changed");
                self.status.record(ReloadOutcome::Unchanged, None);
            }
            Ok(changed) => self.report(&changed),
            Err(refused) => {
                tracing::error!(error = %refused, "the configuration is not changed: the new one is not valid");
                self.status.record(ReloadOutcome::Refused, Some(refused.to_string()));
            }
        }
    }

    /// Returns the keys that have changed. Everything that can fail comes first.
    fn put_in_force(&self, current: &Config) -> Result<Vec<String>, Refused> {
        let new = current.reload()?;
        let changed = new.changed_since(current);
        if changed.is_empty() {
            return Ok(changed);
        }
        let has_changed = |key: &str| changed.iter().any(|one| one == key);
        let keys = HmacSigner::prepare(&new.code_keys)?;
        check_limits(&new.limits)?;
        if has_changed("log.level") {
            self.targets.level.set(&new.log.level)?;
        }
        self.targets.codes.replace(keys);
        self.targets.cursors.replace(&new.code_keys);
        self.targets.calendar.replace(&new.schedule);
        self.in_force.replace(Arc::new(new));
        if let Some(open_sales) = &self.targets.open_sales
            && changed.iter().any(|key| key.starts_with("schedule."))
        {
            open_sales.forget();
        }
        Ok(changed)
    }

    /// Says what is in force now, and what is not.
    fn report(&self, changed: &[String]) {
        let is_live = |key: &&String| LIVE_KEYS.contains(&key.as_str());
        let live: Vec<&str> = changed.iter().filter(is_live).map(String::as_str).collect();
        if !live.is_empty() {
            tracing::info!(keys = live.join(", "), "configuration changed");
        }
        let waiting = self.in_force.get().changed_since(&self.started);
        let waiting: Vec<&str> =
            waiting.iter().filter(|key| !is_live(key)).map(String::as_str).collect();
        if !waiting.is_empty() {
            tracing::warn!(
                keys = waiting.join(", "),
                "these changed keys take effect only after a restart"
            );
        }
        self.status.needs_restart(waiting.join(", "));
        self.status.record(ReloadOutcome::Applied, None);
    }
}

/// Notifies of changes in the folders of the configuration's files. Without notifications the files are looked at in intervals.
fn watch(config: &Config, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let notify = Arc::clone(changed);
    let on_event = move |event: notify::Result<notify::Event>| {
        // Reading a file is an event, too.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            notify.notify_one();
        }
    };
    let watching = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        for folder in folders(config) {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watching
        .inspect_err(|error| {
            tracing::warn!(%error, "no notifications of changed files: they are looked at every few seconds");
        })
        .ok()
}

/// The folders of all files that the configuration came from. A file's own name may be a link that is replaced.
fn folders(config: &Config) -> Vec<PathBuf> {
    let files = config.files().iter().filter_map(|file| file.parent()).map(Path::to_path_buf);
    let mut folders: Vec<PathBuf> = config.folder().map(Path::to_path_buf).into_iter().collect();
    folders.extend(files);
    folders.sort();
    folders.dedup();
    folders
}

/// The content of all files once it stays the same for a while.
async fn settled(config: &Config) -> [u8; 32] {
    let mut before = digest(config);
    for _ in 0..MAX_LOOKS {
        tokio::time::sleep(QUIET).await;
        let now = digest(config);
        if now == before {
            break;
        }
        before = now;
    }
    before
}

fn digest(config: &Config) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in config.files() {
        match std::fs::read(file) {
            Ok(content) => {
                hash.update([1]);
                hash.update(Sha256::digest(&content));
            }
            Err(_) => hash.update([0]),
        }
    }
    hash.finalize().into()
}
