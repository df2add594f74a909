//! Averages boxes of pixels row by row, so only a small part of a large picture is in memory.

use image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage};

/// The longest side of a box; the sums of its pixels fit 32 bits.
const LONGEST: u32 = 128;

/// A picture that was shrunk.
#[derive(Debug)]
pub(super) struct Shrunk {
    pub image: DynamicImage,
    /// Its width and height; what is beyond is the rest of boxes that the source did not fill.
    pub size: (f64, f64),
    /// Whether its samples are inks, 0 for none of it, in the order of CMYK.
    pub inks: bool,
    /// The ICC profile of its colours.
    pub profile: Option<Vec<u8>>,
}

impl From<DynamicImage> for Shrunk {
    fn from(image: DynamicImage) -> Self {
        let size = (image.width().into(), image.height().into());
        Self { image, size, inks: false, profile: None }
    }
}

/// The side of the largest boxes that leave twice what is wanted for the resampler.
pub(super) fn factor((width, height): (u32, u32), target: (u32, u32)) -> u32 {
    let times = |side: u32, wanted: u32| side / wanted.saturating_mul(2).max(1);
    times(width, target.0).min(times(height, target.1)).clamp(1, LONGEST)
}

/// Rows of 8-bit samples go in, boxes come out. With an even number of channels the last one is alpha: by it
/// the others count.
#[derive(Debug)]
pub(super) struct Shrinker {
    source: (u32, u32),
    channels: usize,
    factor: usize,
    /// Sums of the rows since the last boxes, sample by sample.
    sums: Vec<u32>,
    rows: usize,
    boxes: Vec<u8>,
}

impl Shrinker {
    /// For rows of `source.0` pixels, in boxes of `factor` squared.
    pub fn new(source: (u32, u32), channels: usize, factor: u32) -> Self {
        let (width, factor) = (source.0 as usize, factor.clamp(1, LONGEST) as usize);
        Self { source, channels, factor, sums: vec![0; width * channels], rows: 0, boxes: Vec::new() }
    }

    /// Takes the next row.
    pub fn add(&mut self, row: &[u8]) {
        // Wrapping, as a check of each sum would be most of the work; they fit.
        if self.channels.is_multiple_of(2) {
            let last = self.channels - 1;
            for (sums, pixel) in self.sums.chunks_exact_mut(last + 1).zip(row.chunks_exact(last + 1)) {
                let alpha = u32::from(pixel[last]);
                for (sum, sample) in sums[..last].iter_mut().zip(pixel) {
                    *sum = sum.wrapping_add(u32::from(*sample).wrapping_mul(alpha));
                }
                sums[last] = sums[last].wrapping_add(alpha);
            }
        } else {
            for (sum, sample) in self.sums.iter_mut().zip(row) {
                *sum = sum.wrapping_add(u32::from(*sample));
            }
        }
        self.rows += 1;
        if self.rows == self.factor {
            self.flush();
        }
    }

    /// Leaves the rows that never came empty: nothing where there is alpha, else black.
    pub fn fill(&mut self) {
        let boxes = self.source.1 as usize / self.factor;
        let row = self.sums.len().div_ceil(self.factor * self.channels) * self.channels;
        if self.rows > 0 {
            self.flush();
        }
        let whole = (boxes + usize::from(!(self.source.1 as usize).is_multiple_of(self.factor))) * row;
        self.boxes.resize(whole.max(self.boxes.len()), 0);
    }

    /// Makes boxes of the rows so far.
    fn flush(&mut self) {
        let colours = if self.channels.is_multiple_of(2) { self.channels - 1 } else { self.channels };
        for part in self.sums.chunks(self.factor * self.channels) {
            let total = |channel: usize| part[channel..].iter().step_by(self.channels).sum::<u32>();
            let pixels = u32::try_from(part.len() / self.channels * self.rows).unwrap_or(u32::MAX);
            let alpha = (colours < self.channels).then(|| total(colours));
            let weight = alpha.unwrap_or(pixels);
            self.boxes.extend((0..colours).map(|channel| mean(total(channel), weight)));
            self.boxes.extend(alpha.map(|alpha| mean(alpha, pixels)));
        }
        self.sums.fill(0);
        self.rows = 0;
    }

