//! Affiliations and access models of pubsub nodes (XEP-0060 sections 4.1 and 4.5).

/// A user's affiliation with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Affiliation {
    /// May do everything.
    Owner,
    /// May read, publish, and change or delete the media of others.
    Moderator,
    /// May read and publish.
    Publisher,
    /// May read.
    Member,
    /// May do nothing. Unknown affiliations are read as this one.
    None,
    /// Is banned.
    Outcast,
}

impl Affiliation {
    /// Every affiliation.
    pub const ALL: [Self; 6] =
        [Self::Owner, Self::Moderator, Self::Publisher, Self::Member, Self::None, Self::Outcast];

    /// Reads an `affiliation` attribute.
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

/// The access model of a channel: whether users without an affiliation may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessModel {
    /// Everyone.
    Open,
    /// Only users with an affiliation. Unknown access models are read as this one.
    Private,
}

impl AccessModel {
    /// Reads the value of `pubsub#access_model`.
    pub fn from_word(word: &str) -> Self {
        if word == "open" { Self::Open } else { Self::Private }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_affiliations_and_access_models_give_no_rights() {
        for word in ["", "Owner", "followerPlus", "publish-only", "none"] {
            assert_eq!(Affiliation::from_word(word), Affiliation::None);
        }
        for word in ["", "Open", "authorize", "presence", "roster", "whitelist", "local"] {
            assert_eq!(AccessModel::from_word(word), AccessModel::Private);
        }
        assert_eq!(AccessModel::from_word("open"), AccessModel::Open);
    }
}
