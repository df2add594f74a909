//! Java's properties syntax (`java.util.Properties.load`), in UTF-8 and without I/O.
//!
//! Departures from Java: trailing blanks of a value are dropped unless a `\` stands before them, a
//! leading byte order mark is skipped, and an entry without a key or half a surrogate pair is an error.

use std::fmt;
use std::str::Chars;

use crate::error::{Error, Kind, Result};
use crate::limits;

/// One setting as it was written. The value may be a password: `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, escapes resolved.
    pub key: String,
    /// The value, escapes resolved.
    pub value: String,
    /// The number of the line it starts on, from 1; none where it doesn't come from a file.
    pub line: Option<usize>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("line", &self.line).finish_non_exhaustive()
    }
}

/// Reads the entries of a file's bytes in order, repeated keys included. `name` is the file's name for
/// errors, which are all of [`Kind::Config`] and name the line, too.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Entry>> {
    if bytes.len() as u64 > limits::CONFIG_BYTES {
        let most = limits::CONFIG_BYTES;
        return Err(Error::new(Kind::Config, format!("{name}: more than {most} bytes of configuration")));
    }
    let wrong = |line: usize, what: &str| Error::new(Kind::Config, format!("{name}:{line}: {what}"));
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = natural_lines(&String::from_utf8_lossy(&bytes[..error.valid_up_to()])).count();
        wrong(line, "a character that is not UTF-8")
    })?;
    logical_lines(text.strip_prefix('\u{feff}').unwrap_or(text))
        .into_iter()
        .map(|(line, text)| entry(line, &text).map_err(|what| wrong(line, what)))
        .collect()
}

/// White space within a line, as Java defines it.
const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

fn entry(line: usize, text: &str) -> std::result::Result<Entry, &'static str> {
    let (key, value) = split(text);
    let entry = Entry { key: unescape(key)?, value: unescape(value)?, line: Some(line) };
    if entry.key.is_empty() { Err("a value without a key") } else { Ok(entry) }
}

/// Lines ended by LF, CR or CRLF; the text behind the last end is a line, too.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Lines that hold an entry, numbered from 1, continuations joined to them.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = natural_lines(text).map(|line| line.trim_start_matches(BLANKS)).zip(1..);
    while let Some((mut line, number)) = lines.next() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = String::new();
        while let Some(head) = continued(line) {
            logical.push_str(head);
            // At the end of the file there is nothing to continue with.
            line = lines.next().map_or("", |(next, _)| next);
        }
        logical.push_str(line);
        found.push((number, logical));
    }
    found
}

/// The line without the backslash that joins the next one to it; none if there is no such backslash.
fn continued(line: &str) -> Option<&str> {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    if backslashes % 2 == 1 { line.strip_suffix('\\') } else { None }
}

/// Splits a logical line at its first bare `=`, `:` or blank.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let ends_key = |c: char| {
        let ends = !escaped && (matches!(c, '=' | ':') || BLANKS.contains(&c));
        escaped = !escaped && c == '\\';
        ends
    };
    let (key, rest) = line.split_at(line.find(ends_key).unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANKS);
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANKS))
}

/// Resolves escapes and drops blanks at the end that are not escaped.
fn unescape(raw: &str) -> std::result::Result<String, &'static str> {
    let mut text = String::with_capacity(raw.len());
    let mut kept = 0;
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            text.extend(escaped(&mut chars)?);
            kept = text.len();
        } else {
            text.push(c);
            if !BLANKS.contains(&c) {
                kept = text.len();
            }
        }
    }
    text.truncate(kept);
    Ok(text)
}

