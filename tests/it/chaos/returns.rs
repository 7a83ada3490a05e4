//! An operator who takes purchases back while buyers buy. Each is asked for until the command says that it is done.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::exchange::Request;
use super::history::{Event, History, Return};
use crate::harness::{Dice, PATIENCE, Program};

/// Pause between two tries, and before the next purchase.
const PAUSE: Duration = Duration::from_millis(100);

/// The operator.
#[derive(Debug)]
pub(crate) struct Operator {
    work: JoinSet<()>,
    /// With the environment of the commands, which a failover changes.
    program: Arc<Mutex<Program>>,
    closing: CancellationToken,
}

impl Operator {
    /// Begins to take purchases back, in an order by the seed.
    pub(crate) fn begin(program: Program, history: &History, seed: u64) -> Self {
        let (closing, program) = (CancellationToken::new(), Arc::new(Mutex::new(program)));
        let mut work = JoinSet::new();
        let (used, history, stop) = (Arc::clone(&program), history.clone(), closing.clone());
        work.spawn(async move {
            let mut dice = Dice::new(seed);
            while !stop.is_cancelled() {
                if let Some(bought) = not_returned(&history, &mut dice) {
                    take_back(Arc::clone(&used), history.clone(), bought).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { work, program, closing }
    }

    /// Uses another environment from now on.
    pub(crate) fn uses(&self, program: Program) {
        *self.program.lock().unwrap() = program;
    }

    /// Finishes the last one.
    pub(crate) async fn leave(self) {
        self.closing.cancel();
        self.work.join_all().await;
    }
}

/// A purchase that sold something and was not asked back yet.
fn not_returned(history: &History, dice: &mut Dice) -> Option<Arc<Event>> {
    let returns = history.returns();
    let is_asked_for = |code: &str| returns.iter().any(|asked| asked.code == code);
    let events = history.so_far();
    let bought: Vec<&Arc<Event>> = events
        .iter()
        .filter(|event| {
            let Request::Purchase { code } = &event.request else { return false };
            let lines = event.response.as_ref().and_then(|response| response.lines.as_ref());
            lines.is_some_and(|lines| !lines.sold.is_empty()) && !is_asked_for(code)
        })
        .collect();
    let place = (!bought.is_empty()).then(|| dice.below(bought.len()))?;
    Some(Arc::clone(bought[place]))
}

/// Takes all of a purchase back. After a failure it is unknown whether it was: the next try says so.
async fn take_back(program: Arc<Mutex<Program>>, history: History, bought: Arc<Event>) {
    let Request::Purchase { code } = &bought.request else { return };
    let lines = bought.response.as_ref().and_then(|response| response.lines.as_ref());
    let number = history.return_begins(Return {
        code: code.clone(),
        buyer: bought.buyer.clone(),
        lines: lines.map(|lines| lines.sold.clone()).unwrap_or_default(),
        sent_at: history.now(),
        ended_at: None,
    });
    let end = Instant::now() + PATIENCE;
    loop {
        let (used, code) = (program.lock().unwrap().clone(), code.clone());
        let cancel = move || used.command(&["purchase", "cancel", &code]).output().unwrap();
        let ran = tokio::task::spawn_blocking(cancel).await.unwrap();
        let complaint = String::from_utf8_lossy(&ran.stderr);
        let was_before = complaint.contains("already cancelled");
        // A failover may have lost the purchase itself.
        let is_lost = complaint.contains("was not purchased");
        match ran.status.code() {
            Some(0) => break,
            Some(1) if was_before || is_lost => break,
            code => assert_eq!(code, Some(2), "{complaint}"),
        }
        assert!(Instant::now() < end, "not taken back in time: {complaint}");
        tokio::time::sleep(PAUSE).await;
    }
    history.return_ended(number);
}
