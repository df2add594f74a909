//! Characters of foreign texts that are not shown as they are.

/// Whether a character could move the cursor of a terminal, or turn the direction of writing (UAX #9): with such marks
/// `gpj.exe` is shown as `exe.jpg`.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same, or a character that shows nothing by itself (UTR #36). Some emoji and scripts need these, so they belong into
/// names that are kept, but not into lines that people compare.
pub fn is_invisible(c: char) -> bool {
    is_hidden(c)
        || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_direction_are_hidden_and_joiners_are_invisible() {
        for (c, hidden, invisible) in [
            ('a', false, false),
            ('\u{5d0}', false, false),
            ('\u{301}', false, false),
            ('\u{fe0f}', false, false),
            ('\u{1b}', true, true),
            ('\u{85}', true, true),
            ('\u{61c}', true, true),
            ('\u{200e}', true, true),
            ('\u{202e}', true, true),
            ('\u{2067}', true, true),
            ('\u{200c}', false, true),
            ('\u{200d}', false, true),
            ('\u{2028}', false, true),
            ('\u{2060}', false, true),
            ('\u{206a}', false, true),
            ('\u{feff}', false, true),
        ] {
            assert_eq!((is_hidden(c), is_invisible(c)), (hidden, invisible), "{c:?}");
        }
    }
}
