//! What Redis permits the service's user to do (its ACL), and what it refuses.
//!
//! A refusal is no outage: Redis answers, and what else it permits goes on making the service faster. So a refused call does
//! not count for the circuit. Each missing right is logged once with the rule that grants it, and stays in the health check
//! until it is granted.
//!
//! The script `rights.lua` runs with every probe and asks Redis itself, so that a missing right is known before a buyer needs
//! it, and a granted one as soon as it is. A refused call reports the rest: of a server that cannot be asked, or of a script that
//! may not run.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use redis::{RedisError, Script};

use super::keys::Keys;
use super::link::SharedConnection;
use super::reason::is_refusal;
use super::script::script;

static RIGHTS: LazyLock<Script> = script!("rights");

/// Every command that the service runs in each mode, by itself or in a script, as in an ACL rule.
pub(super) const COMMANDS: [&str; 27] = [
    "bitfield",
    "bitfield_ro",
    "bitop",
    "del",
    "evalsha",
    "get",
    "getbit",
    "hdel",
    "hexists",
    "hget",
    "hincrby",
    "hmget",
    "hset",
    "info",
    "mget",
    "pexpire",
    "pexpireat",
    "ping",
    "psetex",
    "publish",
    "scan",
    "script|load",
    "set",
    "subscribe",
    "time",
    "unwatch",
    "xadd",
];

/// A right that Redis refuses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct MissingRight {
    /// What the service cannot do: a command.
    command: String,
    /// The ACL rule that grants it.
    rule: String,
}

impl fmt::Display for MissingRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs {}", self.command, self.rule)
    }
}

/// What is known about the user's rights.
#[derive(Debug, Default)]
pub(super) struct Rights {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// All missing rights.
    missing: BTreeSet<MissingRight>,
    /// What the last check found.
    found: BTreeSet<MissingRight>,
    /// What calls were refused since the last check.
    refused: BTreeSet<MissingRight>,
    /// What one of them may lack that did not name its command. The check names it exactly, if it can.
    guessed: Option<MissingRight>,
    /// What the log has.
    reported: BTreeSet<MissingRight>,
}

/// Asks Redis which rights the user lacks.
async fn ask(
    connection: &mut SharedConnection,
    keys: &Keys,
    further: &[&str],
) -> Result<BTreeSet<MissingRight>, RedisError> {
    let mut call = RIGHTS.prepare_invoke();
    call.arg(keys.probe()).arg(keys.sold_out_events()).arg(keys.all()).arg(&COMMANDS);
    call.arg(further);
    let missing: Vec<(String, String)> = call.invoke_async(connection).await?;
    Ok(missing.into_iter().map(|(command, rule)| MissingRight { command, rule }).collect())
}

impl Rights {
    /// Asks Redis for the rights that the user lacks, of those that are needed in each mode and `further` ones. Returns their
    /// number.
    pub(super) async fn check(
        &self,
        connection: &mut SharedConnection,
        keys: &Keys,
        further: &[&str],
    ) -> usize {
        match ask(connection, keys, further).await {
            Ok(found) => self.found(found),
            Err(error) if is_refusal(&error) => {
                self.refused(&error, keys);
            }
            // The next probe finds out.
            Err(_) => {}
        }
        self.lock().missing.len()
    }

    /// Remembers a refused call. Returns whether that is news, which a check can explain.
    pub(super) fn refused(&self, error: &RedisError, keys: &Keys) -> bool {
        let mut known = self.lock();
        let sentence = error.detail().unwrap_or_default();
        let Some(right) = named_right(sentence) else {
            known.guessed = Some(guessed_right(sentence, keys));
            return known.missing.is_empty();
        };
        known.refused.insert(right.clone());
        known.report(&right);
        known.missing.insert(right)
    }

