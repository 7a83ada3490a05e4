//! Looks idempotency keys up: all that wait share a statement with the others of the same sale; those of requests that name no sale
//! with each other.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;

use super::rows::digest;
use crate::application::ports::{Caller, Done, Effect, Keyed, KeyedRequest, PortError};
use crate::domain::ids::{AttemptId, BuyerId, SaleId};
use crate::infrastructure::batching::{Batch, BatchWork};
use crate::infrastructure::persistence::batch::failure::same_failure;
use crate::infrastructure::persistence::batch::lines::line;
use crate::infrastructure::persistence::partitions::Partitions;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::row::from_row;

/// The name of what is looked up in errors of the port.
pub(super) const WHAT: &str = "the idempotency key";

/// Reads used keys.
pub(crate) struct KeyLookUps {
    database: Database,
    partitions: Partitions<1>,
}

/// A key to look up. One of a code finds its buyer in the sale's attempts first.
pub(crate) struct LookUp {
    caller: Caller,
    request: KeyedRequest,
}

/// Look-ups that share a statement: their keys belong to one sale, or to requests that name no sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    Buyers(Option<SaleId>),
    Codes(SaleId),
}

/// The answer to a look-up.
type Found = Result<Keyed<BuyerId, Done>, PortError>;

from_row! {
    #[derive(Debug)]
    struct FoundRow {
        place: i64,
        /// The caller; `None` if the checkout does not exist.
        user_id: Option<String>,
        content: Option<Vec<u8>>,
        sale_id: Option<i64>,
        attempt_id: Option<i64>,
        created: Option<bool>,
        item_nos: Option<Vec<i32>>,
        quantities: Option<Vec<i32>>,
    }
}

pub(crate) const OF_BUYERS: &str = r"
    SELECT t.place, t.user_id, k.content, k.sale_id, k.attempt_id, k.created, k.item_nos, k.quantities
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS t(place, user_id, key)
    LEFT JOIN LATERAL (
        SELECT * FROM idempotency_keys
        WHERE user_id = t.user_id AND key = t.key
        OFFSET 0
    ) AS k ON true
";

pub(crate) const OF_CODES: &str = r"
    SELECT t.place, a.user_id, k.content, k.sale_id, k.attempt_id, k.created, k.item_nos, k.quantities
    FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS t(place, attempt_id, key)
    LEFT JOIN LATERAL (
        SELECT user_id FROM checkout_attempts{of_sale}
        WHERE sale_id = $1 AND id = t.attempt_id AND EXISTS (SELECT FROM sales WHERE id = $1)
        OFFSET 0
    ) AS a ON true
    LEFT JOIN LATERAL (
        SELECT * FROM idempotency_keys
        WHERE user_id = a.user_id AND key = t.key
        OFFSET 0
    ) AS k ON true
";

impl LookUp {
    pub(super) fn new(caller: Caller, request: KeyedRequest) -> Self {
        Self { caller, request }
    }

    /// Those that it shares a statement with.
    pub(super) fn group(&self) -> Group {
        match &self.caller {
            Caller::Buyer(_, sale) => Group::Buyers(*sale),
            Caller::HolderOf(sale, _) => Group::Codes(*sale),
        }
    }
}

impl KeyLookUps {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, partitions: Partitions::new([OF_CODES]) }
    }

    /// The answer to a request with a key, from its reply in a batch. For a key that was used before, looks up what it was used for.
    pub(crate) async fn keyed_answer<T>(
        &self,
        (caller, request): (Caller, KeyedRequest),
        reply: Option<T>,
    ) -> Result<Keyed<T, Done>, PortError> {
        if let Some(reply) = reply {
            return Ok(Keyed::New(reply));
        }
        let look_up = LookUp::new(caller, request);
        let mut answers = self.answers(look_up.group(), &[look_up]).await;
        match answers.pop().transpose()?.map(Keyed::into_new) {
            Some(Err(known)) => Ok(known),
            // The request that used the key, in the same batch, was refused.
            Some(Ok(_)) | None => Ok(Keyed::InProgress),
        }
    }

    async fn of_buyers(&self, look_ups: &[LookUp]) -> Result<Vec<FoundRow>, PortError> {
        let columns = Columns::of(look_ups);
        let read = || {
            let query = sqlx::query_as(OF_BUYERS).bind(&columns.places).bind(&columns.users);
            query.bind(&columns.keys).fetch_all(self.database.pool())
        };
        self.database.read_as(Statement::ReadKeys, WHAT, read).await
    }

    async fn of_codes(
        &self,
        sale: SaleId,
        look_ups: &[LookUp],
    ) -> Result<Vec<FoundRow>, PortError> {
        let columns = &Columns::of(look_ups);
        let statement = (Statement::ReadKeys, WHAT);
        self.partitions
            .read(&self.database, statement, sale, |mut connection, statements| async move {
                let query = sqlx::query_as(statements.get(0)).bind(sale.get());
                let query = query.bind(&columns.places).bind(&columns.attempts);
                query.bind(&columns.keys).fetch_all(&mut *connection).await
            })
            .await
    }
}

