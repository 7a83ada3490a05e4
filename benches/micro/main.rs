//! Parts of the service alone, without I/O: `cargo bench --features bench --bench micro`, with a part's name after `--` for that
//! part only.
//!
//! [`shop`] is a sale cache and a checkout, with the ports that they need.

#![expect(clippy::unwrap_used, reason = "values made here are well-formed")]

mod shop;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use flash_sale::application::catalogue::Item;
use flash_sale::application::checkout::{
    CheckoutAnswer, CheckoutCommand, CheckoutRefusal, LineChange, RequestedLine,
};
use flash_sale::application::ports::RefusalReason;
use flash_sale::application::refusal_facts::RefusalFacts;
use flash_sale::bench::{checkout_response, purchase_response, signer};
use flash_sale::config::CodeKey;
use flash_sale::domain::checkout::Line;
use flash_sale::domain::code::CodeClaim;
use flash_sale::domain::ids::{AttemptId, BuyerId, ItemId, ItemNo, Quantity, SaleId};
use flash_sale::domain::purchase::{LineOutcome, Outcome, SettledLine};
use flash_sale::domain::settlement::{Allowance, Allowances, RemainingStock, Request, settle};

use shop::Shop;

/// The service's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Items of a usual sale.
const ITEMS: i32 = 10_000;
/// Distance of an item from the previous one: a prime, so that every item gets its turn and none is in the processor's cache.
const STRIDE: i32 = 7_919;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    settling(&mut criterion);
    codes(&mut criterion);
    for items in [ITEMS, 1_000_000] {
        sale_cache(&mut criterion, items);
    }
    responses(&mut criterion);
    criterion.final_summary();
}

/// Batches of buyers with two items each.
fn settling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("settle");
    for size in [1, 16, 256] {
        let requests: Vec<Request> = (1..=size)
            .map(|number| Request {
                attempt: AttemptId::new(number.into()).unwrap(),
                buyer: buyer(number),
                lines: vec![line(number * 2), line(number * 2 + 1)],
                terms: None,
            })
            .collect();
        let wanted = requests.iter().flat_map(|request| &request.lines);
        let remaining: RemainingStock = wanted.map(|line| (line.item, 1)).collect();
        let allowance = Allowance { bought: 0, limit: 10 };
        let buyers = requests.iter().map(|request| (request.buyer.clone(), allowance));
        let allowances: Allowances = buyers.collect::<HashMap<_, _>>();
        group.throughput(Throughput::Elements(requests.len().try_into().unwrap()));
        group.bench_function(size.to_string(), |bencher| {
            let read = || (remaining.clone(), allowances.clone());
            bencher.iter_batched(
                read,
                |(remaining, allowances)| settle(remaining, allowances, &requests),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn codes(criterion: &mut Criterion) {
    let secret = "YSBrZXkgZm9yIG5vdGhpbmcgYnV0IGJlbmNobWFya3M=".into();
    let signer = signer(CodeKey { id: "bench".to_owned(), secret }).unwrap();
    let (sale, attempt) = (SaleId::new(77).unwrap(), AttemptId::new(1_234_567).unwrap());
    let code = signer.sign(sale, attempt);
    let text = code.to_string();
    let mut group = criterion.benchmark_group("code");
    group.bench_function("parse", |bencher| {
        bencher.iter(|| CodeClaim::parse(black_box(&text)));
    });
    group.bench_function("verify", |bencher| {
        bencher.iter(|| signer.is_genuine(black_box(&code)));
    });
    group.bench_function("sign and format", |bencher| {
        bencher.iter(|| signer.sign(black_box(sale), black_box(attempt)).to_string());
    });
    group.finish();
}

/// A sale in which every second item is sold out.
fn sale_cache(criterion: &mut Criterion, items: i32) {
    let shop = Shop::open(items);
    let mut group = criterion.benchmark_group(format!("sale cache of {items}"));
    let mut turn = 0;
    let mut next = || {
        turn = (turn + STRIDE) % items;
        turn + 1
    };
    group.bench_function("is sold out", |bencher| {
        bencher.iter(|| shop.known.is_sold_out(black_box(ItemNo(next()))));
    });
    let catalogue = shop.known.loaded_catalogue().unwrap();
    group.bench_function("find in the catalogue", |bencher| {
        bencher.iter_batched_ref(
            || ItemId::parse(&next().to_string()).unwrap(),
            |item| catalogue.find(item),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("an item of the catalogue", |bencher| {
        bencher.iter(|| catalogue.item(black_box(ItemNo(next()))));
    });
    group.bench_function("refuse a checkout", |bencher| {
        let command = || CheckoutCommand {
            buyer: buyer(7),
            line_change: LineChange::Set(vec![RequestedLine {
                item: ItemId::parse(&(next() / 2 * 2 + 2).min(items).to_string()).unwrap(),
                quantity: Quantity::ONE,
            }]),
            sale: Some(shop.known.sale.id),
            attempt: None,
            tags: None,
        };
        let mut refuse =
            |command: &mut CheckoutCommand| shop.checkout.refuse_from_cache(command).unwrap();
        bencher.iter_batched_ref(command, &mut refuse, BatchSize::SmallInput);
    });
    group.finish();
}

fn responses(criterion: &mut Criterion) {
    let shop = Shop::open(ITEMS);
    let code = CodeClaim::parse("CHK-S-1-1150000000000000000").unwrap();
    let lines = [(1, LineOutcome::Sold), (2, LineOutcome::Sold), (3, LineOutcome::SoldOut)];
    let settled = |(number, outcome)| SettledLine { line: line(number), outcome };
    let outcome = Outcome {
        buyer: buyer(7),
        purchased_at: shop.known.sale.window.starts_at(),
        lines: lines.map(settled).to_vec(),
    };
    let catalogue = shop.known.loaded_catalogue().unwrap();
    let named = outcome.lines.iter().map(|settled| catalogue.item(settled.line.item).unwrap());
    let items: Vec<Item> = named.collect();
    let mut group = criterion.benchmark_group("response");
    group.bench_function("refusal", |bencher| {
        let answer = || {
            let (reason, items) = (black_box(RefusalReason::ItemSoldOut), Vec::new());
            let facts = RefusalFacts::default();
            CheckoutAnswer::Refused(CheckoutRefusal::BySale { reason, items, facts })
        };
        bencher.iter(|| checkout_response(answer()));
    });
    group.bench_function("accepted checkout", |bencher| {
        let sale = &shop.known.sale;
        let answer = || CheckoutAnswer::Accepted {
            code,
            lines: vec![line(1), line(2), line(3)],
            created: false,
            sale: Arc::clone(sale),
        };
        bencher.iter_batched(answer, checkout_response, BatchSize::SmallInput);
    });
    group.bench_function("purchase", |bencher| {
        bencher.iter_batched(
            || items.clone(),
            |items| purchase_response(&outcome, items),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn buyer(number: i32) -> BuyerId {
    BuyerId::parse(&format!("buyer-{number}")).unwrap()
}

/// One piece of an item; numbers beyond the sale's items wrap around, far from each other.
fn line(number: i32) -> Line {
    Line { item: ItemNo(number * STRIDE % ITEMS + 1), quantity: Quantity::ONE }
}
