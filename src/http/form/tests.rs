use super::*;

const MULTIPART: &str = "multipart/form-data; boundary=B";

/// The maximum of bytes of each kind of text, and the refusal of a longer one.
pub(super) const TEXT_LIMITS: [(&str, usize, Refusal); 4] = [
    ("title", limits::TITLE_BYTES, Refusal::TextTooLong),
    ("Description", limits::DESCRIPTION_BYTES, Refusal::TextTooLong),
    ("filename", limits::FIELD_BYTES, Refusal::FieldTooLong),
    ("other", limits::FIELD_BYTES, Refusal::FieldTooLong),
];

/// A body that comes in pieces, and notes whether it was read to its end.
pub(super) struct Pieces<'a> {
    rest: &'a [u8],
    next: usize,
    then: usize,
    ended: bool,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(body: &'a [u8], first: usize, then: usize) -> Self {
        Self { rest: body, next: first, then, ended: false }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.len().min(self.next).min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        self.next = self.then;
        self.ended |= count == 0;
        Ok(count)
    }
}

pub(super) type Reading = Result<(Form, Vec<u8>), Refusal>;

/// Reads a body that comes in pieces of these sizes.
pub(super) fn read_pieces(content_type: &str, body: &[u8], first: usize, then: usize) -> Reading {
    let mut pieces = Pieces::new(body, first, then);
    let mut sink = Vec::new();
    match read(Some(content_type), &mut pieces, &mut sink) {
        Ok(form) => {
            assert!(pieces.ended, "the body was not read to its end");
            assert_eq!(form.data().map_or(0, |data| data.bytes), sink.len() as u64);
            Ok((form, sink))
        }
        Err(Failure::Refused(refusal)) => Err(refusal),
        Err(failure) => panic!("{failure}"),
    }
}

/// Reads a body whole, in small pieces of every size, and cut in two at every byte: always alike.
pub(super) fn read_every_way(content_type: &str, body: &[u8]) -> Reading {
    let whole = read_pieces(content_type, body, usize::MAX, usize::MAX);
    for piece in 1..=7 {
        assert_eq!(read_pieces(content_type, body, piece, piece), whole, "in pieces of {piece}");
    }
    for cut in 1..body.len() {
        assert_eq!(read_pieces(content_type, body, cut, usize::MAX), whole, "cut at {cut}");
    }
    whole
}

fn refusal(content_type: Option<&str>, body: &[u8]) -> Option<Refusal> {
    match read(content_type, &mut &*body, &mut io::sink()) {
        Err(Failure::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}

#[test]
fn the_content_type_selects_the_encoding() {
    let long = "b".repeat(limits::BOUNDARY_BYTES);
    for (content_type, boundary) in [
        ("multipart/form-data; boundary=B", "B"),
        ("MULTIPART/Form-Data;BOUNDARY=\"a b;c\"", "a b;c"),
        ("multipart/form-data; charset=utf-8; boundary=----WebKit+'()/:?=", "----WebKit+'()/:?="),
        (&format!("multipart/form-data; boundary={long}"), &long),
    ] {
        assert_eq!(Encoding::of(Some(content_type)), Ok(Encoding::Multipart(boundary.to_owned())));
    }
    for content_type in ["", " ", "Application/X-WWW-Form-URLEncoded", "application/x-www-form-urlencoded;x"]
    {
        assert_eq!(Encoding::of(Some(content_type)), Ok(Encoding::Url), "{content_type}");
    }
    for content_type in
        ["multipart/mixed; boundary=B", "application/json", "text/plain", "multipart/form-datax", "image/png"]
    {
        assert_eq!(Encoding::of(Some(content_type)), Err(Refusal::UnsupportedMediaType), "{content_type}");
    }
    for parameters in [
        "",
        "boundary",
        "boundary=",
        "boundary=\"\"",
        "boundary=\"a",
        "boundary=\"a \"",
        "boundary=é",
        "boundary=a\tb",
    ] {
        let content_type = format!("multipart/form-data; {parameters}");
        assert_eq!(Encoding::of(Some(&content_type)), Err(Refusal::BadForm), "{parameters}");
    }
    let content_type = format!("multipart/form-data; boundary={long}b");
    assert_eq!(Encoding::of(Some(&content_type)), Err(Refusal::BadForm));
}

#[test]
fn a_wrong_type_is_refused_unread() {
    struct Unreadable;
    impl Read for Unreadable {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("the body was read");
        }
    }
    for content_type in ["text/plain", "multipart/form-data"] {
        assert!(read(Some(content_type), &mut Unreadable, &mut io::sink()).is_err());
    }
}

#[test]
fn an_empty_body_is_refused() {
    for content_type in [None, Some(""), Some("application/x-www-form-urlencoded"), Some(MULTIPART)] {
        assert_eq!(refusal(content_type, b""), Some(Refusal::EmptyBody));
    }
    assert_eq!(refusal(None, b"a=b"), None);
}

#[test]
fn failures_say_which_side_failed() {
    struct Failing(fn() -> io::Error);
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err((self.0)())
        }
    }
    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err((self.0)())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let cut: fn() -> io::Error = || Refusal::BodyCut.into();
    let broken: fn() -> io::Error = || io::Error::other("broken");
    let body = b"data=AAAA";
    let from = |error| read(None, &mut Failing(error), &mut io::sink());
    let to = |error| read(None, &mut &body[..], &mut Failing(error));
    assert!(matches!(from(cut), Err(Failure::Refused(Refusal::BodyCut))));
    assert!(matches!(to(cut), Err(Failure::Refused(Refusal::BodyCut))));
    assert!(matches!(from(broken), Err(Failure::Body(_))));
    assert!(matches!(to(broken), Err(Failure::Sink(_))));
}

