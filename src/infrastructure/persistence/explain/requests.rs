//! The statements of requests: checkouts, purchases, keys, and what front ends read.

use super::named::{Named, Parameter};
use crate::infrastructure::persistence::checkout::{finder, sql as checkout};
use crate::infrastructure::persistence::idempotency::{look_ups, rows as keys};
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::purchase::{history, outcomes, sql as purchase};
use crate::infrastructure::persistence::sale::{items, store as sales};

/// The first rows of the sale in one of its tables, as an array.
macro_rules! first {
    ($column:literal of $table:literal by $order:literal) => {
        concat!(
            "ARRAY(SELECT ",
            $column,
            " FROM ",
            $table,
            "{of_sale} WHERE sale_id = {sale} ORDER BY ",
            $order,
            " LIMIT 3)"
        )
    };
}

/// The first of all keys.
macro_rules! first_keys {
    ($column:literal) => {
        concat!("ARRAY(SELECT ", $column, " FROM idempotency_keys ORDER BY user_id, key LIMIT 3)")
    };
}

const SALE: Parameter = ("bigint", "{sale}");
const USERS: Parameter = ("text[]", first!("user_id" of "buyers" by "user_id"));
const USER: Parameter =
    ("text", "(SELECT min(user_id) FROM buyers{of_sale} WHERE sale_id = {sale})");
const BUYER_PLACES: Parameter = ("tid[]", first!("ctid" of "buyers" by "user_id"));
const BUYER_VERSIONS: Parameter = ("bigint[]", first!("version" of "buyers" by "user_id"));
const NO_PIECES: Parameter = ("int[]", first!("0" of "buyers" by "user_id"));
const ITEMS: Parameter = ("int[]", first!("item_no" of "item_stock" by "item_no"));
const ITEM: Parameter =
    ("int", "(SELECT min(item_no) FROM item_stock{of_sale} WHERE sale_id = {sale})");
const ITEM_PLACES: Parameter = ("tid[]", first!("ctid" of "item_stock" by "item_no"));
const NO_SALES: Parameter = ("int[]", first!("0" of "item_stock" by "item_no"));
const ATTEMPTS: Parameter = ("bigint[]", first!("id" of "checkout_attempts" by "id"));
const ATTEMPT: Parameter =
    ("bigint", "(SELECT min(id) FROM checkout_attempts{of_sale} WHERE sale_id = {sale})");
const LINE_ATTEMPTS: Parameter =
    ("bigint[]", first!("attempt_id" of "checkout_items" by "attempt_id, item_no"));
const LINE_ITEMS: Parameter =
    ("int[]", first!("item_no" of "checkout_items" by "attempt_id, item_no"));
const LINE_QUANTITIES: Parameter =
    ("int[]", first!("quantity" of "checkout_items" by "attempt_id, item_no"));
const LINES_EACH: Parameter = ("bigint", "65");
const NOW: Parameter = ("timestamptz", "clock_timestamp()");
const VERSION: Parameter = ("bigint", "extract(epoch FROM clock_timestamp()) * 1000000");
const GENERATION: Parameter = ("bigint", "(SELECT generation FROM sales WHERE id = {sale})");
/// A buyer who cannot exist: an id has no spaces.
const NEW_USER: Parameter = ("text[]", "ARRAY[' explain']");
/// An attempt that cannot exist.
const NEW_ATTEMPT: Parameter = ("bigint[]", "ARRAY[-1]");
const ONE: Parameter = ("int[]", "ARRAY[1]");
const NONE: Parameter = ("int[]", "ARRAY[0]");
const KEY_USERS: Parameter = ("text[]", first_keys!("user_id"));
const KEYS: Parameter = ("text[]", first_keys!("key"));
const PLACES: Parameter = ("bigint[]", "ARRAY[1, 2, 3]");
const YES: Parameter = ("boolean[]", "ARRAY[true]");
const NO_TIME: Parameter = ("timestamptz", "NULL");
const PAGE: Parameter = ("bigint", "50");
const BEGINNING: Parameter = ("bigint", "0");

