//! The grammar of the texts that people write to the component: they confirm or deny a request (XEP-0070 version 1.0.2
//! section 4.3), or are commands. Pure functions.

use unicode_normalization::UnicodeNormalization;

use crate::limits;

/// The meaning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// A yes.
    Yes,
    /// A no, whatever follows it.
    No,
    /// The number of an entry of a list.
    Number(u32),
    /// A no, and the number of an entry.
    NoNumber(u32),
    /// All entries of a list.
    All,
    /// A no, and all entries.
    NoAll,
    /// A command.
    Command(TextCommand),
    /// Anything else.
    Other,
}

/// A command of a user by a text that is not a reply to a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextCommand {
    /// The list of the user's files.
    Files,
    /// To delete the file of this number in the list.
    Delete(u32),
    /// How much the user's files take.
    Quota,
}

/// Every yes, in lower case and in NFC.
pub const YES: &[&str] = &[
    "ok", "okay", "yes", "y", "oui", "o", "ja", "j", "si", "sí", "da", "да", "tak", "ano", "sim", "igen",
    "evet", "是", "好", "はい",
];

/// Every no, in lower case and in NFC. The capital of the Turkish "ı" is "I", hence two spellings.
pub const NO: &[&str] = &[
    "no",
    "n",
    "non",
    "nein",
    "nee",
    "ne",
    "nie",
    "não",
    "нет",
    "nem",
    "hayır",
    "hayir",
    "nu",
    "不",
    "いいえ",
];

const ALL: &str = "all";

/// Reads a text. A yes is the whole text, without white space around it and one `.` or `!` at its end; a no need only be
/// its beginning. Case does not matter, nor how accents are written.
pub fn read(body: &str) -> Text {
    let body = body.trim();
    let is_short = body.chars().nth(limits::REPLY_CHARS).is_none();
    let head: String = body.chars().take(limits::REPLY_CHARS).collect();
    let head: String = head.to_lowercase().nfc().collect();
    let words = without_mark(&head);
    if is_short && YES.contains(&words) {
        return Text::Yes;
    }
    let target = |words| if is_short { Target::read(words) } else { Target::Unclear };
    match (after_no(&head), target(words)) {
        (Some(rest), _) => match target(without_mark(rest)) {
            Target::Number(number) => Text::NoNumber(number),
            Target::All => Text::NoAll,
            Target::Unclear => Text::No,
        },
        (None, Target::Number(number)) => Text::Number(number),
        (None, Target::All) => Text::All,
        (None, Target::Unclear) if is_short => command(words).map_or(Text::Other, Text::Command),
        (None, Target::Unclear) => Text::Other,
    }
}

/// Whether the text is this transaction id, in exactly this case. Only of an id that no word can be mistaken for: the
/// requester chose it.
pub fn is_id(body: &str, id: &str) -> bool {
    let body = body.trim();
    is_distinct(id) && (body == id || without_mark(body) == id)
}

/// Whether a prompt may show this transaction id: the requester chose it, and must not be able to write sentences or
/// addresses with a path to people.
pub fn is_shown(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=limits::SHOWN_CHARS).contains(&id.len()) && id.bytes().all(plain)
}

fn is_distinct(id: &str) -> bool {
    let digits = id.bytes().filter(u8::is_ascii_digit).count();
    is_shown(id) && id.len() >= limits::DISTINCT_ID_CHARS && digits >= 2
}

/// The entries of a list that a text names.
enum Target {
    Number(u32),
    All,
    Unclear,
}

impl Target {
    fn read(words: &str) -> Self {
        let is_number = (1..=3).contains(&words.len()) && words.bytes().all(|byte| byte.is_ascii_digit());
        match words.parse() {
            Ok(number) if is_number => Self::Number(number),
            _ if words == ALL => Self::All,
            _ => Self::Unclear,
        }
    }
}

fn command(words: &str) -> Option<TextCommand> {
    match words {
        "files" => Some(TextCommand::Files),
        "quota" => Some(TextCommand::Quota),
        _ => match Target::read(words.strip_prefix("delete ")?.trim_start()) {
            Target::Number(number) => Some(TextCommand::Delete(number)),
            Target::All | Target::Unclear => None,
        },
    }
}

/// The text behind a no, if it begins with one.
fn after_no(text: &str) -> Option<&str> {
    let behind = NO.iter().filter_map(|word| text.strip_prefix(word));
    behind.into_iter().find(|rest| !rest.starts_with(char::is_alphabetic)).map(str::trim)
}

