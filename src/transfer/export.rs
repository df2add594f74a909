//! Writes an export.

use std::io::Write;

use super::line;
use super::{TransferCounts, parse};
use crate::error::{Error, Kind, Result};
use crate::store::Console;

/// Writes every row of one moment, a line each, and a last line with their number.
///
/// # Errors
/// At the first row that an import would refuse; the error names the row. Also if the output fails.
pub fn export(console: &mut Console, out: &mut dyn Write) -> Result<TransferCounts> {
    let (mut counts, mut lines) = (TransferCounts::default(), 0);
    console.export(&mut |row| {
        let text = line::write(&row);
        parse(&text).map_err(|reason| unfit(&text, &reason))?;
        counts.count(&row);
        lines += 1;
        write_line(out, &text)
    })?;
    write_line(out, &line::write_end(lines))?;
    Ok(counts)
}

fn write_line(out: &mut dyn Write, text: &str) -> Result<()> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
    written.map_err(|cause| Error::io("can't write the export", cause))
}

/// Such a row is of the original server, or was written by hand.
fn unfit(text: &str, reason: &str) -> Error {
    let name = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(line) => format!("{} {}", line["record"], line["id"]),
        Err(_) => "a row".to_owned(),
    };
    let text = format!("an import would refuse {name}: {reason}; correct or delete that row first");
    Error::new(Kind::Corrupt, text)
}