/// Written with no pieces, so that every condition holds.
macro_rules! written_purchases {
    ($basis:expr) => {
        &[
            SALE,
            BUYER_PLACES,
            USERS,
            BUYER_VERSIONS,
            NO_PIECES,
            ("bigint[]", first!("-1" of "buyers" by "user_id")),
            ITEM_PLACES,
            ITEMS,
            NO_SALES,
            $basis,
            NEW_ATTEMPT,
            NEW_USER,
            NONE,
            NONE,
            ONE,
            ONE,
            ONE,
            ONE,
            ("text[]", "ARRAY['s']"),
        ]
    };
}

pub(super) const STATEMENTS: &[Named] = &[
    Named::new(("lock_buyers", Statement::LockBuyers), checkout::LOCK_BUYERS, &[SALE, USERS]),
    Named::new(
        ("lock_buyers.of_purchases", Statement::LockBuyers),
        purchase::LOCK_BUYERS,
        &[SALE, ATTEMPTS],
    ),
    Named::new(
        ("read_checkouts", Statement::ReadCheckouts),
        checkout::READ,
        &[SALE, USERS, ITEMS, LINES_EACH],
    ),
    Named::new(
        ("write_checkouts", Statement::WriteCheckouts),
        checkout::WRITE,
        &[
            SALE,
            ("int", "10"),
            BUYER_PLACES,
            USERS,
            BUYER_VERSIONS,
            ("bigint[]", first!("coalesce(open_attempt, -1)" of "buyers" by "user_id")),
            NEW_USER,
            NEW_ATTEMPT,
            NOW,
            NEW_ATTEMPT,
            NEW_USER,
            NEW_ATTEMPT,
            ONE,
            ONE,
            LINE_ATTEMPTS,
            LINE_ITEMS,
            LINE_QUANTITIES,
            VERSION,
        ],
    ),
    Named::new(
        ("write_checkouts.recalled", Statement::WriteCheckouts),
        checkout::WRITE_RECALLED,
        &[
            SALE,
            ("int", "10"),
            USERS,
            BUYER_VERSIONS,
            ("bigint[]", first!("coalesce(open_attempt, -1)" of "buyers" by "user_id")),
            NEW_USER,
            NEW_ATTEMPT,
            NEW_ATTEMPT,
            NEW_USER,
            NEW_ATTEMPT,
            ONE,
            ONE,
            LINE_ATTEMPTS,
            LINE_ITEMS,
            LINE_QUANTITIES,
            ITEMS,
        ],
    ),
    Named::new(
        ("write_checkouts.first", Statement::WriteCheckouts),
        checkout::WRITE_FIRST,
        &[SALE, ("text", "' explain'"), ("bigint", "-1"), ITEM, ("int", "1")],
    ),
    Named::new(
        ("remove_lines", Statement::RemoveLines),
        checkout::REMOVE_LINES,
        &[SALE, LINE_ATTEMPTS, LINE_ITEMS],
    ),
    Named::new(
        ("read_purchases", Statement::ReadPurchases),
        purchase::READ,
        &[SALE, ATTEMPTS, LINES_EACH],
    ),
    Named::new(
        ("lock_items", Statement::LockItems),
        purchase::READ_AND_LOCK_ITEMS,
        &[SALE, ATTEMPTS, LINES_EACH],
    ),
    Named::new(("read_outcomes", Statement::ReadOutcomes), outcomes::STORED, &[SALE, ATTEMPTS]),
    Named::new(
        ("write_purchases", Statement::WritePurchases),
        purchase::WRITE,
        written_purchases!(NOW),
    ),
    Named::new(
        ("write_purchases.contended", Statement::WritePurchases),
        purchase::WRITE_CONTENDED,
        written_purchases!(NOW),
    ),
    Named::new(
        ("write_purchases.unread", Statement::WritePurchases),
        purchase::WRITE_UNREAD,
        written_purchases!(GENERATION),
    ),
    Named::new(("read_keys", Statement::ReadKeys), look_ups::OF_BUYERS, &[PLACES, KEY_USERS, KEYS]),
    Named::new(
        ("read_keys.of_codes", Statement::ReadKeys),
        look_ups::OF_CODES,
        &[SALE, PLACES, ATTEMPTS, KEYS],
    ),
    Named::new(("read_keys.used", Statement::ReadKeys), keys::USED, &[KEY_USERS, KEYS, PLACES]),
    Named::new(
        ("write_keys", Statement::WriteKeys),
        keys::INSERT,
        &[
            NEW_USER,
            ("text[]", "ARRAY['explain']"),
            ("bytea[]", "ARRAY[sha256('explain')]"),
            SALE,
            NEW_ATTEMPT,
            YES,
            ONE,
            ONE,
            ONE,
            ONE,
            YES,
        ],
    ),
    Named::new(("live_sales", Statement::LiveSales), sales::LIVE, &[]),
    Named::new(
        ("live_sales.in_use", Statement::LiveSales),
        sales::FIND_ALL,
        &[("bigint[]", "ARRAY[{sale}]")],
    ),
    Named::new(
        ("catalogue", Statement::Catalogue),
        items::CHUNK_OF_ITEMS,
        &[SALE, ("int", "0"), ("int", "20000")],
    ),
    Named::new(("read", Statement::Read), sales::FIND, &[SALE]),
    Named::new(("read.checkout", Statement::Read), finder::FIND, &[SALE, ATTEMPT]),
    Named::new(("read.items_by_number", Statement::Read), items::NAMED, &[SALE, ITEMS]),
    Named::new(
        ("read.items_by_id", Statement::Read),
        items::BY_ID,
        &[SALE, ("text[]", first!("item_id" of "items" by "item_no"))],
    ),
    Named::new(("read.items_page", Statement::Read), items::PAGE, &[SALE, PAGE, BEGINNING]),
    Named::new(
        ("read.available_items_page", Statement::Read),
        items::AVAILABLE_PAGE,
        &[SALE, PAGE, BEGINNING],
    ),
    Named::new(
        ("read.items_from", Statement::Read),
        items::LIST,
        &[SALE, ("int", "0"), ("bigint", "2000"), ("boolean", "true")],
    ),
    Named::new(
        ("read.progress", Statement::Read),
        items::PROGRESS,
        &[("bigint[]", "ARRAY[{sale}]")],
    ),
    Named::new(("read.stock", Statement::Read), items::STOCK, &[SALE]),
    Named::new(("read.sold_out_items", Statement::Read), items::SOLD_OUT_AMONG, &[SALE, ITEMS]),
    Named::new(
        ("read.latest_sales", Statement::Read),
        history::LATEST_SALES,
        &[NO_TIME, ("bigint", "1001")],
    ),
    Named::new(
        ("read.partitions_of_sales", Statement::Read),
        history::ALL_PARTITIONS,
        &[("bigint", "100")],
    ),
    Named::new(
        ("read.history", Statement::Read),
        history::NEWEST,
        &[USER, SALE, ("bigint", "{sale} + 1"), NO_TIME, ("bigint", "NULL"), NO_TIME, PAGE],
    ),
    Named::new(
        ("read.history_count", Statement::Read),
        history::COUNT,
        &[USER, SALE, ("bigint", "{sale} + 1")],
    ),
    Named::new(
        ("read.history_lines", Statement::Read),
        history::WITH_LINES,
        &[
            ("bigint[]", first!("sale_id" of "purchases" by "attempt_id")),
            ("bigint[]", first!("attempt_id" of "purchases" by "attempt_id")),
        ],
    ),
];
