//! The name that a download gets. The server or the uploader has chosen it, so it is hostile. Without I/O.

use media_server::model::cut_file_name;
use percent_encoding::percent_decode_str;

use crate::exit::shown;

/// The file name in a `Content-Disposition` (RFC 6266): `filename*` where there is one, else `filename`.
pub fn told_name(disposition: &str) -> Option<String> {
    let parameters = parameters(disposition);
    let of = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    of("filename*").and_then(extended).or_else(|| of("filename").map(str::to_owned))
}

/// A name in the present folder: one component, not hidden, no option, and nothing that a terminal would obey. `None` if
/// nothing is left of it.
pub fn safe_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let visible = shown(last);
    let trimmed = visible.trim().trim_end_matches(['.', ' ']);
    let rest = trimmed.trim_start_matches(['.', '-', ' ', '~']);
    if rest.is_empty() {
        return None;
    }
    let prefix = if rest.len() < trimmed.len() { "_" } else { "" };
    Some(cut_file_name(&format!("{prefix}{rest}")))
}

/// The parameters behind the type, their names in lower case; quotes are taken away.
fn parameters(value: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim().trim_start_matches(';').trim().to_ascii_lowercase();
        let after = after.trim_start();
        let (value, end) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name, value));
        rest = end;
    }
    found
}

/// A quoted string without its first quote, and what stands behind it.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// An extended value (RFC 8187) in UTF-8.
fn extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let is_utf8 = parts.next()?.eq_ignore_ascii_case("utf-8");
    let encoded = parts.nth(1)?;
    let decoded = percent_decode_str(encoded).decode_utf8().ok()?;
    is_utf8.then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_servers_write_them() {
        for (value, expected) in [
            ("inline; filename=\"photo.jpg\"", Some("photo.jpg")),
            ("attachment; filename=\"a_.jpg\"; filename*=UTF-8''%C3%A4.jpg", Some("ä.jpg")),
            ("attachment; filename*=UTF-8''%C3%A4.jpg; filename=\"a_.jpg\"", Some("ä.jpg")),
            ("attachment; filename*=latin1''%E4.jpg; filename=a.jpg", Some("a.jpg")),
            ("attachment;FileName=a.jpg", Some("a.jpg")),
            ("attachment; filename=\"a\\\"b;c=d.jpg\"; x=y", Some("a\"b;c=d.jpg")),
            ("attachment; filename=\"no end", Some("no end")),
            ("inline", None),
            ("", None),
            ("; =;;=\"", None),
        ] {
            assert_eq!(told_name(value).as_deref(), expected, "{value}");
        }
    }

    /// A name never leads out of the current folder, and is never an option or a hidden file.
    #[test]
    fn no_name_leads_out_of_the_folder() {
        for (name, expected) in [
            ("photo.jpg", Some("photo.jpg")),
            ("ä photo (1).jpg", Some("ä photo (1).jpg")),
            ("../../etc/passwd", Some("passwd")),
            ("/etc/passwd", Some("passwd")),
            ("..\\..\\autoexec.bat", Some("autoexec.bat")),
            ("C:\\x\\y.txt", Some("y.txt")),
            ("..", None),
            (".", None),
            ("...", None),
            ("", None),
            ("   ", None),
            ("a/", None),
            ("a/..", None),
            (".bashrc", Some("_bashrc")),
            ("..hidden", Some("_hidden")),
            ("-rf", Some("_rf")),
            ("~", None),
            ("~root", Some("_root")),
            ("\0", None),
            ("a\0b", Some("ab")),
            ("a\nb\r.txt", Some("a b.txt")),
            ("\u{1b}]0;x\u{7}.txt", Some("]0;x.txt")),
            ("gpj.\u{202E}exe", Some("gpj.exe")),
            ("a.txt. . ", Some("a.txt")),
        ] {
            assert_eq!(safe_name(name).as_deref(), expected, "{name:?}");
        }
        let long = safe_name(&format!("{}.jpeg", "ä".repeat(300))).unwrap();
        assert!(long.len() <= 255 && long.ends_with(".jpeg"), "{long}");
    }
}
