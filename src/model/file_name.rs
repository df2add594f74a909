//! The length of file names.

use crate::limits;

/// A file name of at most [`limits::FILE_NAME_BYTES`]: the stem of a longer one is cut, not the extension.
pub fn cut_file_name(name: &str) -> String {
    if name.len() <= limits::FILE_NAME_BYTES {
        return name.to_owned();
    }
    let dot = name.rfind('.').filter(|dot| (2..=1 + limits::EXTENSION_BYTES).contains(&(name.len() - dot)));
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let room = limits::FILE_NAME_BYTES - extension.len();
    let end = (0..=room).rev().find(|end| stem.is_char_boundary(*end)).unwrap_or_default();
    format!("{}{extension}", stem[..end].trim_end())
}
