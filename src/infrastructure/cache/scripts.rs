//! The Lua scripts. Each file says its keys, arguments and reply; `invoke_async` loads a script again that Redis has lost.

use redis::Script;

/// Callers that one call serves at most: a longer one would hold up everybody else, and Lua hands over no more than some
/// thousand arguments at a time.
pub(crate) const KEYS_A_CALL: usize = 1_000;

/// All scripts, hashed once.
pub(crate) struct Scripts {
    pub(crate) lock_acquire: Script,
    pub(crate) lock_release: Script,
    pub(crate) leader_lead: Script,
    pub(crate) checkout_believe: Script,
    pub(crate) standings_remember: Script,
    pub(crate) stock_remember: Script,
    pub(crate) filter_begin: Script,
    pub(crate) filter_publish: Script,
    pub(crate) probe: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
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
