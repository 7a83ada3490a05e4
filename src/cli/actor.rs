//! Who runs a command, for the audit.

use nix::unistd::{User, getuid};

/// The name of the system's user who runs this command; the number of one that has no name.
pub(super) fn actor() -> String {
    let uid = getuid();
    // By the process and not by an environment variable, which every user can set.
    match User::from_uid(uid) {
        Ok(Some(user)) if !user.name.is_empty() => user.name,
        _ => format!("user {uid}"),
    }
}
