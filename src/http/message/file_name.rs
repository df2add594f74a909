//! The part of a client's file name that is kept.

use crate::model::{cut_file_name, is_hidden};

/// The last component of a file name, for either kind of slash, without control characters and at most
/// [`FILE_NAME_BYTES`](crate::limits::FILE_NAME_BYTES) long; `None` if nothing is left. It is shown, never used as a path.
pub fn file_name(text: &str) -> Option<String> {
    let last = text.rsplit(['/', '\\']).next().unwrap_or_default();
    let visible: String = last.chars().filter(|c| !is_hidden(*c)).collect();
    let name = cut_file_name(visible.trim());
    if matches!(name.as_str(), "" | "." | "..") { None } else { Some(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_name_is_left() {
        for (text, expected) in [
            ("a.png", Some("a.png")),
            ("/etc/passwd", Some("passwd")),
            (r"C:\holiday\é ; .png", Some("é ; .png")),
            (r"..\../x", Some("x")),
            (" a\r\nb\0\u{85}.png ", Some("ab.png")),
            ("\u{202E}gnp.exe", Some("gnp.exe")),
            ("\"q\".png", Some("\"q\".png")),
            ("", None),
            ("dir/", None),
            ("..", None),
            (" . ", None),
            ("\u{1}\u{7f}", None),
        ] {
            assert_eq!(file_name(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        for (name, expected) in [
            (format!("{}.docx", "字".repeat(90)), format!("{}.docx", "字".repeat(83))),
            (
                format!("{}.{}", "a".repeat(10), "b".repeat(300)),
                format!("{}.{}", "a".repeat(10), "b".repeat(244)),
            ),
            (format!("{} b.é", "a".repeat(251)), format!("{}.é", "a".repeat(251))),
            (format!("{}.", "a".repeat(300)), "a".repeat(255)),
        ] {
            let cut = file_name(&name).unwrap();
            assert_eq!(cut, expected);
            assert_eq!(file_name(&cut).as_ref(), Some(&cut));
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let name = file_name(&"é".repeat(200)).unwrap();
        assert_eq!(name, "é".repeat(127));
        assert_eq!(file_name(&"a".repeat(255)).unwrap().len(), 255);
    }
}
