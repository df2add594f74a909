//! A line of the access log. It has no place for queries and field values: they hold credentials.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Instant;

/// The target of the log's records that are access lines.
pub const TARGET: &str = "access";

/// A line of the access log.
pub struct AccessLine<'a> {
    pub client: IpAddr,
    /// The user who confirmed the request.
    pub user: Option<&'a str>,
    /// The sender address in the request, which is not confirmed.
    pub claimed: Option<&'a str>,
    /// Why the sender or their right was not accepted, in one word.
    pub outcome: Option<&'static str>,
    pub method: &'a str,
    pub path: &'a str,
    pub status: u16,
    /// Bytes of the body that went out.
    pub bytes: u64,
    pub since: Instant,
}

impl AccessLine<'_> {
    /// Writes it.
    pub fn log(&self, level: log::Level) {
        log::log!(target: TARGET, level, "{self}");
    }
}

impl fmt::Display for AccessLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, method, status, bytes, .. } = self;
        let (user, path) = (Visible(self.user.unwrap_or("-")), Visible(self.path));
        write!(f, "{client} {user} {method} {path} {status} {bytes} {}ms", self.since.elapsed().as_millis())?;
        if let Some(outcome) = self.outcome {
            write!(f, " outcome={outcome}")?;
        }
        match self.claimed {
            // The confirmed user is in a column of its own.
            Some(claimed) if self.user.is_none() => write!(f, " claimed={}", Visible(claimed)),
            _ => Ok(()),
        }
    }
}

/// A text as visible ASCII, so that nothing in it moves a terminal or ends a line or a column.
struct Visible<'a>(&'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_visible = |c: char| c.is_ascii_graphic() && c != '\\';
        if self.0.chars().all(is_visible) {
            return f.write_str(self.0);
        }
        for c in self.0.chars() {
            if is_visible(c) {
                f.write_char(c)?;
            } else {
                write!(f, "{}", c.escape_unicode())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_line_is_one_line_of_ascii() {
        let mut entry = AccessLine {
            client: "::1".parse().unwrap(),
            user: Some("b\u{e9}a@example.com"),
            claimed: Some("b\u{e9}a@example.com"),
            outcome: None,
            method: "GET",
            path: "/it's\r\nb",
            status: 200,
            bytes: 5,
            since: Instant::now(),
        };
        let line = entry.to_string();
        assert!(
            line.starts_with("::1 b\\u{e9}a@example.com GET /it's\\u{d}\\u{a}b 200 5 ")
                && line.ends_with("ms")
        );
        (entry.user, entry.claimed, entry.outcome) = (None, Some("a@example.com/x\n"), Some("timeout"));
        let line = entry.to_string();
        assert!(
            line.starts_with("::1 - GET ")
                && line.ends_with("ms outcome=timeout claimed=a@example.com/x\\u{a}"),
            "{line}"
        );
    }
}
