//! The protocol of checkouts and purchases as implemented, in steps between which anything may die.
//!
//! A step is atomic: a statement in PostgreSQL, or a response. An instance has one writer of checkouts and one of purchases, each
//! with one request at a time. Redis is left out: every request gets the lock on its code, as with a Redis that loses
//! everything.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

/// Number of instances.
const INSTANCES: usize = 2;
const BUYERS: usize = 2;
const ITEMS: usize = 2;
/// Pieces of each item; both buyers want the first item.
const STOCK: u8 = 1;
/// The checkouts: buyer and item.
const WISHES: [(usize, usize); 3] = [(0, 0), (1, 0), (0, 1)];

/// Items, one bit each.
type Items = u8;
/// A code's number from PostgreSQL's sequence.
type Attempt = u8;

/// The parameters of the model.
#[derive(Debug, Clone)]
pub(crate) struct Protocol {
    /// The buyer limit.
    pub(crate) limit: u32,
    /// The protection that is left out, to show that a property fails without it.
    pub(crate) without: Option<Protection>,
    /// How often each checkout may be requested.
    pub(crate) wishes: [u8; WISHES.len()],
    /// How often the purchase of each code may be requested.
    pub(crate) purchases: u8,
    /// How often an instance or PostgreSQL may die, or a reply of PostgreSQL may be lost.
    pub(crate) deaths: u8,
}

/// The protections that keep the promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    /// The write's condition on the buyer's version, and the primary key of outcomes.
    Version,
    /// The write's condition on the stock, and the CHECK constraint.
    Stock,
    /// The outcome is stored in the statement that has the effects.
    OutcomeWithEffects,
    /// The response comes after the commit.
    AnswerAfterCommit,
    /// A version is never written twice.
    FreshVersions,
    /// Collected and bought pieces are compared with the limit.
    Limit,
    /// A read looks for a stored outcome first, and the primary key of outcomes.
    StoredOutcomeFirst,
}

/// A buyer's row, with the lines of the open checkout.
#[derive(Debug, Clone, Default, Hash, PartialEq, Eq)]
pub(crate) struct Row {
    version: u8,
    open: Option<Attempt>,
    lines: Items,
    bought: Items,
}

/// A stored outcome.
#[derive(Debug, Clone, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Outcome {
    sold: Items,
    failed: Items,
}

/// What PostgreSQL has committed. It survives every crash.
#[derive(Debug, Clone, Default, Hash, PartialEq, Eq)]
pub(crate) struct Postgres {
    rows: [Option<Row>; BUYERS],
    sold: [u8; ITEMS],
    outcomes: BTreeMap<Attempt, Outcome>,
    owners: BTreeMap<Attempt, usize>,
    /// Grows with each write; versions are taken from it.
    clock: u8,
}

/// The state of a writer of checkouts.
#[derive(Debug, Clone, Hash, PartialEq, Eq)]
pub(crate) enum Checkout {
    /// The last attempt failed, or its result is unknown: it is repeated.
    Again { wish: usize },
    /// The buyer's row was read.
    Read { wish: usize, row: Option<Row> },
    /// It is committed and not answered.
    Written { wish: usize, attempt: Attempt },
}

/// The state of a writer of purchases.
#[derive(Debug, Clone, Hash, PartialEq, Eq)]
pub(crate) enum Purchase {
    /// The last attempt failed, or its result is unknown: it is repeated.
    Again { attempt: Attempt },
    /// It was decided on state that was read or remembered.
    Decided { attempt: Attempt, buyer: usize, version: u8, outcome: Outcome },
    /// The outcome is committed or was found, and is not answered.
    Written { attempt: Attempt, outcome: Outcome },
}

/// The memory of an instance.
#[derive(Debug, Clone, Default, Hash, PartialEq, Eq)]
pub(crate) struct Instance {
    checkout: Option<Checkout>,
    purchase: Option<Purchase>,
    /// Recent writes: checkouts that it wrote itself, with their buyers.
    recent_writes: BTreeMap<Attempt, (usize, Row)>,
    /// Items that it has read as sold out.
    sold_out: Items,
}

/// A response to a client.
#[derive(Debug, Clone, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Response {
    /// The item is in this code's checkout.
    Collected { wish: usize, attempt: Attempt },
    /// The outcome of the code.
    Bought { attempt: Attempt, outcome: Outcome },
    /// A refusal as sold out of an item that was left.
    WronglySoldOut { item: usize },
}

/// The whole state.
#[derive(Debug, Clone, Default, Hash, PartialEq, Eq)]
pub(crate) struct World {
    postgres: Postgres,
    instances: [Instance; INSTANCES],
    responses: BTreeSet<Response>,
    wishes_left: [u8; WISHES.len()],
    purchases_left: BTreeMap<Attempt, u8>,
    deaths_left: u8,
}

