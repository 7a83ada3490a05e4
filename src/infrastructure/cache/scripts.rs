//! The Lua scripts. Each file says its keys, arguments and reply; `invoke_async` loads a script again that Redis has lost.

use redis::Script;

/// Callers that one call serves at most: a longer one would hold up everybody else, and Lua hands over no more than some
/// thousand arguments at a time.
pub(super) const KEYS_A_CALL: usize = 1_000;

/// All scripts, hashed once.
pub(super) struct Scripts {
    pub(super) lock_acquire: Script,
    pub(super) lock_release: Script,
    pub(super) leader_lead: Script,
    pub(super) checkout_believe: Script,
    pub(super) standings_remember: Script,
    pub(super) stock_remember: Script,
    pub(super) filter_begin: Script,
    pub(super) filter_publish: Script,
    pub(super) probe: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            lock_acquire: Script::new(include_str!("../../../lua/lock_acquire.lua")),
            lock_release: Script::new(include_str!("../../../lua/lock_release.lua")),
            leader_lead: Script::new(include_str!("../../../lua/leader_lead.lua")),
            checkout_believe: Script::new(include_str!("../../../lua/checkout_believe.lua")),
            standings_remember: Script::new(include_str!("../../../lua/standings_remember.lua")),
            stock_remember: Script::new(include_str!("../../../lua/stock_remember.lua")),
            filter_begin: Script::new(include_str!("../../../lua/filter_begin.lua")),
            filter_publish: Script::new(include_str!("../../../lua/filter_publish.lua")),
            probe: Script::new(include_str!("../../../lua/probe.lua")),
        }
    }
}
