//! The permission table: who may do what.

use super::{Affiliation, BareJid};

/// What a request wants to do to a channel or one of its media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Read the list, a media, its preview or its metadata.
    Read,
    /// Add a media, or set the avatar.
    Publish,
    /// Change or delete a media that `author` uploaded; `None` where there is no such media.
    Modify {
        /// Who uploaded the media.
        author: Option<BareJid>,
    },
}

/// Whether someone with this affiliation may do it. The uploader's own privilege, and what everybody
/// may do on a public channel, is not in the table: neither needs an affiliation.
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
