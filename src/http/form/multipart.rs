//! `multipart/form-data` (RFC 2046 section 5.1, RFC 7578), read in one pass and in bounded memory.

use memchr::memmem::{self, Finder};

use super::Failure;
use super::collector::{Collector, Field};
use super::part::Head;
use super::source::Source;
use crate::limits;
use crate::model::Refusal;

/// Stands before the body: every delimiter begins with a line end, and so the first one needs one as well.
pub(super) const LEAD: &[u8] = b"\r\n";

/// Reads a form to the end of its body. A body without a closing delimiter is incomplete and refused.
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
        let mut field = collector.open(name.as_deref(), head.into_data())?;
        next = parts.copy_content(&mut field, collector)?;
        collector.close(field)?;
    }
    parts.skip_epilogue(collector)
}

/// The two kinds of delimiter lines: one begins a part, the other ends the form.
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
    /// Copies the content before the next delimiter line, and consumes that line except for its line end. The
    /// window begins at the line end before the content, because a delimiter may follow it at once.
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

    /// Reads a part's head. The window begins at the line end of the delimiter line before, and at that of the
    /// empty line after.
    fn read_head(&mut self, collector: &mut Collector<'_>) -> Result<Head, Failure> {
        let length = self.find_head()?;
        collector.spend(length)?;
        let head = Head::parse(&self.source.bytes()[LEAD.len()..length])?;
        self.source.consume(length - LEAD.len());
        Ok(head)
    }

    /// The number of bytes up to and including the empty line.
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

    /// Reads the rest behind the closing delimiter, so that the connection is at the end of the body.
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

/// Reads the rest of a line behind a boundary. If `ended`, the body has no bytes after `rest`.
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
mod tests;
