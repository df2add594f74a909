//! The schema of both databases: its versions, and the way from each to the next. One number holds for both.
//!
//! Commands run here on the main thread; a running server asks for the version on the thread `schema`.

mod postgres;
mod sqlite;

use std::path::PathBuf;

pub use self::postgres::Schema;
pub use self::sqlite::SqliteSchema;
use super::identity::StoreId;
use crate::error::{Error, Kind, Result};

/// The version that this program works with.
pub const CURRENT: i32 = 11;

/// The result of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The version that the schema had: [`CURRENT`] where it was up to date, `None` where there was none.
    pub from: Option<i32>,
    /// A copy of the database as it was.
    pub copy: Option<PathBuf>,
    /// The id that storage root and database have from now on, where they were tied together.
    pub tied: Option<StoreId>,
}

/// Fails unless the program works with this version; the error says what to do.
pub fn verify(version: Option<i32>) -> Result<()> {
    let text = match version {
        Some(CURRENT) => return Ok(()),
        None => "the database has no schema; `buddycloud-media-server setup-schema` sets it up".to_owned(),
        Some(older) if older < CURRENT => return Err(too_old(older)),
        Some(newer) => format!(
            "the database has version {newer} of the schema, and this program knows versions up to {CURRENT}: \
             a newer program has upgraded the database; install that program"
        ),
    };
    Err(Error::new(Kind::Failure, text))
}

/// Fails if the version is newer than this program: then a newer one has upgraded the database.
pub fn refuse_newer(version: Option<i32>) -> Result<()> {
    if version > Some(CURRENT) { verify(version) } else { Ok(()) }
}

fn too_old(version: i32) -> Error {
    let text = format!(
        "the database has version {version} of the schema, and this program needs version {CURRENT}; \
         `buddycloud-media-server upgrade-schema` upgrades it"
    );
    Error::new(Kind::Failure, text)
}
