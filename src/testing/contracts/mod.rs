//! Contract suites: the MUSTs of each port as test cases, which run over the fake and over the real adapter.
//!
//! A suite is a file of cases and a macro that makes each case a test, in a fresh world. The fakes run their suites here; an
//! adapter runs its suite beside its code.
//!
//! - [`shop_world`]: databases with instances to sell in; [`scene`]: a sale in one.
//! - [`hint_cache_fixture`]: a sale in a hint cache. [`eventually`](mod@eventually): how a case waits.

mod business_metrics;
mod buyer_totals;
mod calendar;
pub(crate) mod checkout_store;
mod clock;
pub(crate) mod code_lock;
mod code_signer;
mod eventually;
mod health_check;
pub(crate) mod hint_cache;
mod hint_cache_fixture;
pub(crate) mod idempotency_lock;
pub(crate) mod idempotency_store;
mod inspector;
pub(crate) mod item_reader;
pub(crate) mod leadership;
pub(crate) mod ledger;
pub(crate) mod pause;
pub(crate) mod purchase_history;
pub(crate) mod refusal_store;
pub(crate) mod sale_store;
mod scene;
mod shop_world;
pub(crate) mod sold_out_events;
pub(crate) mod webhook_store;

pub(crate) use eventually::eventually;
pub(crate) use hint_cache_fixture::{HintCacheFixture, HintCacheInstance, HintCacheWorld};
pub(crate) use scene::Scene;
pub(crate) use shop_world::{FakeShopWorld, Instance, ShopWorld, Terms};

/// Makes each case of a suite a test, in a fresh world.
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
