//! Sums of stored files, by user and channel.

use super::Console;
use crate::error::Result;
use crate::store::file_table::FileSum;
use crate::store::metadata::UsageKind;
use crate::store::operations::version;
use crate::store::schema::verify;
use crate::store::value::{Row, values};

/// The sums of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedSums {
    /// The JID of a user or of a channel; nothing for all.
    pub name: String,
    /// Media, with their texts.
    pub media: FileSum,
    /// Uploads by slot.
    pub uploads: FileSum,
}

macro_rules! sums {
    ($condition:literal) => {
        concat!(
            "SELECT name, ",
            "CAST(SUM(CASE WHEN kind = $1 THEN files ELSE 0 END) AS BIGINT), ",
            "CAST(SUM(CASE WHEN kind = $1 THEN bytes ELSE 0 END) AS BIGINT), ",
            "CAST(SUM(CASE WHEN kind = $2 THEN files ELSE 0 END) AS BIGINT), ",
            "CAST(SUM(CASE WHEN kind = $2 THEN bytes ELSE 0 END) AS BIGINT) ",
            "FROM usage WHERE ",
            $condition,
            " GROUP BY name HAVING SUM(files) <> 0 OR SUM(bytes) <> 0 ORDER BY SUM(bytes) DESC, name"
        )
    };
}
/// The sums of one name. $1 kind of media, $2 kind of uploads, $3 name.
const OF_NAME: &str = sums!("kind IN ($1, $2) AND name = $3");

/// The sums of each name, the largest first. $1 kind of media, $2 kind of uploads.
const OF_EACH: &str = sums!("kind IN ($1, $2)");

impl Console {
    /// Tells what is stored under each name of these kinds, the most bytes first.
    pub fn each_sum(
        &mut self,
        media: UsageKind,
        uploads: UsageKind,
        tell: &mut dyn FnMut(NamedSums) -> Result<()>,
    ) -> Result<()> {
        self.snapshot(|session| {
            verify(version(session)?)?;
            let kinds = values![media.name(), uploads.name()];
            session.each(OF_EACH, &kinds, &mut |row| tell(named_sums(row)?))
        })
    }

    /// The sums of this name and these kinds.
    pub fn sums_of(&mut self, media: UsageKind, uploads: UsageKind, name: &str) -> Result<NamedSums> {
        self.snapshot(|session| {
            verify(version(session)?)?;
            let row = session.row(OF_NAME, &values![media.name(), uploads.name(), name])?;
            let none = || NamedSums { name: name.to_owned(), ..NamedSums::default() };
            row.map_or_else(|| Ok(none()), named_sums)
        })
    }
}

fn named_sums(mut row: Row) -> Result<NamedSums> {
    Ok(NamedSums {
        name: row.next()?,
        media: FileSum { files: row.next()?, bytes: row.next()? },
        uploads: FileSum { files: row.next()?, bytes: row.next()? },
    })
}
