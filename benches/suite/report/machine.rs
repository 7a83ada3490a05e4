//! The machine on which the figures were measured.

use std::collections::BTreeMap;
use std::fs;

use crate::outcome::Outcome;

/// Describes cores, processor, memory, kernel and its write-back setting.
pub(super) fn describe() -> Outcome<BTreeMap<String, String>> {
    let mut described = BTreeMap::new();
    let mut describe =
        |name: &str, value: &str| described.insert(format!("machine.{name}"), value.to_owned());
    describe("cores", &std::thread::available_parallelism()?.to_string());
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = field(&processor, "model name").or_else(|| field(&processor, "CPU part"));
    describe("processor", &model.unwrap_or_default());
    let memory = fs::read_to_string("/proc/meminfo")?;
    describe("memory", &field(&memory, "MemTotal").unwrap_or_default());
    describe("kernel", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim());
    // 0 is not set. The slowest requests depend on it.
    let write_back = fs::read_to_string("/proc/sys/vm/dirty_background_bytes")?;
    describe("dirty_background_bytes", write_back.trim());
    Ok(described)
}

/// A value in a file with lines like `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