    fn found(&self, found: BTreeSet<MissingRight>) {
        let mut known = self.lock();
        let mut refused = std::mem::take(&mut known.refused);
        let guessed = known.guessed.take();
        if found.is_empty() && refused.is_empty() {
            refused.extend(guessed);
        }
        for right in found.union(&refused) {
            known.report(right);
        }
        for right in known.found.difference(&found).cloned().collect::<Vec<_>>() {
            let MissingRight { command, rule } = &right;
            tracing::info!(command, rule, "redis grants a right that it refused");
            known.reported.remove(&right);
        }
        known.missing = found.union(&refused).cloned().collect();
        known.found = found;
    }

    /// What is missing, as one sentence; `None` if nothing is.
    pub(super) fn missing(&self) -> Option<String> {
        let known = self.lock();
        let texts: Vec<_> = known.missing.iter().map(MissingRight::to_string).collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Logs a missing right, once.
    fn report(&mut self, right: &MissingRight) {
        if self.reported.insert(right.clone()) {
            let MissingRight { command, rule } = right;
            tracing::warn!(
                command,
                rule,
                "redis refuses a right that the service needs: grant it with ACL SETUSER"
            );
        }
    }
}

/// The right to run a command, if the server's sentence names it.
fn named_right(sentence: &str) -> Option<MissingRight> {
    let (_, rest) = sentence.split_once("permissions to run the '")?;
    let (command, _) = rest.split_once('\'')?;
    Some(MissingRight { command: command.to_owned(), rule: format!("+{command}") })
}

/// What another sentence refuses: all channels, all keys, or what it does not say.
fn guessed_right(sentence: &str, keys: &Keys) -> MissingRight {
    let (command, rule) = if sentence.contains("channel") {
        ("publish or subscribe", format!("&{}", keys.all()))
    } else if sentence.contains("key") {
        ("a script", format!("~{}", keys.all()))
    } else {
        ("a script", "a rule that its refusal does not name".to_owned())
    };
    MissingRight { command: command.to_owned(), rule }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use redis::{ServerErrorKind, Value};

    use super::*;
    use crate::testing::servers::RedisWorld;

    const OPERATIONS: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md"));
    /// What the service and its libraries send outside of scripts.
    const SENT: [&str; 10] = [
        "evalsha",
        "mget",
        "ping",
        "psetex",
        "publish",
        "scan",
        "script|load",
        "subscribe",
        "unwatch",
        "xadd",
    ];

    /// The commands of all scripts: `redis.call('GET', …`.
    fn of_scripts() -> BTreeSet<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/lua");
        let mut commands = BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let script = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for call in script.split("call('").skip(1) {
                commands.insert(call.split_once('\'').unwrap().0.to_lowercase());
            }
        }
        commands
    }

    /// A user with all rights but one of the commands.
    async fn without(command: &str) -> RedisWorld {
        let all = COMMANDS.map(|command| format!("+{command}"));
        let without = format!("-{command}");
        let mut rules = vec!["~PREFIX*", "&PREFIX*", "-@all"];
        rules.extend(all.iter().map(String::as_str).chain([without.as_str()]));
        RedisWorld::with_rights(&rules).await
    }

    /// The rights that a check finds missing, each as `command needs rule`.
    async fn missing(world: &RedisWorld) -> Option<String> {
        let (redis, _) = world.connect();
        let rights = Rights::default();
        rights.check(&mut redis.manager(), redis.keys(), &[]).await;
        rights.missing()
    }

    #[test]
    fn the_commands_are_those_of_the_scripts_and_those_that_are_sent() {
        let mut expected = of_scripts();
        expected.extend(SENT.map(str::to_owned));

        assert_eq!(expected, BTreeSet::from(COMMANDS.map(str::to_owned)));
    }

    #[test]
    fn the_documented_rules_grant_these_commands_and_no_others() {
        let (_, rest) = OPERATIONS.split_once("ACL SETUSER flash-sale").unwrap();
        let (rules, _) = rest.split_once("```").unwrap();
        let granted = rules.split_whitespace().filter_map(|rule| rule.strip_prefix('+'));

        assert_eq!(granted.collect::<BTreeSet<_>>(), BTreeSet::from(COMMANDS));
    }

    #[tokio::test]
    async fn each_missing_command_is_found() {
        for command in COMMANDS {
            assert_eq!(
                missing(&without(command).await).await,
                Some(format!("{command} needs +{command}"))
            );
        }
    }

    #[tokio::test]
    async fn missing_keys_and_channels_are_found() {
        let no_keys = RedisWorld::with_rights(&["%R~PREFIX*", "&PREFIX*", "+@all"]).await;
        let no_channels = RedisWorld::with_rights(&["~PREFIX*", "+@all", "resetchannels"]).await;
        let all = RedisWorld::with_rights(&["~PREFIX*", "&PREFIX*", "+@all"]).await;

        let keys = format!("evalsha needs ~{}*", no_keys.prefix());
        let channels = format!("needs &{}*", no_channels.prefix());
        assert_eq!(missing(&no_keys).await, Some(keys));
        assert_eq!(
            missing(&no_channels).await,
            Some(format!("publish {channels}, subscribe {channels}"))
        );
        assert_eq!(missing(&all).await, None);
    }

    #[tokio::test]
    async fn a_refusal_is_recognised_however_redis_says_it() {
        let world = without("set").await;
        let (redis, _) = world.connect();
        let script = Script::new("return redis.call('SET', KEYS[1], '')");
        let key = redis.keys().probe();
        let mut manager = redis.manager();
        let load: Result<(), _> = redis::cmd("ACL").arg("LIST").query_async(&mut manager).await;
        let run: Result<(), _> = script.key(key).invoke_async(&mut manager).await;

        assert!(is_refusal(&load.unwrap_err()));
        assert!(is_refusal(&run.unwrap_err()));
        let later = (
            redis::ErrorKind::Server(ServerErrorKind::ResponseError),
            "error",
            "ACL failure in script: User ann has no permissions to run the 'set' command"
                .to_owned(),
        );
        assert!(is_refusal(&later.into()));
        let other: Result<Value, _> = redis::cmd("GET").query_async(&mut manager).await;
        assert!(!is_refusal(&other.unwrap_err()));
    }

    #[tokio::test]
    async fn a_refused_call_leaves_the_circuit_closed_and_is_known_until_it_is_granted() {
        let world = without("publish").await;
        let (redis, _) = world.connect();
        let mut manager = redis.manager();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(redis.keys().sold_out_events()).arg("");

        let refused = redis.call("a test", publish.query_async::<i64>(&mut manager)).await;

        assert!(refused.is_err() && redis.is_up());
        assert_eq!(redis.missing_rights().as_deref(), Some("publish needs +publish"));
    }

    #[test]
    fn a_right_is_missing_until_a_check_no_longer_finds_it() {
        let keys = Keys::new("shop:", std::time::Duration::ZERO);
        let rights = Rights::default();
        let found = |rule: &str| {
            BTreeSet::from([MissingRight { command: "get".to_owned(), rule: rule.to_owned() }])
        };
        let unnamed = (
            redis::ErrorKind::Server(ServerErrorKind::ResponseError),
            "error",
            "The user executing the script can't run this command or subcommand".to_owned(),
        )
            .into();

        rights.found(found("+get"));
        assert_eq!(rights.missing().as_deref(), Some("get needs +get"));
        rights.found(BTreeSet::new());
        assert_eq!(rights.missing(), None);
        // A refusal that the check cannot explain is shown all the same.
        assert!(rights.refused(&unnamed, &keys));
        rights.found(BTreeSet::new());
        assert!(rights.missing().is_some_and(|missing| missing.starts_with("a script")));
        rights.found(BTreeSet::new());
        assert_eq!(rights.missing(), None);
    }
}
