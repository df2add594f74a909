//! Notices between nodes (PostgreSQL's NOTIFY): hints that rows have changed. They name no user, and decide nothing: a node
//! that gets one reads the rows.

use std::fmt;
use std::str::FromStr;

/// A hint that rows have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The keys of tokens.
    Keys,
    /// The epoch of a user.
    Epochs,
    /// The block of a user.
    Blocks,
    /// The holder of the component's stream has given it up.
    Stream,
    /// The prompt with this row number.
    Prompt(i64),
    /// The decision of the prompt with this row number.
    Decision(i64),
}

/// The channel of notices, in each database.
pub(super) const CHANNEL: &str = "media_server";

/// The payload.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys => f.write_str("keys"),
            Self::Epochs => f.write_str("epochs"),
            Self::Blocks => f.write_str("blocks"),
            Self::Stream => f.write_str("stream"),
            Self::Prompt(row) => write!(f, "prompt {row}"),
            Self::Decision(row) => write!(f, "decision {row}"),
        }
    }
}

/// A payload that no node sends. Other programs may use the channel, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownNotice;

impl FromStr for Notice {
    type Err = UnknownNotice;

    fn from_str(payload: &str) -> Result<Self, UnknownNotice> {
        match payload {
            "keys" => return Ok(Self::Keys),
            "epochs" => return Ok(Self::Epochs),
            "blocks" => return Ok(Self::Blocks),
            "stream" => return Ok(Self::Stream),
            _ => {}
        }
        let (kind, row) = payload.split_once(' ').ok_or(UnknownNotice)?;
        let row = row.parse().map_err(|_| UnknownNotice)?;
        match kind {
            "prompt" => Ok(Self::Prompt(row)),
            "decision" => Ok(Self::Decision(row)),
            _ => Err(UnknownNotice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_comes_back_as_its_notice_and_others_are_unknown() {
        for notice in [
            Notice::Keys,
            Notice::Epochs,
            Notice::Blocks,
            Notice::Stream,
            Notice::Prompt(i64::MAX),
            Notice::Decision(7),
        ] {
            assert_eq!(notice.to_string().parse(), Ok(notice));
        }
        for payload in ["", "key", "prompt", "prompt ", "prompt x", "prompt 1 2", "other 1", " keys"] {
            assert_eq!(payload.parse::<Notice>(), Err(UnknownNotice), "{payload:?}");
        }
    }
}
