//! The protocol of checkouts and purchases, as it is built, in steps between which anything may die.
//!
//! A step is what happens at once: a statement at PostgreSQL, or an answer. An instance has one writer of checkouts and one of
//! purchases, each with one request at a time. Whatever Redis might say is left out: everybody is given the lock on every
//! code, as after a Redis that forgets all the time.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

/// Instances.
const INSTANCES: usize = 2;
const BUYERS: usize = 2;
const ITEMS: usize = 2;
/// Pieces of each item: the first one is wanted by both buyers.
const STOCK: u8 = 1;
/// What buyers want: buyer and item.
const WISHES: [(usize, usize); 3] = [(0, 0), (1, 0), (0, 1)];

/// Items, one bit each.
type Items = u8;
/// A code's number, as PostgreSQL's sequence gives it.
type Attempt = u8;

/// What the model is run with.
#[derive(Debug, Clone)]
pub(crate) struct Protocol {
    /// Pieces that a buyer may have.
    pub(crate) limit: u32,
    /// What is left out, to see that the properties notice.
    pub(crate) without: Option<Protection>,
    /// How often each wish may arrive.
    pub(crate) wishes: [u8; WISHES.len()],
    /// How often each code may be asked for.
    pub(crate) purchases: u8,
    /// How often an instance or PostgreSQL may die, or an answer of PostgreSQL be lost.
    pub(crate) deaths: u8,
}

/// What keeps the promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    /// The write's condition on the buyer's version, and the outcome's key behind it.
    Version,
    /// The write's condition on the stock, and the CHECK behind it.
    Stock,
    /// The outcome is stored with its effects.
    OutcomeWithEffects,
    /// The answer comes after the commit.
    AnswerAfterCommit,
    /// A version is never written twice.
    FreshVersions,
    /// Collected and bought pieces are held against the limit.
    Limit,
    /// Whoever reads looks for a stored outcome first, and the outcome's key is behind it.
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
    /// Grows with each write: the clock that versions are taken from.
    clock: u8,
}

/// What a writer of checkouts works at.
#[derive(Debug, Clone, Hash, PartialEq, Eq)]
pub(crate) enum Checkout {
    /// It failed, or nobody knows: once more.
    Again { wish: usize },
    /// The buyer's row was read.
    Read { wish: usize, row: Option<Row> },
    /// It is committed, and not answered.
    Written { wish: usize, attempt: Attempt },
}

/// What a writer of purchases works at.
#[derive(Debug, Clone, Hash, PartialEq, Eq)]
pub(crate) enum Purchase {
    /// It failed, or nobody knows: once more.
    Again { attempt: Attempt },
    /// Decided on what was read or remembered.
    Decided { attempt: Attempt, buyer: usize, version: u8, outcome: Outcome },
    /// It is committed, or was found, and not answered.
    Written { attempt: Attempt, outcome: Outcome },
}

/// An instance, with what it has in memory.
#[derive(Debug, Clone, Default, Hash, PartialEq, Eq)]
pub(crate) struct Instance {
    checkout: Option<Checkout>,
    purchase: Option<Purchase>,
    /// Checkouts as it wrote them itself, with their buyers.
    own_writes: BTreeMap<Attempt, (usize, Row)>,
    /// Items that it saw sold out.
    sold_out: Items,
}

/// What a client was told.
#[derive(Debug, Clone, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// The item is in the checkout of this code.
    Collected { wish: usize, attempt: Attempt },
    /// What became of the code.
    Bought { attempt: Attempt, outcome: Outcome },
    /// The item is sold out, though it was not.
    WronglySoldOut { item: usize },
}

/// Everything.
#[derive(Debug, Clone, Default, Hash, PartialEq, Eq)]
pub(crate) struct World {
    postgres: Postgres,
    instances: [Instance; INSTANCES],
    told: BTreeSet<Told>,
    wishes_left: [u8; WISHES.len()],
    purchases_left: BTreeMap<Attempt, u8>,
    deaths_left: u8,
}

