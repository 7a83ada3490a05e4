//! Contract suites: what a port's MUSTs ask of whoever implements it, as cases that run over the fake and over the real
//! adapter.
//!
//! A suite is a file of cases and a macro that makes each of them a test of its own, in a fresh world. The fakes run their
//! suites here; an adapter runs its suite beside its code.

mod calendar;
pub(crate) mod checkout_book;
mod clock;
pub(crate) mod code_lock;
mod code_signer;
mod health_check;
mod inspector;
pub(crate) mod item_reader;
pub(crate) mod key_book;
pub(crate) mod key_gate;
pub(crate) mod leadership;
pub(crate) mod ledger;
mod meter;
mod mind;
pub(crate) mod news;
pub(crate) mod pause;
pub(crate) mod purchase_history;
pub(crate) mod refusal_store;
pub(crate) mod sale_book;
mod scene;
pub(crate) mod shared_memory;
mod shop_world;
mod standings;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use mind::{MemoryInstance, MemoryWorld, Mind};
pub(crate) use scene::Scene;
pub(crate) use shop_world::{FakeShopWorld, Instance, ShopWorld, Terms};

/// Looks again and again until it is so; the test fails if it never is.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Makes each case of a suite a test of its own, in a fresh world.
macro_rules! cases {
    ($suite:ident in $world:expr => $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let world = $world;
                crate::testing::contracts::$suite::$case(&world).await;
            }
        )+
    };
}
pub(crate) use cases;
