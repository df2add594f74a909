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
        let head = parts.read_head(collector)?;
        let name = head.name.clone();
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
        let delimiter = self.delimiter.needle().len();
        let mut lead = LEAD.len();
        let mut copy = |source: &mut Source<'_>, count: usize| {
            let skipped = lead.min(count);
            collector.push(field, &source.bytes()[skipped..count])?;
            lead -= skipped;
            source.consume(count);
            Ok::<(), Failure>(())
        };
        loop {
            let bytes = self.source.bytes();
            if let Some(at) = self.delimiter.find(bytes) {
                copy(self.source, at)?;
                if let Some(found) = self.take_delimiter()? {
                    return Ok(found);
                }
                copy(self.source, delimiter)?;
            } else {
                let undecided = bytes.len().min(delimiter - 1);
                copy(self.source, bytes.len() - undecided)?;
                self.fill()?;
            }
        }
    }

    /// Takes the delimiter that the window begins with; none if its line goes on, so that it is content.
    fn take_delimiter(&mut self) -> Result<Option<Delimiter>, Failure> {
        let mut ended = false;
        loop {
            let rest = &self.source.bytes()[self.delimiter.needle().len()..];
            match read_line(rest, ended) {
                Line::Delimiter(delimiter, length) => {
                    self.source.consume(self.delimiter.needle().len() + length);
                    return Ok(Some(delimiter));
                }
                Line::Content => return Ok(None),
                Line::Undecided => ended = !self.source.fill()?,
            }
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
            self.fill()?;
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

    fn fill(&mut self) -> Result<(), Failure> {
        if self.source.fill()? { Ok(()) } else { Err(Refusal::BadForm.into()) }
    }
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
        [] if kind == Delimiter::Closing => Line::Delimiter(kind, hyphens + padding),
        _ => Line::Content,
    }
}
