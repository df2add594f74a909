//! A ticket as a value, and the fields of its token. Pure functions.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits;
use crate::model::{BareJid, Channel};
use crate::tokens::{Fields, TokenError, TokenKind};

/// The tokens of tickets.
pub const TICKETS: TokenKind = TokenKind { name: "ticket", life: limits::TICKET_LIFE };

/// The rights that a ticket gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To read the channel.
    Read,
    /// To read the channel, to upload, and to change and delete one's own media.
    Post,
}

impl Scope {
    /// Its name, in addresses, in JSON and in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Post => "post",
        }
    }

    /// The scope of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Read, Self::Post].into_iter().find(|scope| scope.name() == name)
    }
}

/// A ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// From when on it counts no more.
    pub expires: Timestamp,
    /// The rights that it gives.
    pub scope: Scope,
    /// Where it allows that.
    pub channel: Channel,
    /// The user who confirmed it.
    pub user: BareJid,
}

impl Ticket {
    /// Hands the fields of its token to `sign`; `epoch` is that of its user. Equal tickets have equal fields.
    pub fn with_fields<T>(&self, epoch: i64, sign: impl FnOnce(&[&[u8]]) -> T) -> T {
        sign(&[
            &epoch.to_be_bytes(),
            &self.expires.as_micros().to_be_bytes(),
            self.scope.name().as_bytes(),
            self.channel.as_str().as_bytes(),
            self.user.as_str().as_bytes(),
        ])
    }

    /// The ticket of a genuine token, and the epoch of its user when it was made.
    pub fn read(mut fields: Fields) -> Result<(Self, i64), TokenError> {
        let epoch = fields.next_number()?;
        let expires = Timestamp::from_micros(fields.next_number()?);
        let scope = Scope::from_name(fields.next_text()?).ok_or(TokenError)?;
        let channel = fields.next_text()?.parse().map_err(|_| TokenError)?;
        let user = fields.next_text()?.parse().map_err(|_| TokenError)?;
        fields.end()?;
        Ok((Self { expires, scope, channel, user }, epoch))
    }
}

/// When a ticket expires that was asked for at `now`, for so long. All that are asked for within five minutes expire at
/// the same moment, so that they are the same, and so are the addresses that hold them.
pub fn expiry(now: Timestamp, life: Duration) -> Timestamp {
    let wanted = now.after(life.min(limits::TICKET_LIFE));
    let down = grid(wanted);
    let up = if down == wanted { down } else { down.after(limits::TICKET_GRID) };
    if up <= now.after(limits::TICKET_LIFE) { up } else { down }
}

/// The last point of the grid that is not later.
fn grid(time: Timestamp) -> Timestamp {
    let step = i64::try_from(limits::TICKET_GRID.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(time.as_micros().div_euclid(step).saturating_mul(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_expire_on_a_grid_of_five_minutes_within_an_hour() {
        let at = |minutes: i64, seconds: i64| Timestamp::from_micros((minutes * 60 + seconds) * 1_000_000);
        for (now, life, expected) in [
            (at(0, 0), 900, at(15, 0)),
            (at(0, 1), 900, at(20, 0)),
            (at(4, 59), 900, at(20, 0)),
            (at(5, 0), 900, at(20, 0)),
            (at(5, 1), 900, at(25, 0)),
            (at(0, 1), 1, at(5, 0)),
            (at(0, 0), 3600, at(60, 0)),
            (at(0, 1), 3600, at(60, 0)),
            (at(4, 59), 3600, at(60, 0)),
            (at(4, 59), 3301, at(60, 0)),
            (at(4, 59), 3300, at(60, 0)),
            (at(0, 1), 100_000, at(60, 0)),
        ] {
            assert_eq!(expiry(now, Duration::from_secs(life)), expected, "{now} {life}");
        }
        for second in 0..900 {
            let (now, hour) = (at(0, second), at(60, second));
            for life in 1..=3600 {
                let expires = expiry(now, Duration::from_secs(life));
                assert!(now < expires && expires <= hour, "{second} {life}");
            }
        }
    }
}
