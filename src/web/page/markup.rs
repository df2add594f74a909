//! A writer of HTML and XML that prevents injection: only literals of the program are written without escapes,
//! and every other text is escaped. Any thread runs it.

use std::fmt::Display;

/// A document that grows.
pub(in crate::web) struct Markup(String);

impl Markup {
    pub fn new() -> Self {
        Self(String::new())
    }

    /// Appends markup as it stands. It is a literal of the program, never a text from outside.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Appends a text, escaped for the content of an element and for a value between quotation marks.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match escape(c) {
                Some(escaped) => self.0.push_str(escaped),
                None => self.0.push(c),
            }
        }
        self
    }

    /// Appends a value by its text, escaped.
    pub fn show(&mut self, value: impl Display) -> &mut Self {
        self.text(&value.to_string())
    }

    /// Appends an attribute with this value, and the space before it.
    pub fn attribute(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").text(value).raw("\"")
    }

    /// The bytes of the document, in UTF-8.
    pub fn into_bytes(mut self) -> Vec<u8> {
        // A client that reads slowly keeps it for long.
        self.0.shrink_to_fit();
        self.0.into_bytes()
    }
}

/// The characters that are not written as they are. A line break in an attribute would become a space (XML 1.0 section
/// 3.3.3), and no document may hold the control characters (XML 1.0 section 2.2, HTML section 13.2.3.5).
fn escape(c: char) -> Option<&'static str> {
    Some(match c {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&#34;",
        '\'' => "&#39;",
        '\t' => "&#9;",
        '\n' => "&#10;",
        '\r' => "&#13;",
        '\0'..'\u{20}' | '\u{7f}'..='\u{9f}' | '\u{fdd0}'..='\u{fdef}' => "\u{fffd}",
        c if u32::from(c) & 0xfffe == 0xfffe => "\u{fffd}",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut markup = Markup::new();
        markup.text(text);
        String::from_utf8(markup.into_bytes()).unwrap()
    }

    /// Reads escapes as a browser and an XML parser do.
    fn read(markup: &str) -> String {
        let escapes = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&#34;", "\""),
            ("&#39;", "'"),
            ("&#9;", "\t"),
            ("&#10;", "\n"),
            ("&#13;", "\r"),
        ];
        let text = escapes.into_iter().fold(markup.to_owned(), |text, (from, to)| text.replace(from, to));
        text.replace("&amp;", "&")
    }

    #[test]
    fn no_character_breaks_out() {
        for c in '\0'..=char::MAX {
            let markup = written(&format!("a{c}b"));
            let (start, rest) = markup.split_at(1);
            let (middle, end) = rest.split_at(rest.len() - 1);
            assert!(start == "a" && end == "b" && !middle.is_empty(), "{c:?}: {markup}");
            let escaped = middle.starts_with('&') && middle.ends_with(';');
            let harmless = escaped || !middle.contains(['<', '>', '&', '"', '\'']);
            assert!(harmless && middle.chars().all(|c| !c.is_control()), "{c:?}: {markup}");
        }
    }

    #[test]
    fn escaped_texts_read_back_as_they_were() {
        for text in [
            "",
            "plain",
            "<script>alert(1)</script>",
            "\"onmouseover='x'",
            "&amp;&lt;",
            "]]>",
            "a\tb\nc\rd",
            "é 🤷 \u{2028}\u{202e}",
        ] {
            assert_eq!(read(&written(text)), text);
        }
        assert_eq!(written("\0\u{1}\u{b}\u{85}\u{fffe}\u{1ffff}"), "\u{fffd}".repeat(6));
    }

    #[test]
    fn attributes_are_quoted() {
        let mut markup = Markup::new();
        markup.raw("<a").attribute("href", "x\" y='<>'").raw(">").show(7);
        let bytes = markup.into_bytes();
        assert_eq!(bytes, b"<a href=\"x&#34; y=&#39;&lt;&gt;&#39;\">7".to_vec());
    }
}