/// The next step. Requests may come late, because their order is not fixed.
#[derive(Debug, Clone, Hash, PartialEq, Eq)]
pub(crate) enum Action {
    /// A checkout is requested, for the first time or again.
    Wish { wish: usize, at: usize },
    /// A purchase is requested.
    Ask { attempt: Attempt, at: usize },
    /// The writer of checkouts takes its next step. `is_heard`: PostgreSQL's reply arrives.
    Checkout { at: usize, is_heard: bool },
    /// The writer of purchases takes its next step.
    Purchase { at: usize, is_heard: bool },
    /// An instance dies, and restarts with an empty memory.
    InstanceDies { at: usize },
    /// PostgreSQL dies: what is committed stays, and what was read is discarded.
    PostgresDies,
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let (wishes_left, deaths_left) = (self.wishes, self.deaths);
        vec![World { wishes_left, deaths_left, ..World::default() }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let may_die = world.deaths_left > 0;
        for (at, instance) in world.instances.iter().enumerate() {
            match &instance.checkout {
                None => {
                    let left = world.wishes_left.iter().enumerate().filter(|(_, left)| **left > 0);
                    actions.extend(left.map(|(wish, _)| Action::Wish { wish, at }));
                }
                Some(checkout) => {
                    actions.push(Action::Checkout { at, is_heard: true });
                    if may_die && matches!(checkout, Checkout::Read { .. }) {
                        actions.push(Action::Checkout { at, is_heard: false });
                    }
                }
            }
            match &instance.purchase {
                None => {
                    let left = world.purchases_left.iter().filter(|(_, left)| **left > 0);
                    actions.extend(left.map(|(attempt, _)| Action::Ask { attempt: *attempt, at }));
                }
                Some(purchase) => {
                    actions.push(Action::Purchase { at, is_heard: true });
                    if may_die && matches!(purchase, Purchase::Decided { .. }) {
                        actions.push(Action::Purchase { at, is_heard: false });
                    }
                }
            }
            if may_die && *instance != Instance::default() {
                actions.push(Action::InstanceDies { at });
            }
        }
        if may_die {
            actions.push(Action::PostgresDies);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Wish { wish, at } => {
                world.wishes_left[wish] -= 1;
                world.instances[at].checkout = world.read_checkout(at, wish);
            }
            Action::Ask { attempt, at } => {
                *world.purchases_left.get_mut(&attempt)? -= 1;
                world.instances[at].purchase = Some(self.decide(&mut world, at, attempt));
            }
            Action::Checkout { at, is_heard } => {
                world.deaths_left -= u8::from(!is_heard);
                let job = world.instances[at].checkout.take()?;
                world.instances[at].checkout = self.checkout(&mut world, at, job, is_heard);
            }
            Action::Purchase { at, is_heard } => {
                world.deaths_left -= u8::from(!is_heard);
                let job = world.instances[at].purchase.take()?;
                world.instances[at].purchase = self.purchase(&mut world, at, job, is_heard);
            }
            Action::InstanceDies { at } => {
                world.deaths_left -= 1;
                world.instances[at] = Instance::default();
            }
            Action::PostgresDies => {
                world.deaths_left -= 1;
                world.instances.iter_mut().for_each(Instance::lose_postgres);
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1: nothing is sold beyond its stock", |_, world: &World| {
                world.sells_what_is_there()
            }),
            Property::always("I2: no request is refused what is left", |_, world: &World| {
                world.refuses_what_is_gone()
            }),
            Property::always(
                "I3: no buyer gets more than the limit",
                |protocol: &Self, world: &World| {
                    (0..BUYERS).all(|buyer| world.postgres.owned_by(buyer) <= protocol.limit)
                },
            ),
            Property::always("I4: a code has one outcome", |_, world: &World| {
                world.returns_one_outcome()
            }),
            Property::always("I5: what was answered is there", |_, world: &World| {
                world.responses.iter().all(|response| world.postgres.holds(response))
            }),
            Property::sometimes("everything is sold", |_, world: &World| {
                world.postgres.sold == [STOCK; ITEMS]
            }),
            Property::sometimes("a buyer has outcomes of two codes", |_, world: &World| {
                let of_first = |attempt: &&Attempt| world.postgres.owners.get(*attempt) == Some(&0);
                world.postgres.outcomes.keys().filter(of_first).count() == 2
            }),
        ]
    }
}

impl Protocol {
    fn has(&self, protection: Protection) -> bool {
        self.without != Some(protection)
    }

