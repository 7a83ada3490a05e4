//! Many sales, written at once.

use sqlx::PgPool;

/// What [`open_sales`] writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Many {
    /// Number of sales.
    pub(crate) sales: i32,
    /// Items of each, one piece of each item.
    pub(crate) items: i32,
    /// How long they last, in seconds.
    pub(crate) seconds: f64,
}

/// Writes open sales; each started a second after the one before. Returns their ids, earliest start first.
pub(crate) async fn open_sales(pool: &PgPool, many: Many) -> Vec<String> {
    let insert = "
        WITH new AS (
            INSERT INTO sales (id, public_id, name, starts_at, ends_at, buyer_limit, items)
            SELECT nextval('sale_ids'), gen_random_uuid()::text, 'sale ' || n, now() - (interval '1 second') * ($1 - n + 60),
                   now() + (interval '1 second') * $3, 10, $2
            FROM generate_series(1, $1) AS n
            RETURNING id
        ), audit AS (
            INSERT INTO sale_audit (sale_id, action, actor) SELECT id, 'created', 'test' FROM new
        )
        SELECT array_agg(id ORDER BY id) FROM new";
    let numbers: Vec<i64> = sqlx::query_scalar(insert)
        .bind(many.sales)
        .bind(many.items)
        .bind(many.seconds)
        .fetch_one(pool)
        .await
        .unwrap();
    for statement in [
        "SELECT ensure_partitions(id) FROM (SELECT DISTINCT ON (id / 100) id FROM unnest($1) AS id) AS s
         WHERE $2 > 0",
        "INSERT INTO items (sale_id, item_no, item_id, name, image_url)
         SELECT id, n, n::text, 'item ' || n, 'link' FROM unnest($1) AS id, generate_series(1, $2) AS n",
        "INSERT INTO item_stock (sale_id, item_no, stock)
         SELECT id, n, 1 FROM unnest($1) AS id, generate_series(1, $2) AS n",
    ] {
        sqlx::query(statement).bind(&numbers).bind(many.items).execute(pool).await.unwrap();
    }
    numbers.into_iter().map(sale_id).collect()
}

/// A sale's id by its number: Crockford's base 32.
fn sale_id(number: i64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let (mut digits, mut left) = (Vec::new(), usize::try_from(number).unwrap());
    while left > 0 {
        digits.push(char::from(DIGITS[left % 32]));
        left /= 32;
    }
    format!("S-{}", digits.iter().rev().collect::<String>())
}
