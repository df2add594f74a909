//! `multipart/form-data` (RFC 2046 section 5.1, RFC 7578), read in one pass and in bounded memory.

use memchr::memmem::{self, Finder};

use super::Failure;
use super::collector::{Collector, Field};
use super::part::Head;
use super::source::Source;
use crate::limits;
use crate::model::Refusal;

/// The body must be seen behind these, for a delimiter begins with the end of a line, the first one as well.
pub(super) const LEAD: &[u8] = b"\r\n";

/// Reads a form to the end of its body. A body without a closing delimiter is cut, and no form.
pub(super) fn read(
    source: &mut Source<'_>,
    boundary: &str,
    collector: &mut Collector<'_>,
) -> Result<(), Failure> {
    let delimiter = format!("\r\n--{boundary}");
    let mut parts = Parts { source, delimiter: Finder::new(&delimiter) };
    let mut next = parts.copy_content(&mut Field::Unwanted, collector)?;
    while next == Delimiter::Opening {
        let mut head = parts.read_head(collector)?;
        let name = head.name.take();
        let mut field = collector.open(name.as_deref(), || head.into_data())?;
        next = parts.copy_content(&mut field, collector)?;
        collector.close(field)?;
    }
    parts.skip_epilogue(collector)
}

/// What a delimiter line does: begin a part, or end the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delimiter {
    Opening,
    Closing,
}

struct Parts<'s, 'b, 'd> {
    source: &'s mut Source<'b>,
    /// Finds CRLF, two hyphens and the boundary.
    delimiter: Finder<'d>,
}

impl Parts<'_, '_, '_> {
    /// Copies what comes before the next delimiter line, and takes the line but for its end. The window
    /// stands at the end of the line before the content: a delimiter may follow it at once.
    fn copy_content(
        &mut self,
        field: &mut Field,
        collector: &mut Collector<'_>,
    ) -> Result<Delimiter, Failure> {
        let length = self.delimiter.needle().len();
        let (mut lead, mut copied, mut searched, mut ended) = (LEAD.len(), 0, 0, false);
        let mut copy = |source: &mut Source<'_>, count: usize| {
            let skipped = lead.min(count);
            lead -= skipped;
            collector.push(field, &source.bytes()[skipped..count])?;
            source.consume(count);
            Ok::<(), Failure>(())
        };
        loop {
            let bytes = self.source.bytes();
            let found = self.delimiter.find(&bytes[searched..]).map(|at| searched + at);
            let known = match found.map(|at| (at, read_line(&bytes[at + length..], ended))) {
                Some((at, Line::Delimiter(delimiter, rest))) => {
                    copy(self.source, at)?;
                    self.source.consume(length + rest);
                    return Ok(delimiter);
                }
                Some((at, Line::Content)) => {
                    searched = at + length;
                    continue;
                }
                Some((at, Line::Undecided)) => at,
                None if ended => return Err(Refusal::BadForm.into()),
                None => bytes.len().saturating_sub(length - 1),
            };
            let decided = whole_steps(copied, known);
            copy(self.source, decided)?;
            copied += decided as u64;
            searched = known - decided;
            ended = !self.source.fill()?;
        }
    }

    /// Reads a part's head; the window stands at the end of the delimiter line, and then at that of the
    /// empty line.
    fn read_head(&mut self, collector: &mut Collector<'_>) -> Result<Head, Failure> {
        let length = self.find_head()?;
        collector.spend(length)?;
        let head = Head::parse(&self.source.bytes()[LEAD.len()..length])?;
        self.source.consume(length - LEAD.len());
        Ok(head)
    }

    /// Bytes up to the end of the empty line.
    fn find_head(&mut self) -> Result<usize, Failure> {
        const END: &[u8] = b"\r\n\r\n";
        let mut searched = 0;
        loop {
            let bytes = self.source.bytes();
            let found = memmem::find(&bytes[searched..], END).map(|at| searched + at + END.len());
            if found.unwrap_or(bytes.len()) > LEAD.len() + limits::PART_HEAD_BYTES {
                return Err(Refusal::BadForm.into());
            }
            if let Some(length) = found {
                return Ok(length);
            }
            searched = bytes.len().saturating_sub(END.len() - 1);
            if !self.source.fill()? {
                return Err(Refusal::BadForm.into());
            }
        }
    }

    /// Reads what follows the closing delimiter, so that the connection stands behind the body.
    fn skip_epilogue(&mut self, collector: &mut Collector<'_>) -> Result<(), Failure> {
        loop {
            let count = self.source.bytes().len();
            collector.spend(count)?;
            self.source.consume(count);
            if !self.source.fill()? {
                return Ok(());
            }
        }
    }
}

