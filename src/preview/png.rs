//! PNG row by row, shrunk on the way.

use std::io::{BufRead, Seek};

use png::{Decoder, DecodingError, Limits, Transformations};

use super::header::Header;
use super::shrink::{Shrinker, Shrunk};

/// The part of its rows that a picture which ends early must have: one in so many.
const FEWEST_ROWS: u64 = 64;

/// Decodes a picture into boxes of `factor` squared. `None` if its rows don't come in their order.
pub(super) fn shrink(
    source: impl BufRead + Seek,
    header: &Header,
    factor: u32,
    most_bytes: u64,
) -> Result<Option<Shrunk>, DecodingError> {
    let limits = Limits { bytes: usize::try_from(most_bytes).unwrap_or(usize::MAX) };
    let mut decoder = Decoder::new_with_limits(source, limits);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let info = reader.info();
    let size = (info.width, info.height);
    if info.interlaced || size != (header.width, header.height) {
        return Ok(None);
    }
    let mut shrinker = Shrinker::new(size, reader.output_color_type().0.samples(), factor);
    // What ends early is shown as far as it goes.
    let mut rows = 0_u64;
    loop {
        match reader.next_row() {
            Ok(Some(row)) => shrinker.add(row.data()),
            Err(error) if rows * FEWEST_ROWS < u64::from(size.1) || is_late(&error) => return Err(error),
            Ok(None) | Err(_) => break,
        }
        rows += 1;
    }
    shrinker.fill();
    let profile = reader.info().icc_profile.as_ref().map(|profile| profile.to_vec());
    Ok(shrinker.finish().map(|shrunk| Shrunk { profile, ..shrunk }))
}

/// Whether the time was over.
fn is_late(error: &DecodingError) -> bool {
    matches!(error, DecodingError::IoError(cause) if cause.kind() == std::io::ErrorKind::TimedOut)
}
