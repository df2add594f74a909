//! Request heads, parsed strictly by RFC 9112. Pure functions on bytes.

use std::fmt;
use std::ops::Range;

use super::chunked::BodyLength;
use super::fields;
use super::scan::Scan;
use super::target;
use super::version::Version;
use crate::limits;
use crate::model::{Method, Refusal};

/// A valid request head; its texts are kept as places in its bytes.
pub struct Head {
    bytes: Vec<u8>,
    method: Method,
    path: Span,
    query: Option<Span>,
    host: Option<Span>,
    fields: Vec<(Span, Span)>,
    version: Version,
    length: BodyLength,
    keep_alive: bool,
    expects_continue: bool,
}

/// A place in a head; heads are shorter than 64 KiB.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u16,
    end: u16,
}

impl Head {
    /// Parses a head that [`Scan`] found: all of `bytes`, the empty line included.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; limits::HEAD_FIELDS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&bytes) {
            Ok(httparse::Status::Complete(end)) if end == bytes.len() => {}
            Ok(_) => return Err(Refusal::MalformedRequest),
            Err(error) => return Err(refusal_of(error, &bytes)),
        }
        let name = request.method.unwrap_or_default();
        let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let target = target::parse(name, request.path.unwrap_or_default())?;
        if request.headers.iter().any(|field| fields::is_framing(field.name) && is_tabbed(field, &bytes)) {
            return Err(Refusal::AmbiguousFraming);
        }
        let fields = fields::digest(request.headers, version)?;
        let span = |text: &[u8]| Span::of(text, &bytes);
        let parsed = Self {
            method: Method::from_name(name),
            path: span(target.path.as_bytes()),
            query: target.query.map(|query| span(query.as_bytes())),
            host: target.authority.or(fields.host).map(|host| span(host.as_bytes())),
            fields: request
                .headers
                .iter()
                .map(|f| (span(f.name.as_bytes()), span(f.value.trim_ascii())))
                .collect(),
            version,
            length: fields.length,
            keep_alive: fields.keep_alive,
            expects_continue: fields.expects_continue,
            bytes: Vec::new(),
        };
        Ok(Self { bytes, ..parsed })
    }

    /// Finds and parses a head at the start of `input`, and returns it with its length; `None` if its end has not come yet.
    pub fn read(input: &[u8]) -> Result<Option<(Self, usize)>, Refusal> {
        let Some(end) = Scan::default().advance(input)? else { return Ok(None) };
        Ok(Some((Self::parse(input[..end].to_vec())?, end)))
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The path as it was sent, still percent-encoded; `*` for the whole server.
    pub fn path(&self) -> &str {
        // Only an absolute address without a path (`http://host`) is empty here; it means the root (RFC 9110 section 4.2.3).
        Some(self.text(self.path)).filter(|path| !path.is_empty()).unwrap_or("/")
    }

    /// The text behind the first `?` of the target.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|query| self.text(query))
    }

    /// `host[:port]`, checked: from an absolute target, else from the field Host.
    pub fn host(&self) -> Option<&str> {
        self.host.map(|host| self.text(host))
    }

    /// The first field of this name, in any case; a value that is not UTF-8 is treated as absent.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).next()
    }

    /// All fields of this name, in their order.
    pub fn fields<'a>(&'a self, name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.raw_fields(name).filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The bytes of all fields of this name, in their order.
    pub fn raw_fields<'a>(&'a self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let named = move |field: &&(Span, Span)| self.slice(field.0).eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).map(|field| self.slice(field.1))
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How the body is framed.
    pub fn length(&self) -> BodyLength {
        self.length
    }

    /// Whether the client wants the connection kept.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for `100 Continue` before it sends its body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[Range::from(span)]
    }

    fn text(&self, span: Span) -> &str {
        // `target.rs` and `fields.rs` have checked that targets and hosts are ASCII.
        std::str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}

/// Without query and field values: they hold credentials.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?} {:?}", self.method.name(), self.path(), self.version, self.length)
    }
}

impl Span {
    /// The place of `part`, a slice of `whole`; the empty place if `part` is not within `whole`.
    fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        let place = |at: usize| u16::try_from(at).ok().filter(|_| at <= whole.len());
        match (place(start), place(start.saturating_add(part.len()))) {
            (Some(start), Some(end)) => Self { start, end },
            _ => Self::default(),
        }
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.start.into()..span.end.into()
    }
}

/// Whether there is a tab behind a field's name: RFC 9110 section 5.6.3 allows it around a value, but there are front
/// servers that take it for a part of the value, and nginx refuses it.
fn is_tabbed(field: &httparse::Header<'_>, head: &[u8]) -> bool {
    let rest = head.get(usize::from(Span::of(field.name.as_bytes(), head).end)..).unwrap_or_default();
    rest.iter().take_while(|byte| **byte != b'\r').any(|byte| *byte == b'\t')
}

fn refusal_of(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::HeadTooLarge,
        httparse::Error::Version if names_a_version(bytes) => Refusal::VersionNotSupported,
        _ => Refusal::MalformedRequest,
    }
}

/// Whether the request line has three words of which the last is `HTTP/digit.digit` (RFC 9112 section 2.3).
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_start().split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let known = |word: Option<&[u8]>| word.is_some_and(|word| !word.is_empty());
    let numbered = matches!(version, Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit());
    known(method) && known(target) && numbered && words.next().is_none()
}

#[cfg(test)]
mod tests;
