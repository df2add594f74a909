//! Quotas: how many bytes the media of a channel, or of a user, may take together. What each takes is
//! [`Media::cost`].

#[cfg(doc)]
use super::Media;
use super::{Channel, Refusal};

/// Whose media are counted together. Previews are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Those of a channel.
    Channel,
    /// Those that a user uploaded, in all channels.
    User,
}

/// The quotas in force, in bytes; `None` where there is no end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Of each channel.
    pub channel: Option<u64>,
    /// Of each user.
    pub user: Option<u64>,
}

impl Quotas {
    /// No quota at all.
    pub const NONE: Self = Self { channel: None, user: None };

    /// The quotas there are, with their bytes; always in this order, which is the order of locks.
    pub fn each(self) -> impl Iterator<Item = (Quota, u64)> {
        let all = [(Quota::Channel, self.channel), (Quota::User, self.user)];
        all.into_iter().filter_map(|(quota, most)| Some((quota, most?)))
    }
}

impl Quota {
    /// Whose media are counted: the channel, or the author.
    pub fn counted<'a>(self, channel: &'a Channel, author: &'a str) -> &'a str {
        match self {
            Self::Channel => channel.as_str(),
            Self::User => author,
        }
    }

    /// Whether `more` bytes don't fit beside those that are `used` of `most`.
    pub fn is_exceeded(used: u64, more: u64, most: u64) -> bool {
        used.saturating_add(more) > most
    }
}

impl From<Quota> for Refusal {
    fn from(quota: Quota) -> Self {
        match quota {
            Quota::Channel => Self::ChannelFull,
            Quota::User => Self::UserFull,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_may_be_used_to_its_last_byte() {
        assert!(!Quota::is_exceeded(0, 10, 10) && !Quota::is_exceeded(9, 1, 10));
        assert!(Quota::is_exceeded(0, 11, 10) && Quota::is_exceeded(9, 2, 10));
        assert!(Quota::is_exceeded(11, 0, 10) && !Quota::is_exceeded(10, 0, 10));
        assert!(Quota::is_exceeded(11, 1, 10), "the quota was lowered");
        assert!(Quota::is_exceeded(u64::MAX, u64::MAX, 10));
    }

    #[test]
    fn only_quotas_that_are_set_count() {
        assert_eq!(Quotas::NONE.each().count(), 0);
        let both = Quotas { channel: Some(5), user: Some(7) };
        assert_eq!(both.each().collect::<Vec<_>>(), [(Quota::Channel, 5), (Quota::User, 7)]);
    }
}
