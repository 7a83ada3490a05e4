//! Front ends that read one list again and again.

use std::io::Write;

use crate::generator::{Answer, Class, Kind, Traffic};

/// Readers of a list.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    path: String,
}

impl Readers {
    /// Reads the list at this path.
    pub(crate) fn of(path: &str) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Traffic for Readers {
    fn ask(&mut self, _connection: usize, request: &mut Vec<u8>) -> Option<Kind> {
        // Writing into a vector cannot fail.
        let _ = write!(request, "GET {} HTTP/1.1\r\nHost: bench\r\n\r\n", self.path);
        Some(Kind::List)
    }

    fn take(&mut self, _connection: usize, answer: &Answer<'_>) -> Class {
        Class::of(answer)
    }

    fn lose(&mut self, _connection: usize) {}
}
