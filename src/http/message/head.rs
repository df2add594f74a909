//! Request heads: parsed, and held to the letter of RFC 9112. Pure functions on bytes.

use std::fmt;
use std::ops::Range;

use super::chunked::BodyLength;
use super::fields;
use super::scan::Scan;
use super::target;
use crate::limits;
use crate::model::{Method, Refusal};

/// The version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// A request head that holds to the rules; texts are kept as places in its bytes.
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

    /// Finds and parses a head at the start of `input`; `None` if its end has not come yet. With it comes its length.
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
        // Only an absolute address without a path (`http://host`) has none; it means the root (RFC 9110 section 4.2.3).
        Some(self.text(self.path)).filter(|path| !path.is_empty()).unwrap_or("/")
    }

    /// What follows the first `?` of the target.
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
        let named = move |field: &&(Span, Span)| self.slice(field.0).eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).filter_map(|field| std::str::from_utf8(self.slice(field.1)).ok())
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
        // Targets and hosts are ASCII: `target.rs` and `fields.rs` saw to that.
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
    /// The place of `part`, a slice of `whole`; the empty place if it is none.
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
mod tests {
    use super::*;

    /// The answer to a head, asked for whole; and the same must come when it arrives in two pieces.
    fn read(input: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
        let whole = Head::read(input);
        for at in 0..input.len() {
            let mut scan = Scan::default();
            let found = match scan.advance(&input[..at]) {
                Ok(None) => scan.advance(input),
                early => early,
            };
            let pieces = found
                .and_then(|end| end.map(|end| Ok((Head::parse(input[..end].to_vec())?, end))).transpose());
            assert_eq!(format!("{pieces:?}"), format!("{whole:?}"), "split at {at}");
        }
        whole
    }

    fn head(text: &str) -> Head {
        let (head, length) = read(text.as_bytes()).unwrap().expect("complete");
        assert_eq!(length, text.len());
        head
    }

    fn refused(text: &[u8]) -> Refusal {
        match read(text) {
            Err(refusal) => refusal,
            Ok(found) => panic!("{:?} gave {found:?}", String::from_utf8_lossy(text)),
        }
    }

    #[test]
    fn a_plain_request_is_understood() {
        let head =
            head("GET /a%20b?x=1&y=?2 HTTP/1.1\r\nHost: example.com:81\r\nX-Two:  b \t\r\nx-two: c\r\n\r\n");
        assert_eq!((head.method(), head.path(), head.query()), (Method::Get, "/a%20b", Some("x=1&y=?2")));
        assert_eq!((head.host(), head.version()), (Some("example.com:81"), Version::Http11));
        assert_eq!((head.field("X-TWO"), head.field("x-three")), (Some("b"), None));
        assert_eq!(head.fields("x-two").collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(
            (head.length(), head.keep_alive(), head.expects_continue()),
            (BodyLength::None, true, false)
        );
    }

    #[test]
    fn targets_have_four_forms_and_we_know_three() {
        let of = |target: &str| head(&format!("OPTIONS {target} HTTP/1.1\r\nHost: field\r\n\r\n"));
        let parts = |target: &str| {
            let head = of(target);
            (head.host().map(str::to_owned), head.path().to_owned(), head.query().map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parts("*"), (some("field"), "*".to_owned(), None));
        assert_eq!(parts("/?"), (some("field"), "/".to_owned(), some("")));
        assert_eq!(parts("http://h.example"), (some("h.example"), "/".to_owned(), None));
        assert_eq!(parts("HTTPS://h:8/p?q"), (some("h:8"), "/p".to_owned(), some("q")));
        assert_eq!(parts("http://[::1]:8?q"), (some("[::1]:8"), "/".to_owned(), some("q")));
        for target in [
            "example.com:80",
            "x",
            "http://",
            "http:///p",
            "http://u@h/",
            "ftp://h/",
            "/a#b",
            "*x",
            "/\u{e9}",
        ] {
            let text = format!("OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(refused(text.as_bytes()), Refusal::MalformedRequest, "{target}");
        }
        assert_eq!(refused(b"GET * HTTP/1.1\r\nHost: h\r\n\r\n"), Refusal::MalformedRequest);
    }

    #[test]
    fn malformed_heads_are_refused() {
        for text in [
            &b"GET / HTTP/1.1\nHost: h\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: h\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\n\n",
            b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x0bb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\n\tfolded\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\n: nameless\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX(y): z\r\n\r\n",
            b"G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / a HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTQ/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/11\r\nHost: h\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
        ] {
            assert_eq!(refused(text), Refusal::MalformedRequest, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn other_versions_are_named_as_such() {
        for text in ["PRI * HTTP/2.0\r\n\r\n", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", "GET / HTTP/0.9\r\n\r\n"]
        {
            assert_eq!(refused(text.as_bytes()), Refusal::VersionNotSupported, "{text}");
        }
    }

    #[test]
    fn empty_lines_in_front_are_skipped_and_a_part_is_no_head() {
        head("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(read(b"\r\n\r\n").unwrap().is_none());
        assert!(read(b"GET / HTTP/1.1\r\nHost: h\r\n\r").unwrap().is_none());
        assert_eq!(Head::read(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET ").unwrap().expect("complete").1, 27);
    }

    #[test]
    fn long_heads_are_refused_for_what_is_long() {
        let long = "a".repeat(limits::HEAD_BYTES);
        let line = format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(Head::read(line.as_bytes()).unwrap_err(), Refusal::UriTooLong);
        let field = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n");
        assert_eq!(Head::read(field.as_bytes()).unwrap_err(), Refusal::HeadTooLarge);
        let fields = |count| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert!(Head::read(fields(limits::HEAD_FIELDS - 1).as_bytes()).unwrap().is_some());
        assert_eq!(Head::read(fields(limits::HEAD_FIELDS).as_bytes()).unwrap_err(), Refusal::HeadTooLarge);
    }

    #[test]
    fn values_that_are_not_utf_8_are_there_only_as_bytes() {
        let (head, _) =
            read(b"GET / HTTP/1.1\r\nHost: h\r\nX: \xff\r\nY: \xc3\xa9\r\n\r\n").unwrap().expect("complete");
        assert_eq!((head.field("x"), head.field("y")), (None, Some("\u{e9}")));
    }

    #[test]
    fn a_head_shows_no_secret() {
        let head = head("GET /p?auth=secret HTTP/1.1\r\nHost: h\r\nAuthorization: Basic secret\r\n\r\n");
        assert!(!format!("{head:?}").contains("secret"));
    }

    #[test]
    fn any_bytes_are_parsed_without_a_panic() {
        let mut bytes = b"POST http://h/p?q HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n".to_vec();
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let old = std::mem::replace(&mut bytes[at], value);
                let _ = Head::read(&bytes);
                let _ = Head::parse(bytes.clone());
                bytes[at] = old;
            }
        }
    }
}
