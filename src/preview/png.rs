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
    // A truncated picture is shown as far as it goes.
    let mut rows = 0_u64;
    loop {
        match reader.next_row() {
            Ok(Some(row)) => shrinker.add(row.data()),
            Err(error) if rows * FEWEST_ROWS < u64::from(size.1) || is_of_source(&error) => {
                return Err(error);
            }
            Ok(None) | Err(_) => break,
        }
        rows += 1;
    }
    shrinker.fill();
    let profile = reader.info().icc_profile.as_ref().map(|profile| profile.to_vec());
    Ok(shrinker.finish().map(|shrunk| Shrunk { profile, ..shrunk }))
}

/// Whether the source failed, or the time was over. A source that ends early is not a failure.
fn is_of_source(error: &DecodingError) -> bool {
    matches!(error, DecodingError::IoError(cause) if cause.kind() != std::io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Cursor, Read, SeekFrom};

    use image::metadata::Orientation;

    use super::*;
    use crate::media_type::Format;

    /// The first half of a picture, and then an error.
    struct Broken(Cursor<Vec<u8>>);

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the disk fails")),
                count => Ok(count),
            }
        }
    }

    impl Seek for Broken {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn a_source_that_ends_early_is_shown_and_one_that_fails_is_not() {
        let noise = |x: u32, y: u32| image::Rgb([(x * 31 + y * 17) as u8, (x * y) as u8, (x ^ y) as u8]);
        let mut bytes = Vec::new();
        let picture = image::RgbImage::from_fn(200, 200, noise);
        picture.write_with_encoder(image::codecs::png::PngEncoder::new(&mut bytes)).unwrap();
        bytes.truncate(bytes.len() / 2);
        let orientation = Orientation::NoTransforms;
        let header = Header { format: Format::Png, width: 200, height: 200, orientation };
        let shrunk = shrink(Cursor::new(bytes.clone()), &header, 2, 1 << 20).unwrap().unwrap();
        assert_eq!((shrunk.image.width(), shrunk.image.height()), (100, 100));
        let broken = BufReader::new(Broken(Cursor::new(bytes)));
        assert!(matches!(shrink(broken, &header, 2, 1 << 20), Err(DecodingError::IoError(_))));
    }
}
