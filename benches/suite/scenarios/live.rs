//! What listeners of a sale cost, and how soon they know.
//!
//! 5,000 connections follow a sale at one instance while a buyer buys ten times a second, so that every tick has an event. Memory is
//! that of the instance before and with its listeners. CPU time is that of the instance, the buyer's requests included. The time from
//! a commit to an event counts from before the purchase was sent, for each listener and each purchase that an event tells first.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::Client;
use crate::environment::Environment;
use crate::generator::tally;
use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::usage::memory;

pub(super) const LIVE: Scenario = Scenario {
    name: "live",
    about: "5,000 listeners of a sale: memory, CPU, from the commit to the event",
    run: play,
};

const LISTENERS: usize = 5_000;
/// Connections that are opened before the next ones.
const AT_A_TIME: usize = 250;
const LENGTH: Duration = Duration::from_secs(20);
/// Time between two purchases: more than one in each tick.
const PAUSE: Duration = Duration::from_millis(100);
/// Maximum time until all listeners have their first event.
const PATIENCE: Duration = Duration::from_mins(1);
const MIB: f64 = 1_048_576.0;
/// Longest latency that is counted exactly, in microseconds.
const LONGEST: u64 = 60_000_000;
/// What stands before the number of sold pieces in an event.
const SOLD: &[u8] = b"\"sold\":";

/// The figures of a run.
struct Run {
    mebibytes: f64,
    cores: f64,
    /// Events for each listener and second.
    events: f64,
    p50: f64,
    p99: f64,
}

/// One listener.
struct Listener {
    stream: TcpStream,
    /// The begin of a line that has not arrived completely.
    rest: Vec<u8>,
    /// Sold pieces in the last event.
    sold: Option<usize>,
}

/// All listeners, on one thread.
struct Listeners {
    poll: Poll,
    all: Vec<Listener>,
    events: u64,
    latencies: Histogram<u64>,
    /// When each purchase was sent; the piece that it sold is its number.
    bought: Vec<Instant>,
    purchases: Option<Receiver<Instant>>,
}

fn play(suite: &mut Suite) -> Outcome<()> {
    let runs = (0..suite.environment.options.runs).map(|_| listened(&suite.environment));
    let runs = runs.collect::<Outcome<Vec<_>>>()?;
    let each = |of: fn(&Run) -> f64| runs.iter().map(of).collect::<Vec<_>>();
    let figures = [
        Figure::new("live", "memory for 5,000 listeners", "MiB", each(|run| run.mebibytes))
            .at_most(100.0, 50.0),
        Figure::new("live", "CPU", "cores", each(|run| run.cores)).at_most(0.5, 0.25),
        Figure::new("live", "commit to event, p50", "ms", each(|run| run.p50)),
        Figure::new("live", "commit to event, p99", "ms", each(|run| run.p99))
            .at_most(400.0, 200.0),
        Figure::new("live", "events a listener", "/s", each(|run| run.events)),
    ];
    for figure in figures {
        suite.report.figure(figure);
    }
    Ok(())
}

fn listened(environment: &Environment) -> Outcome<Run> {
    let stage = Stage::open(environment, Topology::Service(1))?;
    let sale = stage.sale(Terms::PLENTY)?;
    let instance = stage.instances.first().ok_or("a stage without instances")?;
    // What the first requests of an instance allocate is not for listeners.
    buy(&mut Client::connect(instance.http)?, &sale, 0)?;
    let alone = resident(instance)?;
    let mut listeners = Listeners::connect(instance.http, &sale)?;
    let mebibytes = resident(instance)? - alone;

    let stop = Arc::new(AtomicBool::new(false));
    let (sent, purchases) = channel();
    let buyer = buyer(instance.http, sale.clone(), sent, Arc::clone(&stop));
    let length = environment.scaled(LENGTH);
    let (cpu, began) = (stage.processes().cpu()?, Instant::now());
    listeners.listen(length, purchases)?;
    let seconds = began.elapsed().as_secs_f64();
    let used = stage.processes().cpu()?.since(cpu).service;
    stop.store(true, Ordering::Relaxed);
    buyer.join().map_err(|_| "the buyer has panicked")??;
    let p = |part| tally::float(listeners.latencies.value_at_quantile(part)) / 1e3;
    let run = Run {
        mebibytes,
        cores: used.as_secs_f64() / seconds,
        events: tally::float(listeners.events) / seconds / tally::float(LISTENERS.try_into()?),
        p50: p(0.5),
        p99: p(0.99),
    };
    drop(listeners);
    stage.close(&sale)?;
    Ok(run)
}

