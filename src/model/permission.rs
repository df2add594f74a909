//! The permission table: which affiliation allows which action.

use super::{Affiliation, BareJid};

/// The action of a request on a channel or one of its media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Read the list, a media file, its preview or its metadata.
    Read,
    /// Upload a media file, or set the avatar.
    Publish,
    /// Change or delete a media file that `author` uploaded; `None` if there is no such file.
    Modify {
        /// The uploader.
        author: Option<BareJid>,
    },
}

/// Whether this affiliation allows it. Uploaders may change their own media, and everyone may read public channels;
/// neither is in the table, because neither needs an affiliation.
pub fn may(affiliation: Affiliation, need: &Need) -> bool {
    use Affiliation::{Member, Moderator, None, Outcast, Owner, Publisher};
    match (need, affiliation) {
        (Need::Read, Owner | Moderator | Publisher | Member) => true,
        (Need::Publish, Owner | Moderator | Publisher) => true,
        (Need::Modify { .. }, Owner | Moderator) => true,
        (Need::Read, None | Outcast)
        | (Need::Publish, Member | None | Outcast)
        | (Need::Modify { .. }, Publisher | Member | None | Outcast) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_the_table() {
        let modify = Need::Modify { author: None };
        let rows = [
            (Affiliation::Owner, [true, true, true]),
            (Affiliation::Moderator, [true, true, true]),
            (Affiliation::Publisher, [true, true, false]),
            (Affiliation::Member, [true, false, false]),
            (Affiliation::None, [false, false, false]),
            (Affiliation::Outcast, [false, false, false]),
        ];
        assert_eq!(rows.map(|row| row.0), Affiliation::ALL);
        for (affiliation, expected) in rows {
            let cells = [&Need::Read, &Need::Publish, &modify].map(|need| may(affiliation, need));
            assert_eq!(cells, expected, "{affiliation:?}");
        }
    }
}