    /// The next step of a checkout. Returns the writer's state, `None` when it is idle.
    fn checkout(
        &self,
        world: &mut World,
        at: usize,
        job: Checkout,
        is_heard: bool,
    ) -> Option<Checkout> {
        match job {
            Checkout::Again { wish } => world.read_checkout(at, wish),
            Checkout::Read { wish, row } => {
                let (buyer, item) = WISHES[wish];
                if world.postgres.rows[buyer] != row && self.has(Protection::Version) {
                    return Some(Checkout::Again { wish });
                }
                let row = row.unwrap_or_default();
                let pieces = (row.lines | 1 << item).count_ones() + row.bought.count_ones();
                if pieces > self.limit && self.has(Protection::Limit) {
                    return None;
                }
                let (attempt, row) = self.collect(&mut world.postgres, (buyer, item), &row);
                if !is_heard {
                    return Some(Checkout::Again { wish });
                }
                world.instances[at].recent_writes.insert(attempt, (buyer, row));
                Some(Checkout::Written { wish, attempt })
            }
            Checkout::Written { wish, attempt } => {
                world.responses.insert(Response::Collected { wish, attempt });
                world.purchases_left.entry(attempt).or_insert(self.purchases);
                None
            }
        }
    }

    /// The effect of a checkout's statement: the line, and a new code if none is open.
    fn collect(
        &self,
        postgres: &mut Postgres,
        (buyer, item): (usize, usize),
        row: &Row,
    ) -> (Attempt, Row) {
        // The sequence is not rolled back, and returns no number twice.
        let fresh = Attempt::try_from(postgres.owners.len()).unwrap_or(Attempt::MAX);
        let attempt = row.open.unwrap_or(fresh);
        let version = self.version(postgres);
        let (lines, bought) = (row.lines | 1 << item, row.bought);
        let row = Row { version, open: Some(attempt), lines, bought };
        postgres.rows[buyer] = Some(row.clone());
        postgres.owners.insert(attempt, buyer);
        (attempt, row)
    }

    fn version(&self, postgres: &mut Postgres) -> u8 {
        postgres.clock += 1;
        if self.has(Protection::FreshVersions) { postgres.clock } else { 1 }
    }

    /// Decides on the instance's own recent write, once; else on PostgreSQL's state, where a stored outcome comes first.
    fn decide(&self, world: &mut World, at: usize, attempt: Attempt) -> Purchase {
        let postgres = &world.postgres;
        let instance = &mut world.instances[at];
        let (buyer, row) = if let Some(remembered) = instance.recent_writes.remove(&attempt) {
            remembered
        } else {
            if let Some(outcome) = postgres.outcomes.get(&attempt)
                && self.has(Protection::StoredOutcomeFirst)
            {
                return Purchase::Written { attempt, outcome: outcome.clone() };
            }
            let gone = (0..ITEMS).filter(|item| postgres.sold[*item] >= STOCK);
            instance.sold_out = gone.fold(instance.sold_out, |all, item| all | 1 << item);
            let buyer = postgres.owners[&attempt];
            (buyer, postgres.rows[buyer].clone().unwrap_or_default())
        };
        let outcome =
            Outcome { sold: row.lines & !instance.sold_out, failed: row.lines & instance.sold_out };
        if !self.has(Protection::AnswerAfterCommit) {
            world.responses.insert(Response::Bought { attempt, outcome: outcome.clone() });
        }
        Purchase::Decided { attempt, buyer, version: row.version, outcome }
    }

    /// The next step of a purchase. Returns the writer's state, `None` when it is idle.
    fn purchase(
        &self,
        world: &mut World,
        at: usize,
        job: Purchase,
        is_heard: bool,
    ) -> Option<Purchase> {
        match job {
            Purchase::Again { attempt } => Some(self.decide(world, at, attempt)),
            Purchase::Decided { attempt, buyer, version, outcome } => {
                if !self.may_settle(&world.postgres, attempt, (buyer, version), &outcome) {
                    return Some(Purchase::Again { attempt });
                }
                self.settle(&mut world.postgres, attempt, buyer, &outcome);
                let stores = is_heard || self.has(Protection::OutcomeWithEffects);
                if stores {
                    world.postgres.outcomes.insert(attempt, outcome.clone());
                }
                if !is_heard {
                    return Some(Purchase::Again { attempt });
                }
                let gone = (0..ITEMS).filter(|item| world.postgres.sold[*item] >= STOCK);
                world.instances[at].sold_out |= gone.fold(0, |all, item| all | 1 << item);
                Some(Purchase::Written { attempt, outcome })
            }
            Purchase::Written { attempt, outcome } => {
                world.responses.insert(Response::Bought { attempt, outcome });
                None
            }
        }
    }

