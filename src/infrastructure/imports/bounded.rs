//! Input whose records are bounded: a quote that is never closed must not read a whole file into memory.

use std::io::{self, Read};

/// Longest record, in bytes: three times that of the longest item.
pub(super) const MAX_RECORD_BYTES: usize = 65_536;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16_384;

/// Counts the bytes of the current record of a CSV, and leaves out the carriage return before a line feed: the parser ends a record
/// at the former and counts its line only at the latter, so each record would have the number of the line before. The last line gets its line feed.
pub(super) struct BoundedRecords {
    input: Box<dyn Read + Send>,
    line: u64,
    record_bytes: usize,
    is_quoted: bool,
    /// The last byte was a carriage return, which is not passed on yet.
    is_held: bool,
    chunk: Vec<u8>,
    /// What of the chunk was passed on.
    passed: usize,
}

impl BoundedRecords {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        Self {
            input,
            line: 1,
            record_bytes: 0,
            is_quoted: false,
            is_held: false,
            chunk: Vec::new(),
            passed: 0,
        }
    }
}

impl BoundedRecords {
    /// Reads the next chunk; it is empty at the end.
    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; CHUNK_BYTES];
        (self.passed, self.chunk) = (0, Vec::new());
        while self.chunk.is_empty() {
            let count = self.input.read(&mut bytes)?;
            if count == 0 {
                if self.is_quoted {
                    return Err(invalid("the file ends inside of quotes: is it complete?"));
                }
                if std::mem::take(&mut self.record_bytes) > 0 {
                    self.chunk.push(b'\n');
                }
                return Ok(());
            }
            for byte in &bytes[..count] {
                self.take(*byte)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, byte: u8) -> io::Result<()> {
        if std::mem::take(&mut self.is_held) && byte != b'\n' {
            self.chunk.push(b'\r');
        }
        self.record_bytes += 1;
        match byte {
            b'\r' => {
                self.is_held = true;
                return Ok(());
            }
            b'"' => self.is_quoted = !self.is_quoted,
            b'\n' => {
                self.line += 1;
                if !self.is_quoted {
                    self.record_bytes = 0;
                }
            }
            _ => {}
        }
        if self.record_bytes > MAX_RECORD_BYTES {
            let line = self.line;
            return Err(invalid(&format!(
                "line {line}: a row is longer than {MAX_RECORD_BYTES} bytes: is a quote missing?"
            )));
        }
        self.chunk.push(byte);
        Ok(())
    }
}

impl Read for BoundedRecords {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.passed == self.chunk.len() {
            self.fill()?;
        }
        let left = &self.chunk[self.passed..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.passed += count;
        Ok(count)
    }
}

pub(super) fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
