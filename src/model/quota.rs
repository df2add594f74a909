//! Quotas: how many bytes the media of a channel, or of a user, may take together. Each takes [`Media::cost`].

#[cfg(doc)]
use super::Media;
use super::{Channel, Refusal};

/// Which media are counted together. Previews are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quota {
    /// The media of a channel.
    Channel,
    /// The media that a user uploaded to all channels.
    User,
}

/// The quotas in force, in bytes; `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// For each channel.
    pub channel: Option<u64>,
    /// For each user.
    pub user: Option<u64>,
}

impl Quotas {
    /// No quotas.
    pub const NONE: Self = Self { channel: None, user: None };

    /// The quotas that are set, with their bytes, in the order in which rows are locked.
    pub fn each(self) -> impl Iterator<Item = (Quota, u64)> {
        let all = [(Quota::Channel, self.channel), (Quota::User, self.user)];
        all.into_iter().filter_map(|(quota, max)| Some((quota, max?)))
    }
}

impl Quota {
    /// The name that is counted for: the channel, or the author.
    pub fn counted<'a>(self, channel: &'a Channel, author: &'a str) -> &'a str {
        match self {
            Self::Channel => channel.as_str(),
            Self::User => author,
        }
    }

    /// Whether `more` bytes beside the `used` ones exceed `max`.
    pub fn is_exceeded(used: u64, more: u64, max: u64) -> bool {
        used.saturating_add(more) > max
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
    fn unset_quotas_are_left_out() {
        assert_eq!(Quotas::NONE.each().count(), 0);
        let both = Quotas { channel: Some(5), user: Some(7) };
        assert_eq!(both.each().collect::<Vec<_>>(), [(Quota::Channel, 5), (Quota::User, 7)]);
    }
}
