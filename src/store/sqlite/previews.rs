//! Rows of previews.

use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::super::metadata::{InsertError, PreviewInsert, RawPreview, pixels, preview_ids, signed};
use super::super::queries;
use super::{at_commit, fault, numbered};
use crate::clock::Timestamp;
use crate::model::{Media, Preview};

/// What fails before the commit is not stored; what fails at it may be, after a crash.
pub(super) fn insert_preview(
    connection: &mut Connection,
    media: &Media,
    preview: &Preview,
    most: usize,
) -> Result<PreviewInsert, InsertError> {
    let failed = |error| InsertError::Failed(fault(error));
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let evicted = match execute_insert_preview(&transaction, media, preview, most).map_err(failed)? {
        PreviewInsert::Stored(evicted) => evicted,
        other => return Ok(other),
    };
    transaction.commit().map_err(at_commit)?;
    Ok(PreviewInsert::Stored(evicted))
}

fn execute_insert_preview(
    transaction: &Connection,
    media: &Media,
    preview: &Preview,
    most: usize,
) -> rusqlite::Result<PreviewInsert> {
    let (owner, id) = (media.id.as_str(), preview.id.as_str());
    let found = |sql: &str, params: &[&str]| {
        transaction.prepare_cached(&numbered(sql))?.exists(rusqlite::params_from_iter(params))
    };
    if !found(queries::EXISTS, &[owner, media.channel.as_str()])? {
        return Ok(PreviewInsert::NoMedia);
    }
    let stored = transaction.prepare_cached(&numbered(queries::INSERT_PREVIEW))?.execute(params![
        id,
        owner,
        pixels(preview.height),
        pixels(preview.width),
        preview.mime_type,
        signed(preview.size),
        preview.sha1,
        preview.last_used.as_micros(),
    ])?;
    if stored == 0 && !found(queries::SAME_PREVIEW, &[id])? {
        return Ok(PreviewInsert::Taken);
    }
    let others = signed(most.saturating_sub(1) as u64);
    let evicted = transaction
        .prepare_cached(&numbered(queries::EVICT_PREVIEWS))?
        .query_map(params![owner, id, others], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(PreviewInsert::Stored(preview_ids(evicted)))
}

pub(super) fn raw_preview(row: &Row<'_>) -> rusqlite::Result<RawPreview> {
    Ok(RawPreview {
        id: row.get(0)?,
        height: row.get(1)?,
        width: row.get(2)?,
        mime_type: row.get(3)?,
        size: row.get(4)?,
        sha1: row.get(5)?,
        last_used: Timestamp::from_micros(row.get(6)?),
    })
}