    /// The boxes, as RGB or RGBA; `None` if there were none.
    pub fn finish(mut self) -> Option<Shrunk> {
        if self.rows > 0 {
            self.flush();
        }
        let width = self.sums.len().div_ceil(self.factor * self.channels);
        let height = self.boxes.len() / (width * self.channels).max(1);
        let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
        let image: DynamicImage = match self.channels {
            1 => DynamicImage::from(GrayImage::from_raw(width, height, self.boxes)?).into_rgb8().into(),
            2 => DynamicImage::from(GrayAlphaImage::from_raw(width, height, self.boxes)?).into_rgba8().into(),
            3 => RgbImage::from_raw(width, height, self.boxes)?.into(),
            _ => RgbaImage::from_raw(width, height, self.boxes)?.into(),
        };
        let side = |side: u32| f64::from(side) / self.factor as f64;
        Some(Shrunk { size: (side(self.source.0), side(self.source.1)), ..Shrunk::from(image) })
    }
}

/// Rounded; of nothing it is nothing.
fn mean(total: u32, weight: u32) -> u8 {
    u8::try_from((total + weight / 2) / weight.max(1)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shrunk(source: (u32, u32), channels: usize, factor: u32, rows: &[&[u8]]) -> Shrunk {
        let mut shrinker = Shrinker::new(source, channels, factor);
        rows.iter().for_each(|row| shrinker.add(row));
        shrinker.finish().unwrap()
    }

    #[test]
    fn boxes_are_means_also_where_they_are_not_full() {
        let rows: [&[u8]; 3] = [&[0, 4, 10, 10, 7], &[4, 8, 20, 21, 8], &[100, 50, 1, 2, 255]];
        let Shrunk { image, size, .. } = shrunk((5, 3), 1, 2, &rows);
        assert_eq!((image.width(), image.height(), size), (3, 2, (2.5, 1.5)));
        let grey: Vec<u8> = image.into_rgb8().pixels().map(|pixel| pixel[1]).collect();
        assert_eq!(grey, [4, 15, 8, 75, 2, 255]);
    }

    #[test]
    fn pixels_count_by_their_alpha() {
        let (clear_red, blue) = ([255, 0, 0, 0], [0, 0, 200, 200]);
        assert_eq!(shrunk((2, 1), 4, 2, &[&[clear_red, blue].concat()]).image.as_bytes(), [0, 0, 200, 100]);
        assert_eq!(shrunk((2, 1), 2, 2, &[&[9, 0, 9, 0]]).image.as_bytes(), [0, 0, 0, 0]);
    }

    #[test]
    fn the_largest_sums_fit() {
        for (channels, expected) in [(1, &[255; 3][..]), (2, &[255; 4]), (3, &[255; 3]), (4, &[255; 4])] {
            let row = vec![255; LONGEST as usize * channels];
            let rows = vec![row.as_slice(); LONGEST as usize];
            assert_eq!(shrunk((LONGEST, LONGEST), channels, LONGEST, &rows).image.as_bytes(), expected);
        }
    }

    #[test]
    fn a_picture_is_shrunk_to_no_less_than_twice_the_target() {
        for (size, target, expected) in [
            ((4000, 3000), (200, 150), 10),
            ((4000, 3000), (201, 150), 9),
            ((400, 300), (200, 150), 1),
            ((399, 300), (200, 150), 1),
            ((1, 60_000), (1, 200), 1),
            ((60_000, 60_000), (1, 1), 128),
            ((9, 9), (u32::MAX, u32::MAX), 1),
        ] {
            assert_eq!(factor(size, target), expected, "{size:?} {target:?}");
        }
    }
}
