//! A child process, with what it writes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::eventually::eventually;

/// Lines of the log that a failed test prints.
const LINES_SHOWN: usize = 60;

/// A running or ended child. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Its standard output.
    pub(crate) stdout: Output,
    /// Its standard error: the log.
    pub(crate) stderr: Output,
}

/// What a child has written to one of its streams so far.
#[derive(Debug)]
pub(crate) struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Output::of(child.stdout.take().unwrap());
        let stderr = Output::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended. Returns its exit code, `None` when a signal ended it.
    pub(crate) async fn exit(&mut self) -> Option<i32> {
        let status = eventually("the process ends", async || self.child.try_wait().unwrap()).await;
        self.stdout.finish();
        self.stderr.finish();
        status.code()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL also ends a stopped process.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.stderr.lines();
            let shown = lines.len().saturating_sub(LINES_SHOWN);
            eprintln!("--- the last lines of process {}:", self.child.id());
            eprintln!("{}", lines[shown..].join("\n"));
        }
    }
}

impl Output {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                sink.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self { lines, reader: Some(reader) }
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }

    /// The lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The text so far.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// The lines so far, each of them JSON.
    pub(crate) fn records(&self) -> Vec<Value> {
        let lines = self.lines();
        let parsed = lines.iter().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|_| panic!("not a line of JSON: {line}"))
        });
        parsed.collect()
    }
}
