//! Notices between nodes (PostgreSQL's NOTIFY): hints that rows have changed. They name no row and no user, and decide
//! nothing: a node that gets one reads the rows.

use std::str::FromStr;

/// A hint that rows have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// The keys of tokens.
    Keys,
    /// The epoch of a user.
    Epochs,
    /// The block of a user.
    Blocks,
    /// The holder of the component's stream has given it up.
    Stream,
    /// Prompts were stored, or abandoned.
    Prompts,
    /// Prompts were decided.
    Decisions,
}

impl Notice {
    /// All kinds.
    const ALL: [Self; 6] =
        [Self::Keys, Self::Epochs, Self::Blocks, Self::Stream, Self::Prompts, Self::Decisions];

    /// The payload.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Epochs => "epochs",
            Self::Blocks => "blocks",
            Self::Stream => "stream",
            Self::Prompts => "prompts",
            Self::Decisions => "decisions",
        }
    }
}

/// The channel of notices, in each database.
pub(super) const CHANNEL: &str = "media_server";

/// A payload that no node sends. Other programs may use the channel, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownNotice;

impl FromStr for Notice {
    type Err = UnknownNotice;

    fn from_str(payload: &str) -> Result<Self, UnknownNotice> {
        Self::ALL.into_iter().find(|notice| notice.name() == payload).ok_or(UnknownNotice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_comes_back_as_its_notice_and_others_are_unknown() {
        for notice in Notice::ALL {
            assert_eq!(notice.name().parse(), Ok(notice));
        }
        for payload in ["", "key", "prompts 1", "decisions ", "other", " keys", "keys\0"] {
            assert_eq!(payload.parse::<Notice>(), Err(UnknownNotice), "{payload:?}");
        }
    }
}
