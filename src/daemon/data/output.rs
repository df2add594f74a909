//! The output of the commands.

use std::io::Write;

use serde::Serialize;

use super::OutputForm;
use crate::clock::Timestamp;
use crate::daemon::say;
use crate::model::is_invisible;
use crate::uploads::shown_size;

/// Prints results as they come: lines for people, or one JSON array with an object in each line.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    form: OutputForm,
    /// The object that is not written yet: whether a comma follows is known when the next one comes.
    held: Option<String>,
    is_begun: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(out: &'a mut dyn Write, form: OutputForm) -> Self {
        Self { out, form, held: None, is_begun: false }
    }

    /// A result, in the form that is wanted.
    pub(super) fn result(&mut self, object: &impl Serialize, text: impl FnOnce() -> String) {
        match self.form {
            OutputForm::Text => say(self.out, &text()),
            OutputForm::Json => {
                // Texts and numbers can always be written.
                let object = serde_json::to_string(object).unwrap_or_default();
                self.begin();
                if let Some(before) = self.held.replace(object) {
                    say(self.out, &format!("{before},"));
                }
            }
        }
    }

    /// A line for people only.
    pub(super) fn text(&mut self, line: &str) {
        if self.form == OutputForm::Text {
            say(self.out, line);
        }
    }

    /// The end of all results. An error ends them, too: what was printed before it is an array all the same.
    pub(super) fn end(self) {
        drop(self);
    }

    fn begin(&mut self) {
        if !self.is_begun {
            say(self.out, "[");
            self.is_begun = true;
        }
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if self.form == OutputForm::Json {
            self.begin();
            if let Some(last) = self.held.take() {
                say(self.out, &last);
            }
            say(self.out, "]");
        }
    }
}

/// A size, with room for the largest.
pub(super) fn size(bytes: u64) -> String {
    format!("{:>10}", shown_size(bytes))
}

/// A date to the minute, in UTC.
pub(super) fn minute(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// A text that users chose, so that it can't move the cursor, hide itself or turn what follows.
pub(super) fn shown(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        if is_invisible(c) { visible.extend(c.escape_unicode()) } else { visible.push(c) }
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(form: OutputForm, results: &[u32]) -> String {
        let mut out = Vec::new();
        let mut output = Output::new(&mut out, form);
        output.text("people only");
        results.iter().for_each(|result| output.result(result, || format!("<{result}>")));
        output.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn results_are_lines_or_one_array() {
        assert_eq!(printed(OutputForm::Text, &[1, 2]), "people only\n<1>\n<2>\n");
        assert_eq!(printed(OutputForm::Json, &[]), "[\n]\n");
        assert_eq!(printed(OutputForm::Json, &[1]), "[\n1\n]\n");
        assert_eq!(printed(OutputForm::Json, &[1, 2, 3]), "[\n1,\n2,\n3\n]\n");
    }

    #[test]
    fn texts_of_users_move_no_cursor() {
        for (text, expected) in [
            ("Büro 😀.jpg", "Büro 😀.jpg"),
            ("a\u{1b}[2Jb\r\n", "a\\u{1b}[2Jb\\u{d}\\u{a}"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("\u{9b}1m\u{feff}", "\\u{9b}1m\\u{feff}"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn results_before_an_error_are_an_array() {
        let mut printed = Vec::new();
        let mut output = Output::new(&mut printed, OutputForm::Json);
        output.result(&1, String::new);
        drop(output);
        assert_eq!(String::from_utf8(printed).unwrap(), "[\n1\n]\n");
    }
}