/// How many of the `known` bytes to copy so that content goes on in whole steps: a file system takes those at less than
/// the cost of others. `copied` counts the bytes before them, [`LEAD`] among them.
fn whole_steps(copied: u64, known: usize) -> usize {
    let content = (copied + known as u64).saturating_sub(LEAD.len() as u64);
    let begun = content % limits::FORM_STEP as u64;
    known.saturating_sub(usize::try_from(begun).unwrap_or(known))
}

enum Line {
    /// A delimiter, and the bytes of its line behind the boundary without the line's end.
    Delimiter(Delimiter, usize),
    Content,
    Undecided,
}

/// Reads what follows a boundary in its line; `ended` says that nothing follows `rest`.
fn read_line(rest: &[u8], ended: bool) -> Line {
    let hyphens = if rest.starts_with(b"--") { 2 } else { 0 };
    let padding = rest[hyphens..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if padding > limits::BOUNDARY_PADDING {
        return Line::Content;
    }
    let kind = if hyphens > 0 { Delimiter::Closing } else { Delimiter::Opening };
    match &rest[hyphens + padding..] {
        [b'\r', b'\n', ..] => Line::Delimiter(kind, hyphens + padding),
        [] | [b'\r'] if !ended => Line::Undecided,
        [b'-'] if !ended && hyphens + padding == 0 => Line::Undecided,
        // COMPAT: the closing line may be the body's last without its end.
        [] | [b'\r'] if kind == Delimiter::Closing => Line::Delimiter(kind, hyphens + padding),
        _ => Line::Content,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::super::tests::{Reading, read_every_way, read_pieces};
    use super::super::{Failure, read};
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=B";
    const DATA: &str = "--B\r\nContent-Disposition: form-data; name=data\r\n\r\n";

    fn parse(body: impl AsRef<[u8]>) -> Reading {
        read_every_way(TYPE, body.as_ref())
    }

    fn data(body: impl AsRef<[u8]>) -> Result<String, Refusal> {
        parse(body).map(|(_, data)| data.escape_ascii().to_string())
    }

    fn field(name: &str, value: &str) -> String {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    #[test]
    fn a_browsers_form_is_read() {
        let boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW";
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nGrüße\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a ; \\\"b\\\".jpg\"\r\n\
             Content-Type: image/jpeg\r\n\r\n\0\r\n--\r\n\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"Content-Type\"\r\n\r\n\r\n\
             --{boundary}--\r\n"
        );
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let (form, data) = read_every_way(&content_type, body.as_bytes()).unwrap();
        assert_eq!(data, b"\0\r\n--\r\n");
        assert_eq!(form.text("title"), Some("Grüße"));
        assert_eq!(form.text("content-type"), Some(""));
        let part = form.data().unwrap();
        assert_eq!(part.file_name.as_deref(), Some("a ; \"b\".jpg"));
        assert_eq!(part.content_type.as_deref(), Some("image/jpeg"));
        assert_eq!(part.bytes, 7);
    }

    #[test]
    fn what_is_nearly_a_boundary_is_data() {
        for content in [
            "",
            "\r",
            "\n",
            "\r\n",
            "\r\n\r\n",
            "--B",
            "x--B--",
            "\n--B--\r\n",
            "\r--B--\r\n",
            "\r\n-B",
            "\r\n--b--",
            "\r\n--A",
            "\r\n--BB\r\n",
            "\r\n--B-",
            "\r\n--B-\r\n",
            "\r\n--B- -",
            "\r\n--Bx--",
            "\r\n--B--x\r\n",
            "\r\n--B -- \r\n",
            "\r\n--B \rx",
            "\r\n--B\n",
            "\r\n--B--\n",
            "\r\n--\r\n--",
            "\r\r\n--\r\n--BX\r\n-",
            "\r\n--B--B",
        ] {
            // At once behind the head, "--B" would begin a line: it is put behind a letter.
            let body = format!("{DATA}x{content}\r\n--B--\r\n");
            let expected = format!("x{content}").as_bytes().escape_ascii().to_string();
            assert_eq!(data(&body), Ok(expected), "{content:?}");
        }
        let padded = format!("\r\n--B{}\r\n", " ".repeat(limits::BOUNDARY_PADDING + 1));
        let (_, data) = read_pieces(TYPE, format!("{DATA}{padded}\r\n--B--").as_bytes(), 64, 64).unwrap();
        assert_eq!(data, padded.as_bytes());
    }

    #[test]
    fn delimiters_are_read_in_every_spelling() {
        for body in [
            format!("{DATA}x\r\n--B--\r\n"),
            format!("{DATA}x\r\n--B--"),
            format!("{DATA}x\r\n--B--\r"),
            format!("{DATA}x\r\n--B-- \t\r\n"),
            format!("{DATA}x\r\n--B-- \t"),
            format!("{DATA}x\r\n--B--\r\nepilogue\r\n--B\r\n"),
            format!("{DATA}x\r\n--B \t\r\nX: y\r\n\r\n\r\n--B--"),
            format!("\r\n{DATA}x\r\n--B--"),
            format!("preamble --B\r\n{DATA}x\r\n--B--"),
        ] {
            assert_eq!(data(&body).as_deref(), Ok("x"), "{body:?}");
        }
    }

    #[test]
    fn empty_parts_have_no_content() {
        assert_eq!(data(format!("{DATA}--B--")).as_deref(), Ok(""), "the line end before is the head's");
        assert_eq!(data(format!("{DATA}\r\n--B--")).as_deref(), Ok(""));
        assert_eq!(data(format!("--B\r\n\r\n\r\n{DATA}x\r\n--B--")).as_deref(), Ok("x"));
        assert_eq!(data(format!("--B\r\n\r\n{DATA}x\r\n--B--")).as_deref(), Ok("x"));
        let (form, _) = parse("--B--\r\n").unwrap();
        assert_eq!(form, super::super::Form::default());
        assert_eq!(parse(format!("{DATA}--B--")).unwrap().0.data().map(|data| data.bytes), Some(0));
    }

    #[test]
    fn a_body_that_is_cut_anywhere_is_no_form() {
        let body = format!("{}{DATA}some bytes\r\n{}--B--", field("title", "x"), field("description", "y"));
        for cut in 1..body.len() {
            for piece in [1, 3, usize::MAX] {
                let read = read_pieces(TYPE, &body.as_bytes()[..cut], piece, piece);
                assert_eq!(read, Err(Refusal::BadForm), "cut at {cut}");
            }
        }
        assert!(parse(&body).is_ok());
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for body in [
            "x".to_owned(),
            "\r\n".to_owned(),
            "no boundary at all".to_owned(),
            "--B\r\n--B--".to_owned(),
            "--B\n\n--B--".to_owned(),
            "--B\r\nContent-Disposition: form-data; name=data\n\nx\r\n--B--".to_owned(),
            "--B\r\nContent-Disposition: form-data; name=data\r\n--B--".to_owned(),
            "--B\r\nbroken\r\n\r\nx\r\n--B--".to_owned(),
            "--B\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--B--".to_owned(),
            "--B\r\nContent-Disposition: form-data; name=\"da\r\n\r\nx\r\n--B--".to_owned(),
        ] {
            assert_eq!(data(&body), Err(Refusal::BadForm), "{body:?}");
        }
        let latin1 = b"--B\r\nContent-Disposition: form-data; name=title\r\n\r\n\xe9\r\n--B--";
        assert_eq!(data(latin1), Err(Refusal::NotUtf8));
    }

    #[test]
    fn the_first_field_of_a_name_counts() {
        let body = format!(
            "{}{}{}{}{}--B--",
            field("TITLE", "1"),
            field("title", "2"),
            field("Data", "first"),
            field("data", "second"),
            field("\u{c9}", "é"),
        );
        let (form, data) = parse(&body).unwrap();
        assert_eq!((form.text("title"), data.as_slice()), (Some("1"), &b"first"[..]));
        assert_eq!(form.text("\u{c9}"), Some("é"));
        let nameless = format!("--B\r\nContent-Type: image/png\r\n\r\n\u{7f}\r\n{DATA}x\r\n--B--");
        assert_eq!(parse(&nameless).unwrap().1, b"x");
    }

    #[test]
    fn every_bound_holds() {
        let whole = |body: &str| {
            let read = read_pieces(TYPE, body.as_bytes(), usize::MAX, usize::MAX).map(|_| ());
            assert_eq!(read_pieces(TYPE, body.as_bytes(), 1000, 1000).map(|_| ()), read);
            read
        };
        let parts =
            |count: usize| (0..count).map(|at| field(&format!("f{at}"), "")).collect::<String>() + "--B--";
        assert_eq!(whole(&parts(limits::FORM_PARTS)), Ok(()));
        assert_eq!(whole(&parts(limits::FORM_PARTS + 1)), Err(Refusal::TooManyParts));
        assert_eq!(whole(&parts(100_000)), Err(Refusal::TooManyParts));

        let text = |bytes: usize| field("title", &"x".repeat(bytes)) + "--B--";
        assert_eq!(whole(&text(limits::FIELD_BYTES)), Ok(()));
        assert_eq!(whole(&text(limits::FIELD_BYTES + 1)), Err(Refusal::FieldTooLong));

        let texts = (0..8).map(|at| field(&at.to_string(), &"x".repeat(limits::FIELD_BYTES)));
        assert_eq!(whole(&(texts.collect::<String>() + "--B--")), Err(Refusal::TooLarge));

        let name = |bytes: usize| field(&"n".repeat(bytes), "") + "--B--";
        assert_eq!(whole(&name(limits::FIELD_NAME_BYTES)), Ok(()));
        assert_eq!(whole(&name(limits::FIELD_NAME_BYTES + 1)), Err(Refusal::FieldTooLong));

        let head =
            |bytes: usize| format!("--B\r\nX: {}\r\n\r\n--B--", "x".repeat(bytes - "X: \r\n\r\n".len()));
        assert_eq!(whole(&head(limits::PART_HEAD_BYTES)), Ok(()));
        assert_eq!(whole(&head(limits::PART_HEAD_BYTES + 1)), Err(Refusal::BadForm));
        assert_eq!(whole(&format!("--B\r\nX: {}", "x".repeat(1 << 20))), Err(Refusal::BadForm));

        let overhead = "x".repeat(usize::try_from(limits::FORM_OVERHEAD_BYTES).unwrap());
        assert_eq!(whole(&format!("{overhead}x\r\n--B--")), Err(Refusal::TooLarge));
        assert_eq!(whole(&format!("--B--\r\n{overhead}")), Err(Refusal::TooLarge));
        assert_eq!(whole(&format!("{DATA}\r\n{}--B--", field("data", &overhead))), Err(Refusal::TooLarge));
        assert_eq!(whole(&format!("{DATA}{overhead}{overhead}\r\n--B--")), Ok(()));
    }

    #[test]
    fn data_of_any_size_passes_through() {
        const SIZE: u64 = 8 << 20;
        /// Counts, and checks that it is handed one step at a time.
        struct Counting(u64);
        impl io::Write for Counting {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                assert!(bytes.len() == limits::FORM_STEP && bytes.iter().all(|byte| *byte == b'-'));
                self.0 += bytes.len() as u64;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = Counting(0);
        let mut body = DATA.as_bytes().chain(io::repeat(b'-').take(SIZE)).chain(&b"\r\n--B--\r\n"[..]);
        read(Some(TYPE), &mut body, &mut sink).unwrap();
        assert_eq!(sink.0, SIZE);
    }

    #[test]
    fn a_delimiter_is_found_wherever_a_step_ends() {
        const STEP: usize = limits::FORM_STEP;
        for size in (STEP - 8..STEP + 8).chain(limits::FORM_WINDOW - 120..limits::FORM_WINDOW + 8) {
            // What might be a delimiter until its last byte stands before it, too.
            let mut content = vec![b'x'; size];
            content[size - 7..].copy_from_slice(b"\r\n--B-x");
            let body = [DATA.as_bytes(), &content, b"\r\n--B--\r\n"].concat();
            for piece in [1000, STEP - 1, usize::MAX] {
                let (_, data) = read_pieces(TYPE, &body, piece, piece).unwrap();
                assert!(data == content, "{size} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_sinks_refusal_ends_the_reading() {
        struct Full;
        impl io::Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(Refusal::TooLarge.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut body = DATA.as_bytes().chain(io::repeat(b'-'));
        let read = read(Some(TYPE), &mut body, &mut Full);
        assert!(matches!(read, Err(Failure::Refused(Refusal::TooLarge))));
    }
}