/// What may happen next. Requests come late because nothing says when they arrive.
#[derive(Debug, Clone, Hash, PartialEq, Eq)]
pub(crate) enum Action {
    /// A request for a checkout arrives, for the first time or again.
    Wish { wish: usize, at: usize },
    /// A request for a purchase arrives.
    Ask { attempt: Attempt, at: usize },
    /// The writer of checkouts takes its next step. `is_heard`: the answer of PostgreSQL comes back.
    Checkout { at: usize, is_heard: bool },
    /// The writer of purchases takes its next step.
    Purchase { at: usize, is_heard: bool },
    /// An instance dies, and comes back with nothing in memory.
    InstanceDies { at: usize },
    /// PostgreSQL dies: what is committed stays, whatever was read is of no use.
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
            Property::always("I2: nobody is refused what is left", |_, world: &World| {
                world.refuses_what_is_gone()
            }),
            Property::always(
                "I3: nobody gets more than the limit",
                |protocol: &Self, world: &World| {
                    (0..BUYERS).all(|buyer| world.postgres.owned_by(buyer) <= protocol.limit)
                },
            ),
            Property::always("I4: a code has one outcome", |_, world: &World| {
                world.tells_one_outcome()
            }),
            Property::always("I5: what was answered is there", |_, world: &World| {
                world.told.iter().all(|told| world.postgres.holds(told))
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

    /// The next step of a checkout; what is left to do, if anything is.
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
                world.instances[at].own_writes.insert(attempt, (buyer, row));
                Some(Checkout::Written { wish, attempt })
            }
            Checkout::Written { wish, attempt } => {
                world.told.insert(Told::Collected { wish, attempt });
                world.purchases_left.entry(attempt).or_insert(self.purchases);
                None
            }
        }
    }

    /// The effect of a checkout's statement: the line, and a new code where none is open.
    fn collect(
        &self,
        postgres: &mut Postgres,
        (buyer, item): (usize, usize),
        row: &Row,
    ) -> (Attempt, Row) {
        // The sequence is not rolled back, and gives no number twice.
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

    /// On what this instance wrote itself, taken once; else on what PostgreSQL has, where a stored outcome comes first.
    fn decide(&self, world: &mut World, at: usize, attempt: Attempt) -> Purchase {
        let postgres = &world.postgres;
        let instance = &mut world.instances[at];
        let (buyer, row) = if let Some(remembered) = instance.own_writes.remove(&attempt) {
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
            world.told.insert(Told::Bought { attempt, outcome: outcome.clone() });
        }
        Purchase::Decided { attempt, buyer, version: row.version, outcome }
    }

    /// The next step of a purchase; what is left to do, if anything is.
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
                world.told.insert(Told::Bought { attempt, outcome });
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

    /// The effects of a purchase's statement, but for the outcome.
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
    /// What was read is of no use; what is committed is answered all the same.
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
    /// Refused from memory or from what is read, or the buyer's row.
    fn read_checkout(&mut self, at: usize, wish: usize) -> Option<Checkout> {
        let (buyer, item) = WISHES[wish];
        let is_gone = self.postgres.sold[item] >= STOCK;
        if is_gone || has(self.instances[at].sold_out, item) {
            self.instances[at].sold_out |= 1 << item;
            if !is_gone {
                self.told.insert(Told::WronglySoldOut { item });
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
        let is_wrong = |told: &Told| matches!(told, Told::WronglySoldOut { .. });
        let outcomes = self.postgres.outcomes.values();
        let failed = outcomes.fold(0, |all, outcome| all | outcome.failed);
        let is_left = |item: usize| self.postgres.sold[item] < STOCK;
        !self.told.iter().any(is_wrong)
            && !(0..ITEMS).any(|item| has(failed, item) && is_left(item))
    }

    fn tells_one_outcome(&self) -> bool {
        let mut outcomes = BTreeMap::new();
        self.told.iter().all(|told| match told {
            Told::Bought { attempt, outcome } => {
                outcomes.insert(attempt, outcome).is_none_or(|other| other == outcome)
            }
            Told::Collected { .. } | Told::WronglySoldOut { .. } => true,
        })
    }
}

impl Postgres {
    /// Whether an answer is on record.
    fn holds(&self, told: &Told) -> bool {
        match told {
            Told::Collected { wish, attempt } => {
                let (buyer, item) = WISHES[*wish];
                let row = self.rows[buyer].as_ref();
                let open = row.filter(|row| row.open == Some(*attempt)).map_or(0, |row| row.lines);
                let outcome = self.outcomes.get(attempt);
                has(open | outcome.map_or(0, |outcome| outcome.sold | outcome.failed), item)
            }
            Told::Bought { attempt, outcome } => self.outcomes.get(attempt) == Some(outcome),
            Told::WronglySoldOut { .. } => true,
        }
    }

    /// Pieces, by the outcomes.
    fn owned_by(&self, buyer: usize) -> u32 {
        let own =
            self.outcomes.iter().filter(|(attempt, _)| self.owners.get(*attempt) == Some(&buyer));
        own.map(|(_, outcome)| outcome.sold.count_ones()).sum()
    }
}

fn has(items: Items, item: usize) -> bool {
    items & 1 << item != 0
}
