//! New media, in transactions that several may share.

use rusqlite::{Connection, TransactionBehavior, params};

use super::super::metadata::{InsertError, MediaInsert, signed};
use super::super::queries;
use super::{at_commit, exceeded, fault, numbered};
use crate::error::{Error, Kind, Result};
use crate::model::{Media, Quotas};

/// A media to insert.
pub(super) struct Insert {
    pub media: Media,
    pub avatar: bool,
    pub quotas: Quotas,
}

/// What became of one.
pub(super) type Inserted = std::result::Result<MediaInsert, InsertError>;

/// Inserts one media or several: these in one transaction, which waits for the disk once. If that fails for one of them,
/// each has a transaction of its own.
pub(super) fn insert_all(connection: &mut Connection, inserts: &[Insert]) -> Vec<Inserted> {
    let together = if inserts.len() > 1 { insert_together(connection, inserts) } else { None };
    together.unwrap_or_else(|| insert_each(connection, inserts))
}

/// If one finds the database held by another process, so would all that follow, and each would wait as long.
fn insert_each(connection: &mut Connection, inserts: &[Insert]) -> Vec<Inserted> {
    let mut held: Option<Error> = None;
    let mut insert_next = |insert| {
        if let Some(error) = &held {
            return Err(InsertError::Failed(copied(error)));
        }
        let inserted = insert_alone(connection, insert);
        if let Err(InsertError::Failed(error)) = &inserted {
            held = (error.kind() == Kind::Unavailable).then(|| copied(error));
        }
        inserted
    };
    inserts.iter().map(&mut insert_next).collect()
}

/// `None` if nothing was stored, and it is worth to try each alone.
fn insert_together(connection: &mut Connection, inserts: &[Insert]) -> Option<Vec<Inserted>> {
    let all = |error: &dyn Fn() -> InsertError| Some(inserts.iter().map(|_| Err(error())).collect());
    let transaction =
        match connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault) {
            Ok(transaction) => transaction,
            // Whoever holds the database would let each wait as long.
            Err(error) => return all(&|| InsertError::Failed(copied(&error))),
        };
    let outcomes = inserts.iter().map(|insert| insert_within(&transaction, insert));
    let inserted = outcomes.collect::<std::result::Result<Vec<_>, _>>().ok()?;
    match transaction.commit().map_err(at_commit) {
        Ok(()) => Some(inserted.into_iter().map(Ok).collect()),
        Err(InsertError::Failed(_)) => None,
        Err(InsertError::Unknown(error)) => all(&|| InsertError::Unknown(copied(&error))),
    }
}

/// What fails before the commit is not stored; what fails at it may be, after a crash.
fn insert_alone(connection: &mut Connection, insert: &Insert) -> Inserted {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| InsertError::Failed(fault(error)))?;
    let inserted = insert_within(&transaction, insert).map_err(InsertError::Failed)?;
    transaction.commit().map_err(at_commit)?;
    Ok(inserted)
}

/// Within a transaction nobody else writes, so what is summed up stays true until the commit.
fn insert_within(transaction: &Connection, insert: &Insert) -> Result<MediaInsert> {
    let Insert { media, avatar, quotas } = insert;
    let (id, entity) = (media.id.as_str(), media.channel.as_str());
    if let Some(quota) =
        exceeded(transaction, &media.channel, &media.author, media.cost(), *quotas).map_err(fault)?
    {
        let stored = is_stored(transaction, media).map_err(fault)?;
        return Ok(if stored { MediaInsert::Stored } else { MediaInsert::OverQuota(quota) });
    }
    if execute_insert(transaction, media).map_err(fault)? == 0 {
        if is_stored(transaction, media).map_err(fault)? {
            return Ok(MediaInsert::Stored);
        }
        return Err(Error::new(Kind::Failure, format!("there is another media with the id {id}")));
    }
    if *avatar {
        transaction.execute(&numbered(queries::SET_AVATAR), [id, entity]).map_err(fault)?;
    }
    Ok(MediaInsert::Stored)
}

/// The same error for another one that it concerns.
pub(super) fn copied(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

/// Whether an earlier attempt stored this media.
fn is_stored(connection: &Connection, media: &Media) -> rusqlite::Result<bool> {
    let (id, entity) = (media.id.as_str(), media.channel.as_str());
    let same = params![id, entity, media.author, media.uploaded.as_micros(), media.sha1];
    connection.prepare_cached(&numbered(queries::SAME))?.exists(same)
}

fn execute_insert(connection: &Connection, media: &Media) -> rusqlite::Result<usize> {
    connection.prepare_cached(&numbered(queries::INSERT))?.execute(params![
        media.id.as_str(),
        media.description.file_name,
        media.author,
        media.description.title,
        media.description.description,
        media.mime_type,
        media.uploaded.as_micros(),
        media.last_updated.as_micros(),
        media.extension,
        media.sha1,
        signed(media.size),
        media.length.map(signed),
        media.height,
        media.width,
        media.channel.as_str(),
    ])
}
