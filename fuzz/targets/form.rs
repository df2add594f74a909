//! Forms: the first line is the Content-Type, the rest the body. How the body is split makes no difference, and what
//! was read is within its limits.

#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use media_server::http::form::{self, Failure, Form};
use media_server::limits;
use media_server::model::Refusal;

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(content_type) = std::str::from_utf8(&input[..end]) else { return };
    let body = &input[end + 1..];
    let whole = read(content_type, body, usize::MAX, usize::MAX);
    if let Ok((form, data)) = &whole {
        check(form, data.len(), body.len());
    }
    let cut = body.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    for (first, then) in [(1, 1), (cut % body.len().max(1) + 1, usize::MAX), (1 + cut % 7, 1 + cut % 11)] {
        assert_eq!(read(content_type, body, first, then), whole, "in pieces of {first} and {then}");
    }
    // A body that is cut is never a whole multipart form; an url-encoded one has no end that one could miss.
    if whole.is_ok() && content_type.trim_start().to_ascii_lowercase().starts_with("multipart") {
        let closing = body.iter().rposition(|byte| *byte == b'-').expect("a closing delimiter");
        if let Ok(earlier) = read(content_type, &body[..closing], usize::MAX, usize::MAX) {
            // Hyphens may come in the epilogue, too.
            assert_eq!(Ok(earlier), whole);
        }
    }
});

fn check(form: &Form, data: usize, body: usize) {
    assert_eq!(form.data().map_or(0, |part| part.bytes), data as u64);
    assert!(data <= body);
    for name in ["title", "description", "filename", "content-type", "content-length", "a", ""] {
        assert!(form.text(name).is_none_or(|text| text.len() <= limits::FIELD_BYTES));
    }
    let Some(part) = form.data() else { return };
    if let Some(name) = &part.file_name {
        assert!(!name.is_empty() && name.len() <= limits::FILE_NAME_BYTES);
        assert!(!name.contains(|c: char| c.is_control() || c == '/' || c == '\\'));
    }
    let visible = |text: &String| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    assert!(part.content_type.as_ref().is_none_or(visible));
}

fn read(content_type: &str, body: &[u8], first: usize, then: usize) -> Result<(Form, Vec<u8>), Refusal> {
    let (mut pieces, mut sink) = (Pieces { rest: body, next: first, then, ended: false }, Vec::new());
    match form::read(Some(content_type), &mut pieces, &mut sink) {
        Ok(form) => {
            assert!(pieces.ended, "the body was not read to its end");
            Ok((form, sink))
        }
        Err(Failure::Refused(refusal)) => Err(refusal),
        Err(failure) => panic!("{failure}"),
    }
}

struct Pieces<'a> {
    rest: &'a [u8],
    next: usize,
    then: usize,
    ended: bool,
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
