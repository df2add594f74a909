//! The output for the user: results on standard output, all else on standard error, and the progress bar there.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use media_server::model::is_hidden;

use crate::args::Options;
use crate::exit::{Exit, Failure, Result, shown};

/// The bar: what it is about, how far it is, the rate, and the time left.
const BAR: &str = "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
/// The same if the size is not known.
const COUNTER: &str = "{msg} {binary_bytes} {binary_bytes_per_sec}";
/// How often the bar is drawn though nothing moves: the rate goes down.
const TICK: Duration = Duration::from_millis(250);

/// The terminal or the pipes of this process.
pub struct Console {
    quiet: bool,
    verbose: bool,
    json: bool,
    /// The bar that is shown. Lines are written above it.
    bar: Mutex<Option<ProgressBar>>,
}

/// How far some transfers are together.
pub struct Progress<'a> {
    console: &'a Console,
    bar: Option<ProgressBar>,
    what: String,
    files: usize,
    done: AtomicUsize,
}

impl Console {
    /// A console as these options want it.
    pub fn new(options: &Options) -> Self {
        Self { quiet: options.quiet, verbose: options.verbose, json: options.json, bar: Mutex::new(None) }
    }

    /// Whether results are wanted as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Tells a step, with `--verbose`.
    pub fn detail(&self, text: impl fmt::Display) {
        if self.verbose {
            self.tell(&text.to_string());
        }
    }

    /// Tells the user something that is neither a result nor a failure, unless `--quiet` was given.
    pub fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            self.tell(&text.to_string());
        }
    }

    /// Tells a failure.
    pub fn failure(&self, failure: &Failure) {
        self.tell(&failure.text);
    }

    fn tell(&self, text: &str) {
        let line = format!("buddycloud-media: {}\n", shown(text));
        // If standard error fails, nothing can be reported.
        self.above_the_bar(|| drop(io::stderr().write_all(line.as_bytes())));
    }

    /// Writes a line of a result.
    pub fn print(&self, line: &str) -> Result<()> {
        self.write(&format!("{}\n", shown(line)))
    }

    /// Writes a text of the program's own as it is.
    pub fn print_text(&self, text: &str) -> Result<()> {
        self.write(text)
    }

    fn write(&self, line: &str) -> Result<()> {
        let mut written = Ok(());
        self.above_the_bar(|| {
            let mut output = io::stdout().lock();
            written = output.write_all(line.as_bytes()).and_then(|()| output.flush());
        });
        written.map_err(|error| unwritten(&error))
    }

    /// Writes results as a JSON array.
    pub fn print_json(&self, results: &[serde_json::Value]) -> Result<()> {
        self.write(&format!("{}\n", escaped(&serde_json::Value::Array(results.to_vec()).to_string())))
    }

    /// Shows a bar for so many files of so many bytes, if there is a terminal to show it on.
    pub fn progress(&self, what: &str, files: usize, bytes: Option<u64>) -> Progress<'_> {
        let visible = !self.quiet && io::stderr().is_terminal();
        let bar = visible.then(|| {
            let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
            let template = if bytes.is_some() { BAR } else { COUNTER };
            let style = ProgressStyle::with_template(template).expect("the templates are right");
            bar.set_style(style.progress_chars("=> "));
            bar.set_message(label(what, files, 0));
            bar.enable_steady_tick(TICK);
            bar
        });
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = bar.clone();
        Progress { console: self, bar, what: what.to_owned(), files, done: AtomicUsize::new(0) }
    }

    fn above_the_bar(&self, write: impl FnOnce()) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Progress<'_> {
    /// So many bytes more went.
    pub fn add(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// So many bytes have to go again.
    pub fn take_back(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bar.position().saturating_sub(bytes));
        }
    }

    /// A file is done.
    pub fn file_done(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(bar) = &self.bar {
            bar.set_message(label(&self.what, self.files, done));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        *self.console.bar.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The name of one file, or how many of several are done.
fn label(what: &str, files: usize, done: usize) -> String {
    /// Longer names leave no room for the bar.
    const SHOWN: usize = 24;
    if files > 1 {
        return format!("{done}/{files} files");
    }
    let name = shown(what);
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

/// The failure of an output. A reader that has gone needs no more.
fn unwritten(error: &io::Error) -> Failure {
    Failure::new(Exit::Io, format!("can't write to standard output: {error}"))
}

/// JSON in which hidden characters are escaped: it may be shown on a terminal. Only its strings can hold any.
fn escaped(json: &str) -> String {
    let escape = |c: char| if is_hidden(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    json.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_can_not_move_the_cursor_and_keeps_its_meaning() {
        let value = serde_json::json!({"title": "a\u{9b}2J\u{202e}\u{7f}\nü\u{1f600}"});
        let text = escaped(&value.to_string());
        assert_eq!(text, "{\"title\":\"a\\u009b2J\\u202e\\u007f\\nü\u{1f600}\"}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_label_is_short_and_harmless() {
        assert_eq!(label("photo.jpg", 1, 0), "photo.jpg");
        assert_eq!(label(&"ä".repeat(30), 1, 0), format!("{}…", "ä".repeat(24)));
        assert_eq!(label("\u{1b}[2Jx", 1, 0), "[2Jx");
        assert_eq!(label("photo.jpg", 1000, 7), "7/1000 files");
    }

    #[test]
    fn the_templates_are_right() {
        for template in [BAR, COUNTER] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
