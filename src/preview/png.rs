//! PNG row by row, shrunk on the way.

use std::io::{BufRead, Seek};

use png::{Decoder, DecodingError, Limits, Transformations};

use super::header::Header;
use super::shrink::{Shrinker, Shrunk};

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
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info()?;
    let info = reader.info();
    let size = (info.width, info.height);
    if info.interlaced || size != (header.width, header.height) {
        return Ok(None);
    }
    let mut shrinker = Shrinker::new(size, reader.output_color_type().0.samples(), factor);
    while let Some(row) = reader.next_row()? {
        shrinker.add(row.data());
    }
    Ok(shrinker.finish())
}