#[test]
fn both_encodings_give_the_same_form() {
    let multipart = "--B\r\nContent-Disposition: form-data; name=Title\r\n\r\né 1+1\r\n\
        --B\r\nContent-Disposition: form-data; name=data\r\n\r\nbytes\r\n--B--\r\n";
    let url = "Title=%C3%A9+1%2B1&data=Ynl0ZXM";
    let first = read_every_way(MULTIPART, multipart.as_bytes());
    assert_eq!(first, read_every_way("", url.as_bytes()));
    let (form, data) = first.unwrap();
    assert_eq!((form.text("title"), data.as_slice()), (Some("é 1+1"), &b"bytes"[..]));
    assert_eq!(form.text("data"), None);
    assert_eq!(form.text("description"), None);
}

/// Bodies changed at random neither panic nor depend on how they are cut.
#[test]
fn mutated_bodies_are_read_or_refused() {
    let seeds: [(&str, &[u8]); 2] = [
        (
            MULTIPART,
            b"x\r\n--B \r\nContent-Disposition: form-data; filename*=UTF-8''%C3%A9; name=\"data\"; filename=\"a\\\"\"\
            \r\nContent-Type: image/png\r\n\r\n\r\n--BX\r\n--\r\n--B\r\ncontent-disposition:form-data;name=t\r\n\r\n\xc3\xa9\r\n\
            --B--\r\nend",
        ),
        ("", b"title=a%20+b&data=+_/-%2B%3D%0D%0AAA==&&x&title=%C3%A9&filename=.."),
    ];
    let mut random = crate::testing::Random::new(1);
    let mut below = |limit| random.below(limit);
    let mut accepted = 0;
    for round in 0..100_000 {
        let (content_type, seed) = seeds[round % seeds.len()];
        let mut body = seed.to_vec();
        for _ in 0..=below(4) {
            let (at, other) = (below(body.len()), below(body.len()));
            match below(5) {
                0 => body[at] = b"\r\n-B%=&;\"\\ \0\xff"[below(13)],
                1 => body.truncate(at.max(1)),
                2 => drop(body.drain(at.min(other)..at)),
                3 => body.insert(at, b"\r\n-B%=&;\"\\ \0\xff"[below(13)]),
                _ => body.swap(at, other),
            }
            if body.is_empty() {
                body.push(b'-');
            }
        }
        let whole = read_pieces(content_type, &body, usize::MAX, usize::MAX);
        let cut = read_pieces(content_type, &body, 1 + below(body.len()), 1 + below(9));
        // Of two faults, the one that is seen first may depend on the cuts; whether there is one does not.
        assert_eq!(whole.as_ref().ok(), cut.as_ref().ok(), "{:?}", body.escape_ascii().to_string());
        accepted += usize::from(whole.is_ok());
    }
    assert!((10_000..90_000).contains(&accepted), "{accepted}: the mutations are too wild or too tame");
}
