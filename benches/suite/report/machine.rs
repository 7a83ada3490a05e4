//! What the figures were measured on.

use std::collections::BTreeMap;
use std::fs;

use crate::Outcome;

/// Cores, processor, memory, kernel, and when the kernel writes back.
pub(super) fn describe() -> Outcome<BTreeMap<String, String>> {
    let mut told = BTreeMap::new();
    let mut tell =
        |name: &str, value: &str| told.insert(format!("machine.{name}"), value.to_owned());
    tell("cores", &std::thread::available_parallelism()?.to_string());
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = field(&processor, "model name").or_else(|| field(&processor, "CPU part"));
    tell("processor", &model.unwrap_or_default());
    let memory = fs::read_to_string("/proc/meminfo")?;
    tell("memory", &field(&memory, "MemTotal").unwrap_or_default());
    tell("kernel", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim());
    // 0: not set. The slowest requests depend on it.
    let write_back = fs::read_to_string("/proc/sys/vm/dirty_background_bytes")?;
    tell("dirty_background_bytes", write_back.trim());
    Ok(told)
}

/// A value of a file with lines like `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
