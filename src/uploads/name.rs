//! File names in the URLs of slots.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::{Purpose, cut_file_name};

/// The characters of a file name that stay as they are in a URL. RFC 3986 section 3.3 allows more, but programs that find
/// links in texts end a link at some of them.
const READABLE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The name as it was sent, but for what no segment of a path should hold: folders before it, control characters, and more
/// bytes than a stored name has. `None` if nothing is left.
pub(super) fn slot_name(sent: &str) -> Option<String> {
    let last = sent.rsplit('/').next().unwrap_or_default();
    let visible: String = last.chars().filter(|c| !c.is_control()).collect();
    let name = cut_file_name(&visible);
    // Clients take these two out of a URL before they send it.
    (!matches!(name.as_str(), "" | "." | "..")).then_some(name)
}

/// Whether a slot has this name exactly as it is.
pub fn is_slot_name(name: &str) -> bool {
    slot_name(name).is_some_and(|kept| kept == name)
}

/// A name as one segment of a path.
pub fn encoded(name: &str) -> String {
    utf8_percent_encode(name, READABLE).to_string()
}

/// The purpose that Movim names by the beginning of a file name.
pub(super) fn purpose_by_prefix(name: &str) -> Option<Purpose> {
    let prefixes =
        [("chat_", Purpose::Message), ("post_", Purpose::Permanent), ("story_", Purpose::Ephemeral)];
    prefixes.into_iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, purpose)| purpose)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_as_it_was_sent_where_a_path_can_hold_it() {
        let long = format!("{}.jpg", "é".repeat(200));
        let cut = format!("{}.jpg", "é".repeat(125));
        for (sent, expected) in [
            ("a.jpg", Some("a.jpg")),
            (" Büro 50%?#.jpg ", Some(" Büro 50%?#.jpg ")),
            ("a\\b+c&d=e\"<>.jpg", Some("a\\b+c&d=e\"<>.jpg")),
            ("../../etc/passwd", Some("passwd")),
            ("a\nb\u{85}\0.jpg", Some("ab.jpg")),
            (&long, Some(&*cut)),
            ("", None),
            ("a/", None),
            ("..", None),
            ("x/.", None),
            ("\n", None),
        ] {
            assert_eq!(slot_name(sent).as_deref(), expected, "{sent:?}");
        }
    }

    #[test]
    fn every_name_is_one_segment_of_a_url() {
        for c in ('\0'..='\u{2100}').chain(['😀']) {
            let Some(name) = slot_name(&format!("a{c}b")) else { continue };
            let encoded = encoded(&name);
            assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
            assert_eq!(percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap(), name);
        }
    }

    #[test]
    fn movim_names_the_purpose() {
        for (name, expected) in [
            ("chat_a.jpg", Some(Purpose::Message)),
            ("post_a.jpg", Some(Purpose::Permanent)),
            ("story_a.jpg", Some(Purpose::Ephemeral)),
            ("Story_a.jpg", None),
            ("a_story_.jpg", None),
        ] {
            assert_eq!(purpose_by_prefix(name), expected, "{name}");
        }
    }
}
