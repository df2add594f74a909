//! Whether there is room for a file, and the message for the user if there is none.

use super::service::UploadService;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{BareJid, Purpose, UploadLimits, UploadQuota};
use crate::store::UploadSums;

/// A file that wants room. Its size is reserved already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand<'a> {
    pub owner: Option<&'a BareJid>,
    pub purpose: Purpose,
    pub size: u64,
    /// Whether its PUT is under way.
    pub arrives: bool,
}

/// A quota that has no room for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    pub quota: UploadQuota,
    /// The quota in bytes.
    pub max: u64,
    /// Bytes that are used or reserved besides the file.
    used: u64,
    /// Bytes that are missing.
    missing: u64,
}

impl UploadService {
    /// The quotas of a file.
    pub(super) fn limits(&self, owner: Option<&BareJid>, purpose: Purpose) -> UploadLimits {
        self.settings().quotas.limits(purpose, owner.is_some())
    }

    /// Those of these quotas that have no room for a file, and what is stored.
    pub(super) fn shortages(
        &self,
        demand: Demand<'_>,
        limits: UploadLimits,
    ) -> Result<(Vec<Shortage>, UploadSums)> {
        if limits == UploadLimits::default() {
            return Ok((Vec::new(), UploadSums::default()));
        }
        self.check_open()?;
        let owner = demand.owner.map(BareJid::as_str);
        let sums = self.table.upload_sums(owner, demand.purpose, self.clock.now(), limits)?;
        let shortages = limits.each().filter_map(|(quota, max)| self.shortage(demand, &sums, quota, max));
        Ok((shortages.collect(), sums))
    }

    fn shortage(
        &self,
        demand: Demand<'_>,
        sums: &UploadSums,
        quota: UploadQuota,
        max: u64,
    ) -> Option<Shortage> {
        let reserved = self.reserved(demand, quota).max(demand.size);
        let needed = sums.of(quota).saturating_add(reserved);
        let missing = needed.checked_sub(max).filter(|missing| *missing > 0)?;
        if missing <= self.can_make(demand, sums, quota) {
            return None;
        }
        Some(Shortage { quota, max, used: needed - demand.size, missing })
    }

    /// Bytes that are reserved, those of the file among them.
    fn reserved(&self, demand: Demand<'_>, quota: UploadQuota) -> u64 {
        let Demand { owner, purpose, size, arrives } = demand;
        if quota == UploadQuota::All {
            return self.reservations.arriving().saturating_add(if arrives { 0 } else { size });
        }
        let held = owner.map(|owner| self.reservations.held(owner)).unwrap_or_default();
        if quota == UploadQuota::Purpose { held.of(purpose) } else { held.bytes }
    }

    /// Bytes of the owner's oldest messages that may go.
    fn can_make(&self, demand: Demand<'_>, sums: &UploadSums, quota: UploadQuota) -> u64 {
        match quota {
            UploadQuota::User if self.settings().makes_room => sums.message,
            UploadQuota::Purpose if self.makes_room(quota, demand.purpose) => sums.purpose,
            _ => 0,
        }
    }

    /// Whether older messages go for a file that exceeds this quota.
    pub(super) fn makes_room(&self, quota: UploadQuota, purpose: Purpose) -> bool {
        let by_messages = match quota {
            UploadQuota::User => true,
            UploadQuota::Purpose => purpose == Purpose::Message,
            UploadQuota::Day | UploadQuota::All => false,
        };
        by_messages && self.settings().makes_room
    }

    /// When time alone will have made room for all of these; `None` if it won't.
    pub(super) fn room_at(
        &self,
        demand: Demand<'_>,
        shortages: &[Shortage],
        sums: &UploadSums,
    ) -> Result<Option<Timestamp>> {
        let mut latest = Some(self.clock.now());
        for shortage in shortages {
            latest = latest.max_with(self.end_of(demand, shortage, sums)?);
        }
        Ok(latest)
    }

    fn end_of(
        &self,
        demand: Demand<'_>,
        shortage: &Shortage,
        sums: &UploadSums,
    ) -> Result<Option<Timestamp>> {
        if demand.size > shortage.max {
            return Ok(None);
        }
        let owner = demand.owner.map(BareJid::as_str);
        let mut going = match shortage.quota {
            UploadQuota::User => self.table.expiring_uploads(owner, None)?,
            UploadQuota::Purpose => self.table.expiring_uploads(owner, Some(demand.purpose))?,
            UploadQuota::Day => sums.day.clone(),
            UploadQuota::All => self.table.expiring_uploads(None, None)?,
        };
        if shortage.quota != UploadQuota::All {
            let purpose = (shortage.quota == UploadQuota::Purpose).then_some(demand.purpose);
            going.extend(
                demand.owner.map(|owner| self.reservations.ending(owner, purpose)).unwrap_or_default(),
            );
            going.sort_unstable();
        }
        let mut room = 0_u64;
        let enough = going.into_iter().find(|(_, bytes)| {
            room = room.saturating_add(*bytes);
            room >= shortage.missing
        });
        Ok(enough.map(|(time, _)| time))
    }
}

trait MaxWith: Sized {
    /// The larger of two values that may be missing; missing if one is.
    fn max_with(self, other: Self) -> Self;
}

impl MaxWith for Option<Timestamp> {
    fn max_with(self, other: Self) -> Self {
        self.zip(other).map(|(one, other)| one.max(other))
    }
}

/// The message for a user.
pub(super) fn sentence(demand: Demand<'_>, shortage: &Shortage, room: Option<Timestamp>) -> String {
    let Shortage { quota, max, used, .. } = shortage;
    let (max_shown, used) = (shown_size(*max), shown_size(*used));
    let what = match quota {
        UploadQuota::User => "Your uploads may take".to_owned(),
        UploadQuota::Purpose => format!("Your uploads of the kind {} may take", demand.purpose.name()),
        UploadQuota::Day => "Within 24 hours you may upload".to_owned(),
        UploadQuota::All => "The uploads of all users may take".to_owned(),
    };
    let together = if *quota == UploadQuota::Day { "" } else { " together" };
    let advice = match (room, quota) {
        _ if demand.size > *max => "This file alone is larger.".to_owned(),
        (Some(room), _) => format!("There will be room for this file on {}.", shown_time(room)),
        (None, UploadQuota::User | UploadQuota::Purpose) => "Delete some of them to make room.".to_owned(),
        (None, UploadQuota::Day | UploadQuota::All) => "Try again later.".to_owned(),
    };
    format!("{what} {max_shown}{together}, and {used} are used. {advice}")
}

/// A size as people read it: `1.5 GiB`, in the units of the settings. The page and the client show the same.
pub fn shown_size(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") };
    };
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        tenth => format!("{}.{tenth} {name}", tenths / 10),
    }
}

/// A date as people read it: `2014-01-23 18:00 UTC`, the next whole minute.
fn shown_time(time: Timestamp) -> String {
    let minute = 60 * 1_000_000;
    let up = time.as_micros().div_euclid(minute).saturating_add(1).saturating_mul(minute);
    let text = Timestamp::from_micros(up).to_string();
    let (date, clock) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {} UTC", clock.get(..5).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_shown_for_people() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (100 << 20, "100 MiB"),
            ((100 << 20) + 17, "100 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(shown_size(bytes), shown);
        }
        let time = Timestamp::from_micros(1_390_500_001_000_000);
        assert_eq!(shown_time(time), "2014-01-23 18:01 UTC");
    }
}