/// The text without one full stop or exclamation mark at its end, Western or East Asian.
fn without_mark(text: &str) -> &str {
    text.strip_suffix(['.', '!', '。', '！']).unwrap_or(text).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_yes_counts_in_any_case_and_form() {
        for word in YES {
            let capitals = word.to_uppercase();
            let apart: String = word.nfd().collect();
            for text in [
                (*word).to_owned(),
                capitals.clone(),
                apart,
                format!("  {word} \n"),
                format!("{word}."),
                format!("{capitals}!"),
                format!("{word} !"),
            ] {
                assert_eq!(read(&text), Text::Yes, "{text:?}");
            }
            for text in
                [format!("{word}.."), format!("{word}?"), format!("{word} {word}"), format!("x{word}")]
            {
                assert_ne!(read(&text), Text::Yes, "{text:?}");
            }
        }
        assert_eq!(read("はい。"), Text::Yes);
    }

    #[test]
    fn every_no_counts_at_the_beginning_of_a_text() {
        for word in NO {
            let apart: String = word.nfd().collect();
            for text in [
                (*word).to_owned(),
                apart,
                format!(" {word}. "),
                format!("{word}!!!"),
                format!("{word}, that was somebody else"),
                format!("{word}\nok"),
                format!("{word} {}", "x".repeat(70_000)),
                format!("{word} 2 and 3"),
            ] {
                assert_eq!(read(&text), Text::No, "{text:.80?}");
            }
            assert_eq!(read(&format!("{word}x")), Text::Other, "{word}");
        }
        for capitals in ["NO", "NEIN", "NON", "НЕТ", "NÃO", "HAYIR", "Hayır"] {
            assert_eq!(read(capitals), Text::No, "{capitals}");
        }
    }

    #[test]
    fn numbers_and_all() {
        for (text, expected) in [
            ("2", Text::Number(2)),
            (" 12. ", Text::Number(12)),
            ("999!", Text::Number(999)),
            ("1000", Text::Other),
            ("-2", Text::Other),
            ("+2", Text::Other),
            ("2 3", Text::Other),
            ("\u{662}", Text::Other),
            ("no 2", Text::NoNumber(2)),
            ("No 2.", Text::NoNumber(2)),
            ("nein 12!", Text::NoNumber(12)),
            ("no2", Text::NoNumber(2)),
            ("no, 2", Text::No),
            ("no 2000", Text::No),
            ("all", Text::All),
            ("ALL!", Text::All),
            ("no all", Text::NoAll),
            ("Non ALL.", Text::NoAll),
            ("no  all", Text::NoAll),
            ("all no", Text::Other),
            ("no all of them", Text::No),
            ("ok 2", Text::Other),
            ("ok all", Text::Other),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn commands_are_whole_texts() {
        use TextCommand::{Delete, Files, Quota};
        for (text, expected) in [
            ("files", Some(Files)),
            (" FILES! ", Some(Files)),
            ("Quota.", Some(Quota)),
            ("delete 3", Some(Delete(3))),
            ("Delete  12.", Some(Delete(12))),
            ("delete 999", Some(Delete(999))),
            ("delete 1000", None),
            ("delete", None),
            ("delete all", None),
            ("delete 1 2", None),
            ("delete -1", None),
            ("delete3", None),
            ("please delete 3", None),
            ("my files", None),
            ("files 2", None),
            ("/files", None),
            ("file\u{202e}s", None),
        ] {
            assert_eq!(read(text), expected.map_or(Text::Other, Text::Command), "{text:?}");
        }
        assert_eq!(read("no files"), Text::No);
        assert_eq!(read(&format!("files{}.", " ".repeat(64))), Text::Other);
    }

    #[test]
    fn other_texts_mean_nothing() {
        let long = "ok".repeat(40_000);
        let spaced = format!("ok{}!", " ".repeat(40_000));
        for text in [
            "",
            " ",
            ".",
            "!",
            "not sure",
            "nobody",
            "note",
            "none",
            "nope",
            "yesterday",
            "okey-dokey",
            "o k",
            "\u{202e}ko",
            "ok\u{202e}",
            "\u{200b}ok",
            "o\u{308}",
            "не",
            "不是",
            "すいいえ",
            "> ok",
            "/me ok",
            "?OTR:ok",
            "y/n",
            &long,
            &spaced,
        ] {
            assert_eq!(read(text), Text::Other, "{text:.40?}");
        }
    }

    #[test]
    fn an_id_confirms_only_if_no_word_can_be_mistaken_for_it() {
        for (body, id, counts) in [
            ("a7374jnjlalasdf82", "a7374jnjlalasdf82", true),
            (" a7374jnjlalasdf82! ", "a7374jnjlalasdf82", true),
            ("A7374jnjlalasdf82", "a7374jnjlalasdf82", false),
            ("upload-12.", "upload-12.", true),
            ("upload12", "upload12", true),
            ("upload1", "upload1", false),
            ("uploads1", "uploads1", false),
            ("please12 ok", "please12 ok", false),
            ("12345678", "12345678", true),
            ("ok", "ok", false),
            ("schöne12", "schöne12", false),
            ("a7374jnjlalasdf8", "a7374jnjlalasdf82", false),
            ("", "", false),
        ] {
            assert_eq!(is_id(body, id), counts, "{body:?} {id:?}");
        }
        let long = format!("12{}", "x".repeat(63));
        assert!(!is_id(&long, &long) && is_id(&long[..64], &long[..64]));
    }

    #[test]
    fn ids_that_could_hold_a_sentence_or_a_path_are_not_shown() {
        for id in ["t", "0f-3.a_b", "a7374jnjlalasdf82", &"x".repeat(64)] {
            assert!(is_shown(id), "{id}");
        }
        for id in ["", "a b", "7. Your account", "x/y", "é", "\u{202e}x", "a\nb", &"x".repeat(65)] {
            assert!(!is_shown(id), "{id}");
        }
    }
}
