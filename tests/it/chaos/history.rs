//! What the clients asked and what they were told, and when. Written by the buyers themselves, as it happens.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::manner::Manner;

/// One request with its answer.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Since the history began.
    pub(crate) sent_at: Duration,
    /// When the answer was read, or given up.
    pub(crate) ended_at: Duration,
    /// The instance that was asked.
    pub(crate) instance: usize,
    /// Who asked.
    pub(crate) buyer: String,
    /// What was asked.
    pub(crate) asked: Asked,
    /// What was answered, if anything was.
    pub(crate) told: Option<Told>,
    /// How it was asked.
    pub(crate) manner: Manner,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `POST /checkout`.
    Checkout {
        /// The item.
        item: String,
        /// How many pieces.
        quantity: i64,
    },
    /// `POST /purchase`.
    Purchase {
        /// The code.
        code: String,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// The status.
    pub(crate) status: u16,
    /// The body, as it came.
    pub(crate) body: String,
}

/// What an answer comes to, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 200.
    Acknowledged,
    /// A refusal that the contract knows: nothing is wrong.
    Refused,
    /// 503, or no answer at all: try again.
    Failed,
}

impl Told {
    /// A field of the body; null if there is none.
    pub(crate) fn at(&self, field: &str) -> Value {
        let body: Value = serde_json::from_str(&self.body).unwrap_or(Value::Null);
        body.get(field).cloned().unwrap_or(Value::Null)
    }

    /// The machine's code of a refusal; the checkout's code of an accepted one.
    pub(crate) fn code(&self) -> String {
        self.at("code").as_str().unwrap_or_default().to_owned()
    }

    /// Whether it is the last word on a purchase: the same for ever.
    pub(crate) fn is_outcome(&self) -> bool {
        self.status == 200 || self.at("purchased_items").is_array()
    }
}

impl Event {
    /// What it came to.
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.told {
            Some(told) if told.status == 200 => Verdict::Acknowledged,
            Some(told) if told.status < 500 => Verdict::Refused,
            Some(_) | None => Verdict::Failed,
        }
    }

    fn line(&self) -> Value {
        let asked = match &self.asked {
            Asked::Checkout { item, quantity } => json!({ "item": item, "quantity": quantity }),
            Asked::Purchase { code } => json!({ "code": code }),
        };
        let told = self.told.as_ref().map(|told| json!([told.status, told.body]));
        json!({
            "sent_at": self.sent_at.as_secs_f64(), "ended_at": self.ended_at.as_secs_f64(),
            "instance": self.instance, "buyer": self.buyer, "asked": asked, "told": told,
            "manner": format!("{:?}", self.manner),
        })
    }
}

/// All events so far, for many who write.
#[derive(Debug, Clone)]
pub(crate) struct History {
    began: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl History {
    /// An empty one, which begins now.
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), events: Arc::default() }
    }

    /// The time on its clock.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Writes one down.
    pub(crate) fn note(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    /// All that ended so far.
    pub(crate) fn so_far(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Good answers that came after a time: sold, collected or refused as the contract says.
    pub(crate) fn answered_since(&self, since: Duration) -> usize {
        self.count_since(since, |_| true)
    }

    /// Those of one instance.
    pub(crate) fn good_answers_of(&self, instance: usize, since: Duration) -> usize {
        self.count_since(since, |event| event.instance == instance)
    }

    fn count_since(&self, since: Duration, counts: impl Fn(&Event) -> bool) -> usize {
        let events = self.events.lock().unwrap();
        let late = events.iter().rev().take_while(|event| event.ended_at >= since);
        late.filter(|event| counts(event) && event.verdict() != Verdict::Failed).count()
    }
}

impl fmt::Display for History {
    /// A line of JSON an event.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.so_far().iter().try_for_each(|event| writeln!(f, "{}", event.line()))
    }
}