    /// The conditions of a purchase's statement.
    fn may_settle(
        &self,
        postgres: &Postgres,
        attempt: Attempt,
        (buyer, version): (usize, u8),
        outcome: &Outcome,
    ) -> bool {
        let row_version = postgres.rows[buyer].as_ref().map_or(0, |row| row.version);
        let is_left = |item: usize| !has(outcome.sold, item) || postgres.sold[item] < STOCK;
        let key_is_free = !postgres.outcomes.contains_key(&attempt);
        let has_key = self.has(Protection::Version) && self.has(Protection::StoredOutcomeFirst);
        (row_version == version || !self.has(Protection::Version))
            && ((0..ITEMS).all(is_left) || !self.has(Protection::Stock))
            && (key_is_free || !has_key)
    }

    /// The effects of a purchase's statement, without the outcome.
    fn settle(&self, postgres: &mut Postgres, attempt: Attempt, buyer: usize, outcome: &Outcome) {
        for item in (0..ITEMS).filter(|item| has(outcome.sold, *item)) {
            postgres.sold[item] += 1;
        }
        let version = self.version(postgres);
        let row = postgres.rows[buyer].clone().unwrap_or_default();
        let is_closed = row.open == Some(attempt);
        postgres.rows[buyer] = Some(Row {
            version,
            open: row.open.filter(|_| !is_closed),
            lines: if is_closed { 0 } else { row.lines },
            bought: row.bought | outcome.sold,
        });
    }
}

impl Instance {
    /// Discards what was read; what is committed is answered all the same.
    fn lose_postgres(&mut self) {
        if let Some(Checkout::Read { wish, .. }) = self.checkout {
            self.checkout = Some(Checkout::Again { wish });
        }
        if let Some(Purchase::Decided { attempt, .. }) = self.purchase {
            self.purchase = Some(Purchase::Again { attempt });
        }
    }
}

impl World {
    /// Reads the buyer's row; `None` if the item is refused from memory or from what was read.
    fn read_checkout(&mut self, at: usize, wish: usize) -> Option<Checkout> {
        let (buyer, item) = WISHES[wish];
        let is_gone = self.postgres.sold[item] >= STOCK;
        if is_gone || has(self.instances[at].sold_out, item) {
            self.instances[at].sold_out |= 1 << item;
            if !is_gone {
                self.responses.insert(Response::WronglySoldOut { item });
            }
            return None;
        }
        Some(Checkout::Read { wish, row: self.postgres.rows[buyer].clone() })
    }

    fn sells_what_is_there(&self) -> bool {
        (0..ITEMS).all(|item| {
            let outcomes = self.postgres.outcomes.values();
            let owned = outcomes.filter(|outcome| has(outcome.sold, item)).count();
            let sold = self.postgres.sold[item];
            owned == usize::from(sold) && sold <= STOCK
        })
    }

    fn refuses_what_is_gone(&self) -> bool {
        let is_wrong = |response: &Response| matches!(response, Response::WronglySoldOut { .. });
        let outcomes = self.postgres.outcomes.values();
        let failed = outcomes.fold(0, |all, outcome| all | outcome.failed);
        let is_left = |item: usize| self.postgres.sold[item] < STOCK;
        !self.responses.iter().any(is_wrong)
            && !(0..ITEMS).any(|item| has(failed, item) && is_left(item))
    }

    fn returns_one_outcome(&self) -> bool {
        let mut outcomes = BTreeMap::new();
        self.responses.iter().all(|response| match response {
            Response::Bought { attempt, outcome } => {
                outcomes.insert(attempt, outcome).is_none_or(|other| other == outcome)
            }
            Response::Collected { .. } | Response::WronglySoldOut { .. } => true,
        })
    }
}

impl Postgres {
    /// Whether a response is stored.
    fn holds(&self, response: &Response) -> bool {
        match response {
            Response::Collected { wish, attempt } => {
                let (buyer, item) = WISHES[*wish];
                let row = self.rows[buyer].as_ref();
                let open = row.filter(|row| row.open == Some(*attempt)).map_or(0, |row| row.lines);
                let outcome = self.outcomes.get(attempt);
                has(open | outcome.map_or(0, |outcome| outcome.sold | outcome.failed), item)
            }
            Response::Bought { attempt, outcome } => self.outcomes.get(attempt) == Some(outcome),
            Response::WronglySoldOut { .. } => true,
        }
    }

    /// Pieces that a buyer owns, by the outcomes.
    fn owned_by(&self, buyer: usize) -> u32 {
        let own =
            self.outcomes.iter().filter(|(attempt, _)| self.owners.get(*attempt) == Some(&buyer));
        own.map(|(_, outcome)| outcome.sold.count_ones()).sum()
    }
}

fn has(items: Items, item: usize) -> bool {
    items & 1 << item != 0
}
