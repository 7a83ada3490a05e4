#!/usr/bin/env bash
# sqlx 0.9.0: the feature `derive`, for `#[derive(FromRow)]` alone, compiles sqlx's core with its TLS a second time, for the host.
#
# One would expect a derive macro to need syn and quote. But sqlx's TLS and runtime features are passed on to `sqlx-macros`
# (`tls-rustls-aws-lc-rs = ["sqlx-core/…", "sqlx-macros?/…"]`), whose proc-macro depends on sqlx-core. Cargo compiles the dependencies of
# a proc-macro for the host, apart from those of the program, so rustls and its C library (aws-lc-sys) are built for a macro that
# opens no connection. Without `derive` and `macros`, nothing of it is compiled for the host.
#
# Source: the [features] of sqlx 0.9.0's Cargo.toml, and what `cargo tree` resolves. Needs cargo and its registry; builds nothing.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
echo 'fn main() {}' >src/main.rs

# The crates that a proc-macro of sqlx pulls in, by name.
for_the_macro() { # FEATURES
  cat >Cargo.toml <<TOML
[package]
name = "probe"
version = "0.0.0"
edition = "2021"

[dependencies]
sqlx = { version = "=0.9.0", default-features = false, features = [$1] }
TOML
  rm -f Cargo.lock
  cargo tree --quiet --edges normal --prefix none --package sqlx-macros 2>/dev/null | awk '{ print $1 }' | sort -u
}

cargo --version
base='"postgres", "runtime-tokio", "tls-rustls-aws-lc-rs"'
with=$(for_the_macro "$base, \"derive\"")
without=$(for_the_macro "$base" || true)
echo "with derive, the proc-macro depends on $(wc -l <<<"$with") crates, among them:"
grep -xE 'tokio|rustls|aws-lc-rs|aws-lc-sys|sqlx-core' <<<"$with"
echo "without: $(grep -c . <<<"$without" || true) crates"

grep -qx rustls <<<"$with" && grep -qx aws-lc-sys <<<"$with" && [ -z "$without" ] || {
  echo "this has changed" >&2
  exit 1
}
