//! The benchmarks' load generator: what it parses, counts and drops. Figures depend on it, so it is tested like the service.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[expect(dead_code, unused_imports, reason = "the suite uses all of it, these tests a part")]
#[path = "../benches/suite/generator/mod.rs"]
mod generator;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use generator::answer::{Answer, Malformed};
use generator::open::{Arrivals, PATIENCE, Queue};
use generator::{Class, Kind, Plan, Tally, Traffic, closed, open};

const SOLD_OUT: &str = "HTTP/1.1 409 Conflict\r\ncontent-type: application/json\r\nContent-Length: 33\r\n\r\n\
                        {\"message\":\"m\",\"code\":\"sold_out\"}";

#[test]
fn an_answer_is_read_once_all_of_it_is_there() {
    let bytes = SOLD_OUT.as_bytes();

    for length in 0..bytes.len() {
        assert_eq!(Answer::read(&bytes[..length]), Ok(None), "{length} bytes");
    }

    let answer = Answer::read(bytes).unwrap().unwrap();
    assert_eq!((answer.status, answer.length), (409, bytes.len()));
    assert!(answer.is(409, "sold_out"));
}

#[test]
fn what_follows_an_answer_does_not_belong_to_it() {
    let bytes = format!("{SOLD_OUT}HTTP/1.1 200 OK\r\n");

    let answer = Answer::read(bytes.as_bytes()).unwrap().unwrap();

    assert_eq!(answer.length, SOLD_OUT.len());
    assert_eq!(answer.body, b"{\"message\":\"m\",\"code\":\"sold_out\"}");
}

#[test]
fn an_answer_of_unknown_length_is_malformed() {
    assert_eq!(Answer::read(b"HTTP/1.1 200 OK\r\n\r\n"), Err(Malformed));
}

#[test]
fn an_answer_that_closes_the_connection_says_so() {
    let bytes =
        b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    assert!(Answer::read(bytes).unwrap().unwrap().closes);
}

#[test]
fn classes_are_counted_and_measured_apart() {
    let mut tally = Tally::new().unwrap();
    let fast = Duration::from_millis(1);

    tally.record(Kind::Checkout, Class::Accepted, fast, Duration::ZERO);
    tally.record(Kind::Checkout, Class::Refused, fast, Duration::ZERO);
    tally.record(Kind::Purchase, Class::Accepted, Duration::from_millis(100), Duration::ZERO);
    tally.record(Kind::Purchase, Class::Shed, Duration::from_secs(1), Duration::ZERO);
    tally.fail(Kind::Purchase, || "500".to_owned());

    let counts = Class::ALL.map(|class| tally.count(class));
    assert_eq!(counts, [2, 1, 1, 1]);
    assert_eq!(tally.requests(), 5);
    assert!(tally.served_of(Kind::Checkout).max < 1.1);
    assert!((tally.served().max - 100.0).abs() < 1.0, "{:?}", tally.served());
    assert!(tally.shed().p50 > 990.0);
    assert_eq!(tally.examples, ["500"]);
}

#[test]
fn threads_are_added_up() {
    let mut one = Tally::new().unwrap();
    let mut other = Tally::new().unwrap();
    let second = Duration::from_secs(1);
    one.record(Kind::Checkout, Class::Accepted, second, Duration::ZERO);
    other.record(Kind::Checkout, Class::Accepted, second, second);
    other.unsent = 3;

    one.absorb(&other).unwrap();

    assert_eq!((one.count(Class::Accepted), one.unsent), (2, 3));
    assert_eq!(one.accepted_by_slice().iter().sum::<u64>(), 2);
    assert_eq!(one.accepted_by_slice().len(), 11);
}

