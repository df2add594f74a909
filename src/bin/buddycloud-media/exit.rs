//! How the program ends: the statuses of sysexits.h, and the message for the user.

use std::fmt;

use media_server::model::is_hidden;

/// An exit status. The worst of several is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// The command line is wrong.
    Usage = 64,
    /// There is no such file, here or on the server.
    NoFile = 66,
    /// There is no server or service, or it can't do this now.
    NoService = 69,
    /// A file of this name exists already.
    Exists = 73,
    /// A file or standard output can't be written, or the system gives no thread or random number.
    Io = 74,
    /// There is no TLS, or a certificate is not trusted.
    Tls = 76,
    /// The server refuses, or the password is wrong.
    Refused = 77,
    /// The configuration is wrong.
    Config = 78,
}

/// Something that was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status that the program ends with for it.
    pub exit: Exit,
    /// A sentence without a full stop, for the user.
    pub text: String,
}

/// A result whose error is told to the user.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure in these words. Control characters are left out: a server may have chosen some of them.
    pub fn new(exit: Exit, text: impl AsRef<str>) -> Self {
        Self { exit, text: shown(text.as_ref()) }
    }

    /// The same, with what it concerns in front.
    pub fn of(self, what: impl fmt::Display) -> Self {
        Self::new(self.exit, format!("{what}: {}", self.text))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A foreign text, without characters that move the cursor of a terminal or reverse the direction of writing.
pub fn shown(text: &str) -> String {
    let visible = text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c });
    visible.filter(|c| !is_hidden(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_can_not_move_the_cursor() {
        for (text, expected) in [
            ("plain é 好", "plain é 好"),
            ("\u{1b}[2Jgone\u{7}", "[2Jgone"),
            ("two\nlines\r", "two lines"),
            ("gpj.\u{202E}exe\u{9b}1m", "gpj.exe1m"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn the_worst_status_is_the_greatest() {
        let all = [Exit::NoFile, Exit::Refused, Exit::NoService];
        assert_eq!(all.into_iter().max(), Some(Exit::Refused));
        assert!(Exit::Done < Exit::Usage);
    }
}
