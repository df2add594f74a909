//! The one error type: the step that failed, the causes, and who has to act.

use std::borrow::Cow;
use std::fmt;

/// A result that fails with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The configuration must change: exit status 78.
    Config,
    /// The database or the XMPP server can't be reached now; a later attempt may succeed.
    Unavailable,
    /// No space or quota is left in the storage.
    Full,
    /// No descriptors or memory are left; fewer connections or higher limits would help.
    Exhausted,
    /// A text holds a character that the database can't hold: its encoding is not UTF-8.
    Untranslatable,
    /// Data on disk, in the database or from a peer is not valid.
    Corrupt,
    /// Any other failure: of the operating system, or a bug.
    Failure,
}

/// An error for the operator. Its text goes to the log and to the terminal, never to a client.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    doing: Cow<'static, str>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause; `what` is a sentence without a full stop.
    pub fn new(kind: Kind, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, doing: what.into(), cause: None }))
    }

    /// An error with a cause; `doing` names the step that failed.
    pub fn caused(
        kind: Kind,
        doing: impl Into<Cow<'static, str>>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(Box::new(Inner { kind, doing: doing.into(), cause: Some(cause.into()) }))
    }

    /// An I/O error of the step `doing`, classified by its error number.
    pub fn io(doing: impl Into<Cow<'static, str>>, cause: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let kind = match cause.kind() {
            StorageFull | QuotaExceeded => Kind::Full,
            _ => Kind::Failure,
        };
        Self::caused(kind, doing, cause)
    }

    /// Who has to act.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.doing)?;
        let mut cause: Option<&(dyn std::error::Error + 'static)> =
            self.0.cause.as_deref().map(|cause| cause as _);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_step_and_every_cause() {
        let inner = Error::new(Kind::Corrupt, "the row has no id");
        let outer = Error::caused(Kind::Failure, "can't list the channel", inner);
        assert_eq!(outer.to_string(), "can't list the channel: the row has no id");
    }

    #[test]
    fn a_full_disk_has_a_kind_of_its_own() {
        let full = rustix::io::Errno::NOSPC.into();
        assert_eq!(Error::io("can't write", full).kind(), Kind::Full);
        let quota = rustix::io::Errno::DQUOT.into();
        assert_eq!(Error::io("can't write", quota).kind(), Kind::Full);
        let io = rustix::io::Errno::IO.into();
        assert_eq!(Error::io("can't write", io).kind(), Kind::Failure);
    }
}