#[async_trait]
impl BatchWork for KeyLookUps {
    type Key = Group;
    type Request = LookUp;
    type Reply = Found;

    fn expected_wait(&self) -> Duration {
        self.database.expected_wait()
    }

    async fn serve(&self, group: Group, batch: Batch<LookUp, Found>) -> Batch<LookUp, Found> {
        let answers = self.answers(group, batch.requests()).await;
        batch.answer(answers);
        Batch::empty()
    }
}

impl KeyLookUps {
    /// The answer to each, in order.
    async fn answers(&self, group: Group, look_ups: &[LookUp]) -> Vec<Found> {
        let rows = match group {
            Group::Buyers(_) => self.of_buyers(look_ups).await,
            Group::Codes(sale) => self.of_codes(sale, look_ups).await,
        };
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return same_failure(WHAT, &error, look_ups.len()),
        };
        let mut rows: HashMap<i64, FoundRow> =
            rows.into_iter().map(|row| (row.place, row)).collect();
        let answers = look_ups.iter().zip(0..).map(|(look_up, index)| {
            let row = rows.remove(&index).ok_or(DatabaseError::Unreadable("idempotency_keys"));
            let answer = row.and_then(|row| row.answer(&look_up.request));
            answer.map_err(|error| self.database.record(error).into_port_error(WHAT))
        });
        answers.collect()
    }
}

/// Look-ups as columns: the users of buyers, or the attempts of codes.
#[derive(Default)]
struct Columns<'a> {
    places: Vec<i64>,
    users: Vec<&'a str>,
    attempts: Vec<i64>,
    keys: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(look_ups: &'a [LookUp]) -> Self {
        let mut columns = Self::default();
        for (look_up, place) in look_ups.iter().zip(0..) {
            columns.places.push(place);
            columns.keys.push(look_up.request.key.as_str());
            match &look_up.caller {
                Caller::Buyer(buyer, _) => columns.users.push(buyer.as_str()),
                Caller::HolderOf(_, attempt) => columns.attempts.push(attempt.get()),
            }
        }
        columns
    }
}

impl FoundRow {
    fn answer(self, request: &KeyedRequest) -> Result<Keyed<BuyerId, Done>, DatabaseError> {
        let unreadable = || DatabaseError::Unreadable("idempotency_keys");
        let Some(user) = self.user_id else {
            return Ok(Keyed::UnknownCode);
        };
        let buyer = BuyerId::parse(&user).map_err(|_| unreadable())?;
        let Some(content) = self.content else {
            return Ok(Keyed::New(buyer));
        };
        if content != digest(&request.content) {
            return Ok(Keyed::ContentMismatch);
        }
        let effect = match (self.item_nos, self.quantities) {
            (Some(items), Some(quantities)) => {
                let lines = items.into_iter().zip(quantities);
                let lines =
                    lines.map(|(item, quantity)| line(item, quantity).ok_or_else(unreadable));
                let created = self.created.unwrap_or_default();
                Effect::Changed { created, lines: lines.collect::<Result<_, _>>()? }
            }
            _ => Effect::Purchased,
        };
        Ok(Keyed::Replayed(Done {
            buyer,
            sale: self.sale_id.and_then(SaleId::new).ok_or_else(unreadable)?,
            attempt: self.attempt_id.and_then(AttemptId::new).ok_or_else(unreadable)?,
            effect,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{attempt_id, buyer, keyed_request, sale_id};

    fn group(caller: Caller) -> Group {
        LookUp::new(caller, keyed_request("k", "1")).group()
    }

    #[test]
    fn keys_of_two_sales_are_never_looked_up_together() {
        let of_buyer = |who, sale| group(Caller::Buyer(buyer(who), sale));
        let of_code = |sale| group(Caller::HolderOf(sale_id(sale), attempt_id(1)));

        assert_eq!(of_buyer("ann", Some(sale_id(1))), of_buyer("bob", Some(sale_id(1))));
        assert_ne!(of_buyer("ann", Some(sale_id(1))), of_buyer("bob", Some(sale_id(2))));
        assert_ne!(of_code(1), of_code(2));
        assert_eq!(of_buyer("ann", None), of_buyer("bob", None));
    }
}
