//! An HTTP answer, read where it was received.

use memchr::memmem;

/// Most header lines of an answer; the service sends six.
const MAX_HEADERS: usize = 32;

/// A whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: &'a [u8],
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
    /// Bytes of head and body.
    pub(crate) length: usize,
}

/// These bytes are no answer that this generator understands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Answer<'a> {
    /// Reads the answer at the beginning of the bytes; `None` while some of it is missing.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let head_length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed),
        };
        let status = head.code.ok_or(Malformed)?;
        let (mut body_length, mut closes) = (None, false);
        for header in head.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(header.value).map_err(|_| Malformed)?;
                body_length = Some(text.trim().parse::<usize>().map_err(|_| Malformed)?);
            } else if header.name.eq_ignore_ascii_case("connection") {
                closes = header.value.eq_ignore_ascii_case(b"close");
            }
        }
        // The service says how long its answers are; anything else would have to be understood first.
        let length = head_length + body_length.ok_or(Malformed)?;
        let body = bytes.get(head_length..length);
        Ok(body.map(|body| Self { status, body, closes, length }))
    }

    /// The value of the first text field `code` in the JSON body: a checkout's code, or what a refusal is called.
    pub(crate) fn code(&self) -> Option<&'a [u8]> {
        const FIELD: &[u8] = br#""code":""#;
        let start = memmem::find(self.body, FIELD)? + FIELD.len();
        let rest = self.body.get(start..)?;
        rest.get(..memchr::memchr(b'"', rest)?)
    }

    /// Whether it is this refusal.
    pub(crate) fn is(&self, status: u16, code: &str) -> bool {
        self.status == status && self.code() == Some(code.as_bytes())
    }
}
