//! What the channel service says of a node and of its people (XEP-0060 sections 4.1 and 4.5).

/// A user's affiliation with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Affiliation {
    /// Everything.
    Owner,
    /// Reads, posts and takes away what others posted.
    Moderator,
    /// Reads and posts.
    Publisher,
    /// Reads.
    Member,
    /// Nothing; also what we take any word for that we don't know.
    None,
    /// Shut out.
    Outcast,
}

impl Affiliation {
    /// Every affiliation.
    pub const ALL: [Self; 6] =
        [Self::Owner, Self::Moderator, Self::Publisher, Self::Member, Self::None, Self::Outcast];

    /// Reads the word of the protocol. Unknown words give no rights.
    pub fn from_word(word: &str) -> Self {
        match word {
            "owner" => Self::Owner,
            "moderator" => Self::Moderator,
            "publisher" => Self::Publisher,
            "member" => Self::Member,
            "outcast" => Self::Outcast,
            _ => Self::None,
        }
    }
}

/// Who may read a channel without being one of its people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessModel {
    /// Everyone.
    Open,
    /// Only people with an affiliation; also what we take anything for that we can't determine.
    Private,
}

impl AccessModel {
    /// Reads the word of the protocol. Only `open` is open.
    pub fn from_word(word: &str) -> Self {
        if word == "open" { Self::Open } else { Self::Private }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_give_nothing() {
        for word in ["", "Owner", "followerPlus", "publish-only", "none"] {
            assert_eq!(Affiliation::from_word(word), Affiliation::None);
        }
        for word in ["", "Open", "authorize", "presence", "roster", "whitelist", "local"] {
            assert_eq!(AccessModel::from_word(word), AccessModel::Private);
        }
        assert_eq!(AccessModel::from_word("open"), AccessModel::Open);
    }
}
