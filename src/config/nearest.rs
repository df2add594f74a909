//! Finds the known word that was probably meant by a mistyped one.

/// The known word nearest to `word`, if it is near enough to be meant: up to four
/// letters differ, and no more than a third.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let near = |known: &'a str| {
        let letters: Vec<char> = known.chars().collect();
        let limit = (letters.len().max(word.len()) / 3).min(4);
        // Words of different lengths differ at least by that: no need to count further.
        let possible = letters.len().abs_diff(word.len()) <= limit;
        let distance = if possible { distance(&word, &letters) } else { usize::MAX };
        (distance <= limit).then_some((distance, known))
    };
    known.into_iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Insertions, deletions and substitutions between two words (Levenshtein's distance), row by row.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found() {
        let known = ["http.port", "http.bind", "https.port", "jdbc.db.url", "xmpp.reply.timeout"];
        let table = [
            ("http.prot", Some("http.port")),
            ("HTTP.Port", Some("http.port")),
            ("htps.port", Some("https.port")),
            ("jdbc.url", Some("jdbc.db.url")),
            ("xmpp.replytimeout", Some("xmpp.reply.timeout")),
            ("xmpp.reply.nothing", None),
            ("mail.host", None),
            ("", None),
            ("é", None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), known), None);
    }

    #[test]
    fn distances_count_single_edits() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, expected) in [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(&chars(a), &chars(b)), expected, "{a} {b}");
        }
    }
}
