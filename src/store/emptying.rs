//! The statements on several uploads at a time, above all those that empty rows: the row stays, so that its slot is not used
//! again, and the file goes.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::engine::Session;
use super::upload_table::GoneUpload;
use super::value::Value;
use crate::error::Result;
use crate::limits;

/// For at most [`limits::UPLOAD_BATCH`] uploads.
pub(super) static EMPTYING: LazyLock<Emptying> = LazyLock::new(|| Emptying::of(limits::UPLOAD_BATCH));
/// For at most [`limits::EXPIRY_BATCH`] uploads.
pub(super) static EMPTYING_EXPIRED: LazyLock<Emptying> = LazyLock::new(|| Emptying::of(limits::EXPIRY_BATCH));

/// An upload whose row is to be emptied, and the name of its file, as stored.
pub(super) type StoredUpload = (GoneUpload, String);

/// The statements that empty rows, for so many at a time.
pub(super) struct Emptying {
    max: usize,
    /// Notes that files must go, in one order, so that two transactions do not wait for each other. $1 and on: files, or NULL.
    remove: String,
    /// $1 and on: ids.
    empty: String,
}

impl Emptying {
    fn of(max: usize) -> Self {
        let ids = parameters(1, max);
        let files: Vec<String> = (1..=max).map(|number| format!("(${number})")).collect();
        let remove = format!(
            "INSERT INTO removals (folder, file, reason) SELECT '.uploads', column1, 'upload' \
             FROM (VALUES {}) AS files WHERE column1 IS NOT NULL ORDER BY column1 ON CONFLICT DO NOTHING",
            files.join(", ")
        );
        let empty = format!(
            "UPDATE uploads SET path = NULL, file = NULL, owner = NULL, fileName = NULL, mimeType = NULL, \
             fileSize = 0, sha256 = NULL, expires = NULL WHERE file IS NOT NULL AND id IN ({ids}) RETURNING id"
        );
        Self { max, remove, empty }
    }

    /// Empties these rows, and notes that their files must go; gives those that no one else has emptied before.
    pub(super) fn run(
        &self,
        session: &mut dyn Session,
        stored: Vec<StoredUpload>,
    ) -> Result<Vec<GoneUpload>> {
        if stored.is_empty() {
            return Ok(Vec::new());
        }
        let (uploads, files): (Vec<_>, Vec<_>) = stored.into_iter().unzip();
        let mut files: Vec<_> = files.into_iter().map(Value::from).collect();
        files.resize(self.max, Value::Null);
        session.execute(&self.remove, &files)?;
        let ids = batch(uploads.iter().map(|upload| upload.id.as_str().into()).collect(), self.max);
        let mut emptied = HashSet::new();
        for row in session.rows(&self.empty, &ids)? {
            emptied.insert(row.single::<String>()?);
        }
        Ok(uploads.into_iter().filter(|upload| emptied.contains(upload.id.as_str())).collect())
    }
}

/// As many parameters as a statement on at most `max` uploads has: those beyond repeat the last.
pub(super) fn batch(mut ids: Vec<Value>, max: usize) -> Vec<Value> {
    debug_assert!(ids.len() <= max, "{} ids for a statement on {max}", ids.len());
    let last = ids.last().cloned().unwrap_or(Value::Null);
    ids.resize(max, last);
    ids
}

/// So many parameters of a statement, from this number on.
pub(super) fn parameters(first: usize, count: usize) -> String {
    let names: Vec<String> = (first..first + count).map(|number| format!("${number}")).collect();
    names.join(", ")
}