fn resident(instance: &Instance) -> Outcome<f64> {
    Ok(tally::float(memory(instance.process())?.0) / MIB)
}

/// Buys a piece. Returns when the purchase was sent.
fn buy(client: &mut Client, sale: &str, buyer: usize) -> Outcome<Instant> {
    let checkout = format!("/checkout?user_id=b{buyer}&item_id=1&sale_id={sale}");
    let code = client.post(&checkout)?.expect(200)?.field("code")?;
    let sent = Instant::now();
    client.post(&format!("/purchase?code={code}"))?.expect(200)?;
    Ok(sent)
}

/// Buys again and again, and reports when.
fn buyer(
    address: SocketAddr,
    sale: String,
    sent: Sender<Instant>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Result<(), String>> {
    std::thread::spawn(move || {
        let work = || -> Outcome<()> {
            let mut client = Client::connect(address)?;
            for buyer in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                sent.send(buy(&mut client, &sale, buyer)?)?;
                std::thread::sleep(PAUSE);
            }
            Ok(())
        };
        work().map_err(|error| error.to_string())
    })
}

impl Listeners {
    /// Connects all of them, and waits until each has its first event.
    fn connect(address: SocketAddr, sale: &str) -> Outcome<Self> {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3)?;
        let mut listeners = Self {
            poll: Poll::new()?,
            all: Vec::with_capacity(LISTENERS),
            events: 0,
            latencies,
            bought: Vec::new(),
            purchases: None,
        };
        let request = format!("GET /v2/sales/{sale}/events HTTP/1.1\r\nHost: bench\r\n\r\n");
        let deadline = Instant::now() + PATIENCE;
        while listeners.all.len() < LISTENERS {
            for _ in 0..AT_A_TIME.min(LISTENERS - listeners.all.len()) {
                listeners.add(address, &request)?;
            }
            while listeners.all.iter().any(|listener| listener.sold.is_none()) {
                listeners.turn(Duration::from_millis(100))?;
                if Instant::now() > deadline {
                    return Err("not every listener has got an event".into());
                }
            }
        }
        listeners.events = 0;
        Ok(listeners)
    }

    fn add(&mut self, address: SocketAddr, request: &str) -> Outcome<()> {
        let mut blocking = std::net::TcpStream::connect(address)?;
        blocking.write_all(request.as_bytes())?;
        blocking.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(blocking);
        let token = Token(self.all.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
        self.all.push(Listener { stream, rest: Vec::new(), sold: None });
        Ok(())
    }

    /// Listens for this long.
    fn listen(&mut self, length: Duration, purchases: Receiver<Instant>) -> Outcome<()> {
        // The piece that was sold before.
        self.bought.push(Instant::now());
        self.purchases = Some(purchases);
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.turn(Duration::from_millis(5))?;
        }
        if self.latencies.is_empty() { Err("no event tells of a purchase".into()) } else { Ok(()) }
    }

    fn turn(&mut self, timeout: Duration) -> Outcome<()> {
        let mut events = Events::with_capacity(1_024);
        if let Err(error) = self.poll.poll(&mut events, Some(timeout))
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        for event in &events {
            let listener = self.all.get_mut(event.token().0).ok_or("an unknown listener")?;
            let before = listener.sold;
            let count = listener.read()?;
            self.events += count;
            let (Some(before), Some(now)) = (before, listener.sold) else { continue };
            let arrived = Instant::now();
            self.bought.extend(self.purchases.iter().flat_map(Receiver::try_iter));
            for sent in self.bought.iter().take(now).skip(before) {
                let waited = arrived.duration_since(*sent).as_micros();
                self.latencies.saturating_record(u64::try_from(waited)?.max(1));
            }
        }
        Ok(())
    }
}

impl Listener {
    /// Reads what has arrived. Returns the number of events.
    fn read(&mut self) -> Outcome<u64> {
        let mut chunk = [0; 4_096];
        let mut events = 0;
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("a stream has ended".into()),
                Ok(bytes) => self.rest.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            if let Some(sold) = sold_in(&self.rest[..end]) {
                self.sold = Some(sold);
                events += 1;
            }
            self.rest.drain(..=end);
        }
        Ok(events)
    }
}

/// The number of sold pieces in a line with data.
fn sold_in(line: &[u8]) -> Option<usize> {
    let at = line.windows(SOLD.len()).position(|bytes| bytes == SOLD)?;
    let digits = line[at + SOLD.len()..].split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