/// The character that the escape behind a backslash stands for; none at the end of the text.
fn escaped(chars: &mut Chars<'_>) -> std::result::Result<Option<char>, &'static str> {
    Ok(match chars.next() {
        Some('t') => Some('\t'),
        Some('n') => Some('\n'),
        Some('r') => Some('\r'),
        Some('f') => Some('\u{c}'),
        Some('u') => Some(utf16(chars)?),
        other => other,
    })
}

/// The character of one `\uXXXX`, or of two that are a surrogate pair; the first `\u` has been read.
fn utf16(chars: &mut Chars<'_>) -> std::result::Result<char, &'static str> {
    const HALF: &str = "a \\u escape that is half a character: surrogates go in pairs";
    let first = unit(chars)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Ok(c);
    }
    if chars.next() != Some('\\') || chars.next() != Some('u') {
        return Err(HALF);
    }
    match char::decode_utf16([first, unit(chars)?]).next() {
        Some(Ok(c)) => Ok(c),
        _ => Err(HALF),
    }
}

fn unit(chars: &mut Chars<'_>) -> std::result::Result<u16, &'static str> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = chars.next().and_then(|c| c.to_digit(16)).ok_or("\\u without four hexadecimal digits")?;
        // Four digits of 4 bits: at most 0xffff.
        unit = unit << 4 | digit as u16;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries as `line key=value`, or the error.
    fn read(text: impl AsRef<[u8]>) -> Vec<String> {
        match parse("f", text.as_ref()) {
            Ok(entries) => entries
                .iter()
                .map(|entry| format!("{} {}={}", entry.line.unwrap(), entry.key, entry.value))
                .collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn every_rule_of_the_syntax() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("\n\r\n \t\u{c}\n", &[]),
            ("# c\n ! c=d\n", &[]),
            ("a=b", &["1 a=b"]),
            ("a:b\n", &["1 a=b"]),
            ("a b\n", &["1 a=b"]),
            ("a\tb\n", &["1 a=b"]),
            ("  a \t =  b\n", &["1 a=b"]),
            ("a = = b\n", &["1 a== b"]),
            ("a : =b\n", &["1 a==b"]),
            ("a\n", &["1 a="]),
            ("a=\nb", &["1 a=", "2 b="]),
            ("a=b  \t\nc=d\\ \n", &["1 a=b", "2 c=d "]),
            ("a=b \\  \n", &["1 a=b  "]),
            ("a=b#c!d\n", &["1 a=b#c!d"]),
            ("a\\ b\\=c\\:d=e\n", &["1 a b=c:d=e"]),
            ("\\#a=b\n", &["1 #a=b"]),
            ("a=1\r\nb=2\rc=3\n", &["1 a=1", "2 b=2", "3 c=3"]),
            ("a=b,\\\n    c\nd=e", &["1 a=b,c", "3 d=e"]),
            ("a=b\\\r\n\tc\r\nd=e", &["1 a=bc", "3 d=e"]),
            ("a=b\\\n#c\n", &["1 a=b#c"]),
            ("a=b\\\n\nc=d\n", &["1 a=b", "3 c=d"]),
            ("a=b\\\\\nc=d\n", &["1 a=b\\", "2 c=d"]),
            ("a=b\\\\\\\nc\n", &["1 a=b\\c"]),
            ("a=b\\\n\\\n\\\nc\n", &["1 a=bc"]),
            ("# c\\\na=b\n", &["2 a=b"]),
            ("a\\\n=b\n", &["1 a=b"]),
            ("a=b\\", &["1 a=b"]),
            ("a=b\\\n", &["1 a=b"]),
            ("a=\\t\\n\\r\\f\\q\\\\\\'\n", &["1 a=\t\n\r\u{c}q\\'"]),
            ("a=\\u00e9\\u00E9x\n", &["1 a=ééx"]),
            ("\\u0061=\\uD83D\\uDE00\n", &["1 a=😀"]),
            ("a=é😀\n", &["1 a=é😀"]),
            ("\u{feff}a=b\n", &["1 a=b"]),
            ("a=1\na=2\n", &["1 a=1", "2 a=2"]),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        let table: &[(&[u8], &str)] = &[
            (b"a=b\n\nc=\\u12g4\n", "f:3: \\u without four hexadecimal digits"),
            (b"a=\\u12", "f:1: \\u without four hexadecimal digits"),
            (b"a=\\u+123", "f:1: \\u without four hexadecimal digits"),
            (b"a=\\ud83d\n", "f:1: a \\u escape that is half a character: surrogates go in pairs"),
            (b"a=\\ud83dx\n", "f:1: a \\u escape that is half a character: surrogates go in pairs"),
            (b"a=\\ud83d\\u0041\n", "f:1: a \\u escape that is half a character: surrogates go in pairs"),
            (b"a=\\ude00\\ud83d\n", "f:1: a \\u escape that is half a character: surrogates go in pairs"),
            (b"\n=b\n", "f:2: a value without a key"),
            (b"a=b\r\nc=\xe9\n", "f:2: a character that is not UTF-8"),
            (b"\xff", "f:1: a character that is not UTF-8"),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), [*expected], "{:?}", String::from_utf8_lossy(text));
            assert_eq!(parse("f", text).unwrap_err().kind(), Kind::Config);
        }
    }

    #[test]
    fn a_file_above_the_limit_is_refused() {
        let most = usize::try_from(limits::CONFIG_BYTES).unwrap();
        assert_eq!(read("#".repeat(most)).len(), 0);
        assert_eq!(read("#".repeat(most + 1)), ["f: more than 1048576 bytes of configuration"]);
        // Each line continues the one before: joining them must not take quadratic time.
        assert_eq!(parse("f", "\\\\\\\n".repeat(most / 4).as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn debug_leaves_the_value_out() {
        let entries = parse("f", b"password=hunter2").unwrap();
        assert_eq!(format!("{entries:?}"), "[Entry { key: \"password\", line: Some(1), .. }]");
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let alphabet = b"ab=: \t\\\\\\\\uuu0dD8cC9\r\n\n#!\xc3\xa9\xff";
        let mut random = crate::testing::Random::new(1);
        for _ in 0..20_000 {
            let text = random.text(alphabet, 40);
            if let Ok(entries) = parse("f", &text) {
                assert!(entries.iter().all(|entry| !entry.key.is_empty()));
                assert!(entries.windows(2).all(|pair| pair[0].line < pair[1].line));
            }
        }
    }

    #[test]
    fn escaped_characters_are_read_back() {
        let mut random = crate::testing::Random::new(2);
        for _ in 0..5_000 {
            let text = random.text(b"a\\ =:\t\n\r#!u0", 12);
            let text = String::from_utf8(text).unwrap();
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let entries = parse("f", format!("k{escaped} = {escaped}").as_bytes()).unwrap();
            assert_eq!((&entries[0].key, &entries[0].value), (&format!("k{text}"), &text));
        }
    }
}
