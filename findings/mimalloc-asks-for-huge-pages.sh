#!/usr/bin/env bash
# mimalloc 0.1.52 for Rust (mimalloc 3): where the kernel gives huge pages only to programs that ask for them (`madvise`, as many servers
# have it), the allocator asks for its whole gibibyte in the program's name. A buffer of 8 KiB of which 64 bytes are used takes 8 KiB of
# memory then, and 4 KiB with the feature `no_thp`: what thousands of idle connections take doubles, and nothing in the program asks.
#
# One would expect that `madvise` leaves a program alone that calls no madvise, and mimalloc's option is called "allow", which reads
# as if it allowed what the system does by itself. With huge pages the first byte makes two mebibytes resident, and of what
# is allocated and not written nothing stays untouched.
#
# Source: unix_mmap in src/prim/unix/prim.c and `allow_thp` in src/options.c of mimalloc 3, in libmimalloc-sys 0.1.49. Needs cargo with
# its registry and a C compiler, and Linux whose /sys/kernel/mm/transparent_hugepage/enabled is `madvise`.
set -euo pipefail

setting=/sys/kernel/mm/transparent_hugepage/enabled
if ! grep -q '\[madvise\]' "$setting"; then
  echo "this kernel has $(cat "$setting"): set it to madvise to see the difference"
  exit 1
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >Cargo.toml <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"

[features]
without = ["mimalloc/no_thp"]

[dependencies]
mimalloc = "=0.1.52"
TOML
mkdir src
cat >src/main.rs <<'RUST'
use std::fs::read_to_string;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BUFFERS: u64 = 20_000;

/// A line of the kernel's summary of this process's memory, in KiB.
fn kibibytes(name: &str) -> u64 {
    let summary = read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = summary.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn main() {
    let before = kibibytes("Rss");
    let buffers: Vec<Vec<u8>> = (0..BUFFERS)
        .map(|_| {
            let mut buffer = Vec::with_capacity(8_192);
            buffer.extend_from_slice(&[7; 64]);
            buffer
        })
        .collect();
    let each = (kibibytes("Rss") - before) as f64 / BUFFERS as f64;
    let huge = kibibytes("AnonHugePages") / 1_024;
    println!("{each:.1} {huge}");
    drop(buffers);
}
RUST
echo "mimalloc 0.1.52, huge pages: $(cat "$setting")"
read -r asked asked_huge < <(cargo run --quiet --release)
echo "as it is: $asked KiB of memory for a buffer of 8 KiB with 64 bytes in it, $asked_huge MiB in huge pages"
read -r not_asked not_asked_huge < <(cargo run --quiet --release --features without)
echo "no_thp:   $not_asked KiB, $not_asked_huge MiB in huge pages"
awk -v a="$asked" -v b="$not_asked" -v h="$asked_huge" -v n="$not_asked_huge" \
  'BEGIN { exit !(a > 7.5 && b < 5 && h > 100 && n == 0) }' || { echo "this has changed"; exit 1; }