#[test]
fn arrivals_come_at_their_rate_and_the_same_ones_each_time() {
    let start = Instant::now();
    let second = start + Duration::from_secs(1);
    let arrive = || {
        let mut queue = Queue::default();
        Arrivals::new(start, 1_000.0, 7).arrive(second, second, &mut queue);
        let mut due = Vec::new();
        while let Some(moment) = queue.take(start, |_| panic!("nothing is late")) {
            due.push(moment);
        }
        due
    };

    let due = arrive();

    assert_eq!(due, arrive());
    assert!((850..1_150).contains(&due.len()), "{}", due.len());
    assert!(due.is_sorted());
}

#[test]
fn an_arrival_that_waited_too_long_is_unsent_and_the_next_one_is_sent() {
    let start = Instant::now();
    let mut queue = Queue::default();
    Arrivals::new(start, 20.0, 1).arrive(start + PATIENCE * 9, start + PATIENCE * 9, &mut queue);
    let now = start + PATIENCE * 5;

    let mut unsent = Vec::new();
    let next = queue.take(now, |due| unsent.push(due)).unwrap();

    assert!(now.saturating_duration_since(next) <= PATIENCE);
    assert!(!unsent.is_empty());
    assert!(unsent.iter().all(|due| now.duration_since(*due) > PATIENCE));
}

/// Sends the same request this many times.
struct Requests(u32);

impl Traffic for Requests {
    fn ask(&mut self, _connection: usize, request: &mut Vec<u8>) -> Option<Kind> {
        self.0 = self.0.checked_sub(1)?;
        request.extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
        Some(Kind::Checkout)
    }

    fn take(&mut self, _connection: usize, answer: &Answer<'_>) -> Class {
        Class::expecting(answer, 409, "sold_out")
    }

    fn lose(&mut self, _connection: usize) {}
}

/// Answers every request on one connection after a pause, in two parts; ends with its client.
fn server(pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 64];
        while let Ok(1..) = stream.read(&mut request) {
            thread::sleep(pause);
            let (head, body) = SOLD_OUT.as_bytes().split_at(30);
            stream.write_all(head).unwrap();
            stream.flush().unwrap();
            if stream.write_all(body).is_err() {
                break;
            }
        }
    });
    address
}

fn plan(target: SocketAddr, seconds: u64) -> Plan {
    let measured = Duration::from_secs(seconds);
    Plan { targets: vec![target], connections: 1, warm_up: Duration::ZERO, measured }
}

#[test]
fn a_closed_loop_ends_with_its_traffic_and_has_every_answer() {
    let plan = plan(server(Duration::ZERO), 1);

    let load = closed::run(&plan, vec![Box::new(Requests(20))], &|_| {}).unwrap();

    assert_eq!((load.tally.count(Class::Refused), load.tally.requests()), (20, 20));
    assert_eq!(load.reopened, 0);
}

#[test]
fn an_open_loop_counts_the_time_that_requests_wait_for_a_connection() {
    let pause = PATIENCE / 2;
    let plan = plan(server(pause), 1);

    // One connection serves at most 20 requests a second, and 200 arrive.
    let load = open::run(&plan, &mut Requests(u32::MAX), (200.0, 3), &|_| {}).unwrap();

    let refused = load.tally.count(Class::Refused);
    assert!((1..=25).contains(&refused), "{refused}");
    assert!(load.tally.unsent > 100, "{}", load.tally.unsent);
    // A request waits for a connection for nearly as long as it may, and then for the response.
    assert!(load.tally.served().p99 > 100.0, "{:?}", load.tally.served());
    assert_eq!(load.tally.count(Class::Failed), 0);
}

#[test]
fn an_open_loop_sends_what_is_due_while_there_are_no_responses() {
    let plan = plan(server(Duration::ZERO), 3);

    // Seldom enough that every response is there long before the next arrival; of 60, a busy machine may miss most.
    let load = open::run(&plan, &mut Requests(u32::MAX), (20.0, 3), &|_| {}).unwrap();

    let refused = load.tally.count(Class::Refused);
    assert!((5..=120).contains(&refused), "{refused}, and {} unsent", load.tally.unsent);
}
