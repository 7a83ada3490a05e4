//! Writes the details of refusals: all of a sale with one statement, or, after an error that would come again, all but those
//! that PostgreSQL refuses.

use std::collections::{BTreeMap, VecDeque};

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::by_sale::by_sale;
use crate::application::ports::{Refusal, RefusalTotal};
use crate::domain::ids::{AttemptId, BuyerId, ItemId, RequestId};
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};

/// Parts of the details of one sale, and of a whole flush, that are halved because they cannot be written; then a part that
/// fails is dropped as it is. Finding one detail among ten thousand takes fourteen. A sale whose partition was dropped, or a
/// flood of details that are refused, must not keep a flush from its totals.
const MAX_HALVED: Halved = Halved { of_a_sale: 256, of_a_flush: 2_048 };

pub(crate) const ADD: &str = r"
    INSERT INTO checkout_refusals
        (sale_id, instance, sequence, position, operation, reason, user_id, item_id, attempt_id, refused_at,
         request_id)
    SELECT t.sale_id, $1, $2, t.position, t.operation, t.reason, t.user_id, t.item_id,
           t.attempt_id, t.refused_at, t.request_id
    FROM unnest($3::bigint[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::bigint[], $10::timestamptz[], $11::text[])
        AS t(sale_id, position, operation, reason, user_id, item_id, attempt_id, refused_at, request_id)
";

#[derive(Debug, Clone, Copy)]
struct Halved {
    of_a_sale: usize,
    of_a_flush: usize,
}

/// A detail with its position in the flush, which is part of its key.
type Row<'f> = (i32, &'f Refusal);

/// The flush that the details belong to.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlushId {
    pub(super) instance: Uuid,
    pub(super) sequence: i64,
}

/// Writes all details.
pub(super) async fn add(
    connection: &mut PgConnection,
    flush: FlushId,
    details: &[Refusal],
) -> Result<(), sqlx::Error> {
    for rows in by_sale(numbered(details), |row| row.1.sale).into_values() {
        add_rows(connection, flush, &rows).await?;
    }
    Ok(())
}

/// Writes all details but those that PostgreSQL refuses for good, within [`MAX_HALVED`]. Returns the ones that are written.
///
/// It runs in a transaction: each part is a nested transaction, and of one that fails the halves are tried.
pub(super) async fn add_writable<'f>(
    connection: &mut PgConnection,
    flush: FlushId,
    details: &'f [Refusal],
) -> Result<Vec<&'f Refusal>, DatabaseError> {
    // What fails for a whole sale, such as a partition that was dropped, leaves the other sales alone.
    let sales = by_sale(numbered(details), |row| row.1.sale);
    let mut written = Vec::with_capacity(details.len());
    let mut left = MAX_HALVED.of_a_flush;
    for rows in sales.values() {
        let mut left_of_sale = MAX_HALVED.of_a_sale.min(left);
        left -= left_of_sale;
        let mut parts = VecDeque::from([rows.as_slice()]);
        while let Some(part) = parts.pop_front() {
            if try_rows(connection, flush, part).await? {
                written.extend(part.iter().map(|(_, refusal)| *refusal));
                continue;
            }
            if left_of_sale > 0 {
                left_of_sale -= 1;
                if part.len() > 1 {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([first, second]);
                }
            }
        }
        left += left_of_sale;
    }
    Ok(written)
}

/// The totals with the number of details that are written.
pub(super) fn counted(totals: &[RefusalTotal], written: &[&Refusal]) -> Vec<RefusalTotal> {
    let mut counts = BTreeMap::new();
    for refusal in written {
        *counts.entry((refusal.sale, refusal.operation, refusal.reason)).or_insert(0) += 1;
    }
    let count = |total: &RefusalTotal| {
        counts.get(&(total.sale, total.operation, total.reason)).copied().unwrap_or(0)
    };
    totals.iter().map(|total| RefusalTotal { detailed: count(total), ..*total }).collect()
}

/// Whether the rows could be written; an error if nothing can be written now.
async fn try_rows(
    connection: &mut PgConnection,
    flush: FlushId,
    rows: &[Row<'_>],
) -> Result<bool, DatabaseError> {
    let mut nested = connection.begin().await?;
    let Err(error) = add_rows(&mut nested, flush, rows).await else {
        nested.commit().await?;
        return Ok(true);
    };
    let error = DatabaseError::from(error);
    if error.class() != ErrorClass::Permanent {
        return Err(error);
    }
    nested.rollback().await?;
    Ok(false)
}

async fn add_rows(
    connection: &mut PgConnection,
    flush: FlushId,
    rows: &[Row<'_>],
) -> Result<(), sqlx::Error> {
    sqlx::query(ADD)
        .bind(flush.instance)
        .bind(flush.sequence)
        .bind(column(rows, |refusal| refusal.sale.get()))
        .bind(rows.iter().map(|(position, _)| *position).collect::<Vec<_>>())
        .bind(column(rows, |refusal| refusal.operation.as_str()))
        .bind(column(rows, |refusal| refusal.reason.as_str()))
        .bind(column(rows, |refusal| refusal.buyer.as_ref().map(BuyerId::as_str)))
        .bind(column(rows, |refusal| refusal.item.as_ref().map(ItemId::as_str)))
        .bind(column(rows, |refusal| refusal.attempt.map(AttemptId::get)))
        .bind(column(rows, |refusal| refusal.refused_at))
        .bind(column(rows, |refusal| refusal.request.as_ref().map(RequestId::as_str)))
        .execute(connection)
        .await?;
    Ok(())
}

fn numbered(details: &[Refusal]) -> Vec<Row<'_>> {
    (1..).zip(details).collect()
}

fn column<'f, C>(rows: &[Row<'f>], field: impl Fn(&'f Refusal) -> C) -> Vec<C> {
    rows.iter().map(|(_, refusal)| field(refusal)).collect()
}
