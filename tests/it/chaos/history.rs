//! The requests of all clients with their responses and times, recorded by the clients as they happen.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::exchange::{Request, Response, Verdict};
use super::manner::Manner;

/// One request with its response.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Since the history began.
    pub(crate) sent_at: Duration,
    /// When the response was read, or the client gave up.
    pub(crate) ended_at: Duration,
    /// The instance.
    pub(crate) instance: usize,
    /// The buyer.
    pub(crate) buyer: String,
    /// The request.
    pub(crate) request: Request,
    /// The response, if there was one.
    pub(crate) response: Option<Response>,
    /// How the client behaved.
    pub(crate) manner: Manner,
}

impl Event {
    /// The kind of its response.
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.response {
            Some(response) if response.status == 200 => Verdict::Acknowledged,
            Some(response) if response.status < 500 => Verdict::Refused,
            Some(_) | None => Verdict::Failed,
        }
    }

    fn line(&self) -> Value {
        let request = match &self.request {
            Request::Checkout { item, quantity } => json!({ "item": item, "quantity": quantity }),
            Request::Purchase { code } => json!({ "code": code }),
        };
        let response =
            self.response.as_ref().map(|response| json!([response.status, response.body]));
        json!({
            "sent_at": self.sent_at.as_secs_f64(), "ended_at": self.ended_at.as_secs_f64(),
            "instance": self.instance, "buyer": self.buyer, "request": request, "response": response,
            "manner": format!("{:?}", self.manner),
        })
    }
}

/// A purchase that an operator takes back.
#[derive(Debug, Clone)]
pub(crate) struct Return {
    /// Its code.
    pub(crate) code: String,
    /// Who had bought it.
    pub(crate) buyer: String,
    /// Items and pieces.
    pub(crate) lines: Vec<(String, i64)>,
    /// Since the history began.
    pub(crate) sent_at: Duration,
    /// When the command had said that it is done.
    pub(crate) ended_at: Option<Duration>,
}

/// All events so far, shared by all clients.
#[derive(Debug, Clone)]
pub(crate) struct History {
    began: Instant,
    events: Arc<Mutex<Vec<Arc<Event>>>>,
    losses: Arc<Mutex<Vec<(Duration, Duration)>>>,
    returns: Arc<Mutex<Vec<Return>>>,
}

impl History {
    /// An empty history that begins now.
    pub(crate) fn begin() -> Self {
        let (began, events) = (Instant::now(), Arc::default());
        Self { began, events, losses: Arc::default(), returns: Arc::default() }
    }

    /// The time since it began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Records an event.
    pub(crate) fn record(&self, event: Event) {
        self.events.lock().unwrap().push(Arc::new(event));
    }

    /// From the first time until now, commits were lost by a failover that may lose them.
    pub(crate) fn lost_since(&self, from: Duration) {
        let now = self.now();
        self.losses.lock().unwrap().push((from, now));
    }

    /// The spans of time whose commits were lost.
    pub(crate) fn losses(&self) -> Vec<(Duration, Duration)> {
        self.losses.lock().unwrap().clone()
    }

    /// Records that a purchase is being taken back. Returns the number of the record.
    pub(crate) fn return_begins(&self, begun: Return) -> usize {
        let mut returns = self.returns.lock().unwrap();
        returns.push(begun);
        returns.len() - 1
    }

    /// Records that it is done.
    pub(crate) fn return_ended(&self, number: usize) {
        let now = self.now();
        self.returns.lock().unwrap()[number].ended_at = Some(now);
    }

    /// What operators take back, or have.
    pub(crate) fn returns(&self) -> Vec<Return> {
        self.returns.lock().unwrap().clone()
    }

    /// All that has happened so far.
    pub(crate) fn told(&self) -> Told {
        Told { events: self.so_far(), losses: self.losses(), returns: self.returns() }
    }

    /// All events that have ended so far.
    pub(crate) fn so_far(&self) -> Vec<Arc<Event>> {
        self.events.lock().unwrap().clone()
    }

    /// Number of good responses since a time: accepted, or refused as the contract allows.
    pub(crate) fn answered_since(&self, since: Duration) -> usize {
        self.count_since(since, |_| true)
    }

    /// The same for one instance.
    pub(crate) fn good_answers_of(&self, instance: usize, since: Duration) -> usize {
        self.count_since(since, |event| event.instance == instance)
    }

    fn count_since(&self, since: Duration, counts: impl Fn(&Event) -> bool) -> usize {
        let events = self.events.lock().unwrap();
        let late = events.iter().rev().take_while(|event| event.ended_at >= since);
        late.filter(|event| counts(event) && event.verdict() != Verdict::Failed).count()
    }
}

/// What the clients know at one moment.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) events: Vec<Arc<Event>>,
    /// The spans of time whose commits were lost.
    pub(crate) losses: Vec<(Duration, Duration)>,
    pub(crate) returns: Vec<Return>,
}

impl fmt::Display for History {
    /// One line of JSON for each event.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.so_far().iter().try_for_each(|event| writeln!(f, "{}", event.line()))
    }
}
