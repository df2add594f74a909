//! A program on a terminal, by script(1).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::media_client::MediaClient;
use super::wait_for;

/// A program on a terminal of 100 columns.
pub struct Terminal {
    script: Child,
    typescript: PathBuf,
}

impl Terminal {
    /// Starts a shell's command line at the home of this client.
    pub fn start(client: &MediaClient, line: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let typescript = client.home().join(format!(".config/typescript-{number}"));
        let line = format!("stty cols 100 rows 30; exec {line}");
        let mut command = Command::new("script");
        client.at_home(&mut command);
        let script = command
            .args(["-q", "-e", "-f", "-c", &line])
            .arg(&typescript)
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("script(1) is installed");
        Self { script, typescript }
    }

    /// Types something: `\x03` is Ctrl-C.
    pub fn enter(&mut self, text: &str) {
        let input = self.script.stdin.as_mut().expect("a pipe");
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).expect("the terminal is there");
    }

    /// Waits for the end; gives the exit status.
    pub fn wait(&mut self) -> i32 {
        let status =
            wait_for("the end of the program", || self.script.try_wait().expect("script can be waited for"));
        status.code().unwrap_or(-1)
    }

    /// The states of the line at the cursor, in order: what stood between two returns to its beginning.
    pub fn frames(&self) -> Vec<String> {
        frames(&self.typescript)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended if the test went well.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

fn frames(typescript: &Path) -> Vec<String> {
    let text = String::from_utf8_lossy(&fs::read(typescript).unwrap_or_default()).into_owned();
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // A control sequence ends with a letter.
            chars.by_ref().find(char::is_ascii_alphabetic);
            // A sequence that clears the line begins another state of it.
            plain.push('\r');
        } else {
            plain.push(c);
        }
    }
    let frames = plain.split(['\r', '\n']).map(|frame| frame.trim_end().to_owned());
    // The first line and the last are script's own.
    frames.filter(|frame| !frame.is_empty() && !frame.starts_with("Script ")).collect()
}
