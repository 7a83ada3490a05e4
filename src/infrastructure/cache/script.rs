//! Lua scripts: one file in `lua/`, called by one file here. A script that Redis has lost is loaded again by the call.

/// Maximum number of keys in one script call: a longer call would delay every other client, and Lua passes no more than
/// a few thousand arguments to one command.
pub(crate) const KEYS_A_CALL: usize = 1_000;

/// The script `lua/<name>.lua`, hashed on first use.
macro_rules! script {
    ($name:literal) => {
        std::sync::LazyLock::new(|| {
            redis::Script::new(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/lua/",
                $name,
                ".lua"
            )))
        })
    };
}
pub(crate) use script;
