//! Profanity, a client that knows no XEP-0070, in a terminal of its own: what a person sees there, and what they type.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::child::run;
use super::prosody::{DOMAIN, PASSWORD, Prosody};
use super::scratch::Scratch;
use super::wait_for;

/// A running Profanity.
pub struct Profanity {
    terminal: Child,
    screen: PathBuf,
    /// The user's full JID.
    jid: String,
    _scratch: Scratch,
}

impl Profanity {
    /// Starts one, and waits until this user is logged in.
    ///
    /// # Panics
    /// When it is not installed, or does not log in.
    pub fn login(prosody: &Prosody, user: &str) -> Self {
        assert_eq!(
            run(&["sh", "-c", "command -v profanity script"]).0,
            0,
            "run scripts/install-dependencies"
        );
        prosody.add_account(DOMAIN, user);
        let scratch = Scratch::new();
        let home = scratch.path().display().to_string();
        let (config, data) = (scratch.join("config"), scratch.join("data"));
        for (folder, name, text) in [
            (&config, "profrc", format!("[ui]\nsplash=false\nbeep=false\n[connection]\naccount={user}\n")),
            (&data, "accounts", account(user, prosody.client_port())),
        ] {
            let folder = folder.join("profanity");
            fs::create_dir_all(&folder).expect("the scratch directory takes folders");
            fs::write(folder.join(name), text).expect("the folder takes files");
        }
        let screen = scratch.join("screen");
        // A wide terminal, so that no line of ours is wrapped.
        let terminal = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command"])
            .args(["stty cols 240 rows 50; exec profanity", "/dev/null"])
            .envs([("HOME", home.as_str()), ("TERM", "xterm"), ("LANG", "C.UTF-8")])
            .envs([("XDG_CONFIG_HOME", &config), ("XDG_DATA_HOME", &data)])
            .stdin(Stdio::piped())
            .stdout(File::create(&screen).expect("the scratch directory takes files"))
            .stderr(Stdio::null())
            .spawn()
            .expect("script starts");
        let jid = format!("{user}@{DOMAIN}/profanity");
        let profanity = Self { terminal, screen, jid, _scratch: scratch };
        profanity.wait_for_text("logged in successfully");
        profanity
    }

    /// The user's full JID.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// The JID without its resource.
    pub fn bare(&self) -> &str {
        self.jid.split('/').next().expect("a split gives one part")
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        let keyboard = self.terminal.stdin.as_mut().expect("stdin is a pipe");
        write!(keyboard, "{line}\r").expect("the terminal takes input");
    }

    /// Waits until this text has been on the screen. Blanks do not count: a terminal is not sent all of them.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for_text(&self, text: &str) {
        let wanted = without_blanks(text);
        wait_for(&format!("{text:?} on the screen of {}", self.jid), || {
            without_blanks(&self.seen()).contains(&wanted).then_some(())
        });
    }

    /// All that has been on the screen so far.
    pub fn seen(&self) -> String {
        let bytes = fs::read(&self.screen).unwrap_or_default();
        without_sequences(&String::from_utf8_lossy(&bytes))
    }
}

impl Drop for Profanity {
    fn drop(&mut self) {
        let keyboard = self.terminal.stdin.as_mut();
        let quits = keyboard.is_some_and(|keyboard| keyboard.write_all(b"/quit\r").is_ok());
        if !quits || std::thread::panicking() {
            // It ends with its terminal.
            let _ = self.terminal.kill();
        }
        let _ = self.terminal.wait();
    }
}

/// The account as Profanity keeps it, without TLS.
fn account(user: &str, port: u16) -> String {
    let priorities: String =
        ["online", "chat", "away", "xa", "dnd"].map(|name| format!("priority.{name}=0\n")).concat();
    format!(
        "[{user}]\nenabled=true\njid={user}@{DOMAIN}\nserver=127.0.0.1\nport={port}\nresource=profanity\n\
         tls.policy=disable\nauth.policy=default\npassword={PASSWORD}\npresence.last=online\n\
         presence.login=online\n{priorities}"
    )
}

fn without_blanks(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// The text without what moves the cursor or sets colours (ECMA-48).
fn without_sequences(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => match rest.next() {
                Some('[') => drop(rest.find(|c| ('@'..='~').contains(c))),
                Some('(' | ')') => drop(rest.next()),
                _ => {}
            },
            c => plain.push(c),
        }
    }
    plain
}
