//! Reads an export.

use std::io::{BufRead, Read};

use super::TransferCounts;
use super::line::{self, Line, Place};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::store::{Import, StoreId, StoredRow};

/// Adds every row of an export.
///
/// # Errors
/// At the first line that is not valid, with its number.
pub fn import(lines: &mut dyn BufRead, import: &mut Import<'_>) -> Result<TransferCounts> {
    let mut reading = Reading { lines, number: 0, place: None };
    let mut counts = TransferCounts::default();
    loop {
        match reading.next()? {
            Line::Row(row) => {
                counts.count(&row);
                import.add(reading.number, *row)?;
            }
            Line::End { .. } => return reading.finish().map(|()| counts),
        }
    }
}

/// The id of the store that an export is from, if that had one: it is in the first line.
pub fn store_of(lines: &mut dyn BufRead) -> Result<Option<StoreId>> {
    match (Reading { lines, number: 0, place: None }).next()? {
        Line::Row(row) => match *row {
            StoredRow::Store(id) => Ok(id),
            _ => Ok(None),
        },
        Line::End { .. } => Ok(None),
    }
}

/// The lines of an export, of which one is held at a time.
struct Reading<'a> {
    lines: &'a mut dyn BufRead,
    /// The number of the line that was read last.
    number: u64,
    /// Its place in the order of an export.
    place: Option<Place>,
}

impl Reading<'_> {
    fn next(&mut self) -> Result<Line> {
        let bytes = self.read()?;
        if bytes.is_empty() {
            let text = format!("the file is incomplete: it ends after line {}", self.number);
            return Err(Error::new(Kind::Failure, text));
        }
        self.number += 1;
        if bytes.len() > limits::TRANSFER_LINE_BYTES {
            return Err(self.refusal("it is longer than any line of an export"));
        }
        let text = str::from_utf8(&bytes).map_err(|_| self.refusal("it is not UTF-8"))?;
        let line = line::parse(text.trim_end()).map_err(|reason| self.refusal(&reason))?;
        self.check_place(&line)?;
        Ok(line)
    }

    fn read(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let max = limits::TRANSFER_LINE_BYTES as u64 + 1;
        let read = (&mut *self.lines).take(max).read_until(b'\n', &mut bytes);
        read.map_err(|cause| Error::io(format!("can't read line {}", self.number + 1), cause))?;
        Ok(bytes)
    }

    /// The order tells of each line whether it is there twice, without a list of those before.
    fn check_place(&mut self, line: &Line) -> Result<()> {
        let place = line.place();
        match &self.place {
            None if place.is_first() => {}
            None => return Err(self.refusal("the first line of an export is of kind store")),
            Some(_) if place.is_first() => return Err(self.refusal("only the first line is of kind store")),
            Some(before) if *before < place => {}
            Some(before) if *before == place => return Err(self.refusal("the line before has the same id")),
            Some(_) => return Err(self.refusal("it must come before the previous line")),
        }
        if let Line::End { records } = line
            && *records != self.number - 1
        {
            let before = self.number - 1;
            return Err(self.refusal(&format!("it counts {records} lines before it, but there are {before}")));
        }
        self.place = Some(place);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.read()?.is_empty() {
            return Ok(());
        }
        self.number += 1;
        Err(self.refusal("something follows the last line of the export"))
    }

    fn refusal(&self, reason: &str) -> Error {
        Error::new(Kind::Failure, format!("line {}: {reason}", self.number))
    }
}
