//! An HTTP response, parsed where it was received.

use memchr::memmem;

/// Maximum number of headers of a response.
const MAX_HEADERS: usize = 32;

/// A complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: &'a [u8],
    /// Whether it closes the connection.
    pub(crate) closes: bool,
    /// Size of head and body in bytes.
    pub(crate) length: usize,
}

/// These bytes are not a response that this generator can parse.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Answer<'a> {
    /// Parses the response at the beginning of the bytes; `None` while it is incomplete.
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
        // The service sends the length of its responses; other framing is not supported.
        let length = head_length + body_length.ok_or(Malformed)?;
        let body = bytes.get(head_length..length);
        Ok(body.map(|body| Self { status, body, closes, length }))
    }

    /// The value of the first text field `code` in the JSON body: a checkout's code, or an error code.
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
