//! The command line's client under test, with a home of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::prosody::{PASSWORD, Prosody};
use super::scratch::Scratch;

/// The program under test.
pub const CLIENT: &str = env!("CARGO_BIN_EXE_buddycloud-media");

/// A user's home with a configuration.
pub struct MediaClient {
    scratch: Scratch,
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    /// The exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl MediaClient {
    /// The home of this account, which logs in to this Prosody by STARTTLS.
    pub fn new(prosody: &Prosody, jid: &str) -> Self {
        let client = Self::bare();
        let authority = prosody.authority().expect("a Prosody with TLS").display();
        let port = prosody.client_port();
        client.configure(&format!(
            "jid = {jid}\npassword.file = password\nserver = 127.0.0.1:{port}\ntls.ca = {authority}\n"
        ));
        fs::write(client.folder().join("password"), format!("{PASSWORD}\n")).expect("the folder takes files");
        client
    }

    /// A home without a configuration.
    pub fn bare() -> Self {
        let client = Self { scratch: Scratch::new() };
        fs::create_dir_all(client.folder()).expect("the scratch directory takes folders");
        client
    }

    /// Its home, where it runs.
    pub fn home(&self) -> &Path {
        self.scratch.path()
    }

    /// The folder of its configuration.
    pub fn folder(&self) -> PathBuf {
        self.scratch.join(".config/buddycloud-media")
    }

    /// Writes the configuration.
    pub fn configure(&self, text: &str) {
        fs::write(self.folder().join("config"), text).expect("the folder takes files");
    }

    /// The configuration.
    pub fn configuration(&self) -> String {
        fs::read_to_string(self.folder().join("config")).expect("there is one")
    }

    /// Adds to the configuration.
    pub fn configure_more(&self, lines: &str) {
        self.configure(&format!("{}{lines}", self.configuration()));
    }

    /// A file in the home with these bytes; gives its name.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.scratch.join(name);
        fs::create_dir_all(path.parent().expect("it is below the home")).expect("the home takes folders");
        fs::write(path, bytes).expect("the home takes files");
        name.to_owned()
    }

    /// The content of a file in the home.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.scratch.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The names in the home, but for the configuration.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.scratch.path()).expect("there is a home");
        let names = entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name != ".config").collect();
        names.sort();
        names
    }

    /// The program with these arguments, at home.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(CLIENT);
        self.at_home(&mut command).args(arguments);
        command
    }

    /// Lets a command run at home.
    pub fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .current_dir(self.home())
            .env("HOME", self.home())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("BUDDYCLOUD_MEDIA_PASSWORD")
            // With these, OpenSSL reads the system's authorities twice.
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::null())
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// Runs it to its end, which must be with this status; gives what it printed.
    #[track_caller]
    pub fn expect(&self, status: i32, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.status, status, "{arguments:?}: {run:#?}");
        run
    }

    /// Runs it; it must succeed without a word on standard error. Gives what it printed on standard output.
    #[track_caller]
    pub fn does(&self, arguments: &[&str]) -> String {
        let run = self.expect(0, arguments);
        assert_eq!(run.stderr, "", "{arguments:?}");
        run.stdout
    }
}

impl Run {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let status = output.status.code().unwrap_or(-1);
        Self { status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}
