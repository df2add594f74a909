//! The operations on uploads and on the keys of tokens, each written once, over any [`Engine`].
//!
//! A transaction changes uploads by one statement. Its triggers change the sums, in the order of their kind, name and part,
//! so that no two transactions wait for each other. One that may exceed a limit of a user first holds the user's name.

use std::sync::LazyLock;

use super::emptying::{EMPTYING, EMPTYING_EXPIRED, StoredUpload, batch, parameters};
use super::engine::{Change, Engine, Session, WriteError};
use super::metadata::Metadata;
use super::notice::Notice;
use super::operations::Store;
use super::statements::{USAGE, has_file};
use super::upload_table::{
    GoneUpload, SecretTable, StoredSecret, UploadInsert, UploadLookup, UploadRemoval, UploadRow, UploadSums,
    UploadTable,
};
use super::value::{Row, Value, values};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Purpose, UploadFile, UploadId, UploadLimits, Uploaded};
use crate::secret::Secret;

/// $1 id.
const UPLOAD: &str = "SELECT path, file, owner, fileName, mimeType, fileSize, sha256, purpose, created, \
     expires, slotEnds FROM uploads WHERE id = $1";

/// The columns of table `uploads`, in the order of [`upload_values`].
pub(super) const UPLOAD_COLUMNS: &str =
    "id, path, file, owner, fileName, mimeType, fileSize, sha256, purpose, created, expires, slotEnds";

/// Does nothing if the id is taken.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO uploads ({UPLOAD_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (id) DO NOTHING"
    )
});

/// The stored upload of a slot. $1 id.
const COMMITTED: &str = "SELECT file, sha256, fileSize FROM uploads WHERE id = $1";

/// $1 and on: ids.
static USED: LazyLock<String> = LazyLock::new(|| {
    let ids = parameters(1, limits::UPLOAD_BATCH);
    format!("SELECT id FROM uploads WHERE id IN ({ids})")
});

/// Bytes of all uploads.
const ALL_USAGE: &str =
    "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM usage WHERE kind = 'upload-total'";

/// Steps of a day: those that are in it, the one that is in it in part, and one of a clock that is ahead of ours.
const DAY_STEPS: i64 = 24 * 3600 / STEP_SECONDS + 2;
const STEP_SECONDS: i64 = limits::DAY_STEP.as_secs().cast_signed();

/// $1 and on: names of the sums.
static DAY_USAGE: LazyLock<String> = LazyLock::new(|| {
    let names = parameters(1, usize::try_from(DAY_STEPS).unwrap_or_default());
    format!(
        "SELECT name, CAST(SUM(bytes) AS BIGINT) FROM usage \
         WHERE kind = 'upload-day' AND name IN ({names}) GROUP BY name"
    )
});

/// $1 number.
const EXPIRING: &str = "SELECT expires, fileSize, purpose FROM uploads \
     WHERE file IS NOT NULL AND expires IS NOT NULL ORDER BY expires, id LIMIT $1";

/// Of the oldest uploads of an owner, in the order of the index. $1 number, $2 owner.
pub(super) const EXPIRING_OF: &str = "SELECT expires, fileSize, purpose FROM \
     (SELECT expires, fileSize, purpose FROM uploads \
      WHERE owner = $2 AND file IS NOT NULL ORDER BY created, id LIMIT $1) AS oldest \
     WHERE expires IS NOT NULL ORDER BY expires";

/// $1 number, $2 now.
const EXPIRED: &str = "SELECT id, file, fileSize FROM uploads \
     WHERE file IS NOT NULL AND expires IS NOT NULL AND expires <= $2 ORDER BY expires, id LIMIT $1";

/// $1 number, $2 owner.
pub(super) const OLDEST: &str = "SELECT id, file, fileSize FROM uploads WHERE owner = $2 AND purpose = 'message' \
     AND file IS NOT NULL ORDER BY created, id LIMIT $1";

/// $1 and on: ids.
static NAMED: LazyLock<String> = LazyLock::new(|| {
    let ids = parameters(1, limits::UPLOAD_BATCH);
    format!("SELECT id, file, fileSize FROM uploads WHERE file IS NOT NULL AND id IN ({ids})")
});

/// $1 now, $2 number.
const FORGET: &str = "DELETE FROM uploads WHERE id IN (SELECT id FROM uploads \
     WHERE file IS NULL AND slotEnds IS NOT NULL AND slotEnds <= $1 LIMIT $2)";

/// $1 last id, $2 number.
const ROWS: &str =
    "SELECT id, file, fileSize FROM uploads WHERE id > $1 AND file IS NOT NULL ORDER BY id LIMIT $2";

/// The files that must go, each with 1 if a row names it all the same, else 0. $1 last file, $2 number.
pub(super) const REMOVALS: &str = concat!(
    "SELECT id, file, CAST(CASE WHEN EXISTS (SELECT 1 FROM uploads WHERE ",
    has_file!("removals.file"),
    ") THEN 1 ELSE 0 END AS BIGINT) \
     FROM removals WHERE folder = '.uploads' AND file > $1 ORDER BY file LIMIT $2"
);

/// Whether a row of any table names a file. $1 name.
pub(super) const IS_NAMED: &str = concat!(
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM uploads WHERE ",
    has_file!("$1"),
    ") OR EXISTS (SELECT 1 FROM removals WHERE folder = '.uploads' AND file = $1)"
);

/// $1 kind.
const SECRETS: &str = "SELECT id, secret FROM secrets WHERE kind = $1";

/// $1 kind, $2 id, $3 secret.
const ADD_SECRET: &str =
    "INSERT INTO secrets (kind, id, secret) VALUES ($1, $2, $3) ON CONFLICT (kind, id) DO NOTHING";

/// $1 kind, $2 first id that stays.
const REMOVE_SECRETS: &str = "DELETE FROM secrets WHERE kind = $1 AND id < $2";

impl<E: Engine> UploadTable for Store<E> {
    fn upload(&self, id: &UploadId) -> Result<UploadLookup> {
        let id = id.clone();
        self.0.read(move |session| match session.row(UPLOAD, &values![id.as_str()])? {
            Some(row) => lookup(id, row),
            None => Ok(UploadLookup::Unknown),
        })
    }

    fn insert_upload(
        &self,
        upload: &Uploaded,
        limits: UploadLimits,
    ) -> std::result::Result<UploadInsert, WriteError> {
        let upload = upload.clone();
        if limits == UploadLimits::default() {
            return self.insert_upload_alone(upload);
        }
        self.0.write(move |session| insert(session, &upload, limits))
    }

    fn used_slots(&self, ids: &[UploadId]) -> Result<Vec<UploadId>> {
        let ids: Vec<Value> = ids.iter().map(|id| id.as_str().into()).collect();
        self.0.read(move |session| {
            let mut used = Vec::new();
            for ids in ids.chunks(limits::UPLOAD_BATCH) {
                for row in session.rows(&USED, &batch(ids.to_vec(), limits::UPLOAD_BATCH))? {
                    used.push(stored_id(&row.single::<String>()?)?);
                }
            }
            Ok(used)
        })
    }

    fn upload_sums(
        &self,
        owner: Option<&str>,
        purpose: Purpose,
        now: Timestamp,
        limits: UploadLimits,
    ) -> Result<UploadSums> {
        let owner = owner.map(str::to_owned);
        self.0.read(move |session| sums(session, owner.as_deref(), purpose, now, limits))
    }

    fn expiring_uploads(
        &self,
        owner: Option<&str>,
        purpose: Option<Purpose>,
    ) -> Result<Vec<(Timestamp, u64)>> {
        let mut parameters = values![limits::EXPIRIES].to_vec();
        let sql = if owner.is_some() { EXPIRING_OF } else { EXPIRING };
        parameters.extend(owner.map(Value::from));
        self.0.read(move |session| {
            let mut expiring = Vec::new();
            for mut row in session.rows(sql, &parameters)? {
                let (expires, size, of): (_, _, String) = (row.next()?, row.next()?, row.next()?);
                if purpose.is_none_or(|purpose| purpose.name() == of) {
                    expiring.push((expires, size));
                }
            }
            Ok(expiring)
        })
    }

    fn expire_uploads(&self, now: Timestamp) -> Result<Vec<GoneUpload>> {
        Ok(self.0.write(move |session| {
            let expired = session.rows(EXPIRED, &values![limits::EXPIRY_BATCH, now])?;
            Ok(Change::Commit(EMPTYING_EXPIRED.run(session, stored(expired)?)?))
        })?)
    }

    fn make_room(&self, owner: &str, bytes: u64) -> Result<Vec<GoneUpload>> {
        let parameters = values![limits::UPLOAD_BATCH, owner];
        Ok(self.0.write(move |session| {
            let mut oldest = stored(session.rows(OLDEST, &parameters)?)?;
            let mut room = 0_u64;
            oldest.retain(|(upload, _)| {
                let goes = room < bytes;
                room = room.saturating_add(upload.size);
                goes
            });
            Ok(Change::Commit(EMPTYING.run(session, oldest)?))
        })?)
    }

    fn delete_uploads(&self, ids: &[UploadId]) -> Result<Vec<GoneUpload>> {
        let ids: Vec<Value> = ids.iter().map(|id| id.as_str().into()).collect();
        Ok(self.0.write(move |session| {
            let named = session.rows(&NAMED, &batch(ids.clone(), limits::UPLOAD_BATCH))?;
            Ok(Change::Commit(EMPTYING.run(session, stored(named)?)?))
        })?)
    }

    fn forget_slots(&self, now: Timestamp) -> Result<u64> {
        let parameters = values![now, limits::UPLOAD_BATCH];
        let write = move |session: &mut dyn Session| session.execute(FORGET, &parameters);
        Ok(self.0.write(move |session| write(session).map(Change::Commit))?)
    }

    fn upload_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<UploadRow>> {
        let parameters = values![after.unwrap_or_default(), max];
        self.0.read(move |session| {
            let read = |mut row: Row| Ok(UploadRow { id: row.next()?, file: row.next()?, size: row.next()? });
            session.rows(ROWS, &parameters)?.into_iter().map(read).collect()
        })
    }

    fn upload_removals(&self, after: &str, max: usize) -> Result<Vec<UploadRemoval>> {
        let parameters = values![after, max];
        self.0.read(move |session| {
            let read = |mut row: Row| {
                let (id, file, named) = (row.next()?, row.next()?, row.next::<i64>()?);
                Ok(UploadRemoval { id, file, is_named: named != 0 })
            };
            session.rows(REMOVALS, &parameters)?.into_iter().map(read).collect()
        })
    }

    fn end_upload_removals(&self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.end_removals(ids)
    }

    fn unnamed_uploads(&self, files: &[UploadFile]) -> Result<Vec<UploadFile>> {
        let files = files.to_vec();
        self.0.read(move |session| {
            let mut unnamed = Vec::new();
            for file in &files {
                if session.row(IS_NAMED, &values![file.as_str()])?.is_none() {
                    unnamed.push(file.clone());
                }
            }
            Ok(unnamed)
        })
    }
}

impl<E: Engine> SecretTable for Store<E> {
    fn secrets(&self, kind: &'static str) -> Result<Vec<StoredSecret>> {
        self.0.read(move |session| {
            let read = |mut row: Row| {
                let (id, secret) = (row.next()?, row.next::<String>()?);
                Ok(StoredSecret { id, secret: Secret::new(secret) })
            };
            session.rows(SECRETS, &values![kind])?.into_iter().map(read).collect()
        })
    }

    fn add_secret(&self, kind: &'static str, secret: &StoredSecret) -> Result<()> {
        let parameters = values![kind, secret.id, secret.secret.expose()];
        let write = move |session: &mut dyn Session| session.execute(ADD_SECRET, &parameters);
        self.0.write(move |session| write(session).map(|_| Change::Commit(())))?;
        self.0.notify(Notice::Keys);
        Ok(())
    }

    fn remove_secrets(&self, kind: &'static str, below: i64) -> Result<()> {
        let parameters = values![kind, below];
        let write = move |session: &mut dyn Session| session.execute(REMOVE_SECRETS, &parameters);
        self.0.write(move |session| write(session).map(|_| Change::Commit(())))?;
        self.0.notify(Notice::Keys);
        Ok(())
    }
}

impl<E: Engine> Store<E> {
    /// One statement is enough. Where the slot has a row and that can't be read, the row may be that of this upload.
    fn insert_upload_alone(&self, upload: Uploaded) -> std::result::Result<UploadInsert, WriteError> {
        if self.0.execute(&INSERT, upload_values(&upload))? > 0 {
            return Ok(UploadInsert::Stored);
        }
        self.0.read(move |session| committed(session, &upload)).map_err(WriteError::Unknown)
    }
}

/// The upload of a row.
fn lookup(id: UploadId, mut row: Row) -> Result<UploadLookup> {
    let path = row.next()?;
    let Some(file) = row.next::<Option<String>>()? else { return Ok(UploadLookup::Emptied) };
    let corrupt = |what: &str| Error::new(Kind::Corrupt, format!("the upload {id} has no valid {what}"));
    let file = file.parse().map_err(|_| corrupt("file"))?;
    let (owner, file_name, mime_type) = (row.next()?, row.next()?, row.next()?);
    let (size, sha256) = (row.next()?, row.next()?);
    let purpose = Purpose::from_name(&row.next::<String>()?).ok_or_else(|| corrupt("purpose"))?;
    let (created, expires, slot_ends) = (row.next()?, row.next()?, row.next()?);
    Ok(UploadLookup::There(Box::new(Uploaded {
        id,
        path,
        file,
        owner,
        file_name,
        mime_type,
        size,
        sha256,
        purpose,
        created,
        expires,
        slot_ends,
    })))
}

/// The values of a row of table `uploads`.
pub(super) fn upload_values(upload: &Uploaded) -> Vec<Value> {
    let Uploaded { id, path, file, owner, file_name, mime_type, size, .. } = upload.clone();
    let Uploaded { sha256, purpose, created, expires, slot_ends, .. } = upload.clone();
    let values = values![
        id.as_str(),
        path,
        file.as_str(),
        owner,
        file_name,
        mime_type,
        size,
        sha256,
        purpose.name(),
        created,
        expires,
        slot_ends,
    ];
    values.to_vec()
}

/// The row first; its trigger changes the sums, and these decide.
fn insert(
    session: &mut dyn Session,
    upload: &Uploaded,
    limits: UploadLimits,
) -> Result<Change<UploadInsert>> {
    let owner = upload.owner.as_deref();
    let is_limited = limits.user.or(limits.day).or(limits.purpose).is_some();
    if let Some(owner) = owner.filter(|_| is_limited) {
        session.hold(&format!("upload {owner}"))?;
    }
    if session.execute(&INSERT, &upload_values(upload))? == 0 {
        return Ok(Change::RollBack(committed(session, upload)?));
    }
    let sums = sums(session, owner, upload.purpose, upload.created, limits)?;
    Ok(match sums.exceeded(limits) {
        Some(quota) => Change::RollBack(UploadInsert::OverQuota(quota)),
        None => Change::Commit(UploadInsert::Stored),
    })
}

/// The outcome for a slot that has a row already: of this upload, by an earlier run of the write, or of another one.
fn committed(session: &mut dyn Session, upload: &Uploaded) -> Result<UploadInsert> {
    let Some(mut row) = session.row(COMMITTED, &values![upload.id.as_str()])? else {
        return Ok(UploadInsert::Taken);
    };
    let (file, sha256): (Option<String>, Option<String>) = (row.next()?, row.next()?);
    let size: u64 = row.next()?;
    Ok(match file {
        Some(file) if file == upload.file.as_str() => UploadInsert::Stored,
        Some(_) if sha256.as_ref() == Some(&upload.sha256) && size == upload.size => UploadInsert::Same,
        _ => UploadInsert::Taken,
    })
}

fn sums(
    session: &mut dyn Session,
    owner: Option<&str>,
    purpose: Purpose,
    now: Timestamp,
    limits: UploadLimits,
) -> Result<UploadSums> {
    let mut sums = UploadSums::default();
    if let Some(owner) = owner {
        if limits.user.is_some() {
            sums.user = sum(session, "upload-user", owner)?;
            sums.message = sum(session, "upload-message", owner)?;
        }
        if limits.purpose.is_some() {
            sums.purpose = sum(session, &format!("upload-{}", purpose.name()), owner)?;
            if purpose == Purpose::Message {
                sums.message = sums.purpose;
            }
        }
        if limits.day.is_some() {
            sums.day = day(session, owner, now)?;
        }
    }
    if limits.all.is_some() {
        sums.all = session.row(ALL_USAGE, &[])?.map_or(Ok(0), Row::single)?;
    }
    Ok(sums)
}

fn sum(session: &mut dyn Session, kind: &str, name: &str) -> Result<u64> {
    let row = session.row(USAGE, &values![kind, name])?;
    let Some(mut row) = row else { return Ok(0) };
    let _files: i64 = row.next()?;
    row.next()
}

/// The sums of the last day, soonest gone first, and when each of them is gone.
fn day(session: &mut dyn Session, owner: &str, now: Timestamp) -> Result<Vec<(Timestamp, u64)>> {
    let this = now.as_micros().div_euclid(1_000_000 * STEP_SECONDS);
    let steps = this + 2 - DAY_STEPS..this + 2;
    let names: Vec<Value> = steps.map(|step| format!("{owner} {step}").into()).collect();
    let mut day = Vec::new();
    for mut row in session.rows(&DAY_USAGE, &names)? {
        let (name, bytes): (String, u64) = (row.next()?, row.next()?);
        let step = name.rsplit(' ').next().and_then(|step| step.parse::<i64>().ok());
        let step = step.ok_or_else(|| Error::new(Kind::Corrupt, "a sum of kind upload-day has no number"))?;
        let gone = (step + 1) * STEP_SECONDS + 24 * 3600;
        day.push((Timestamp::from_micros(gone.saturating_mul(1_000_000)), bytes));
    }
    day.sort_unstable();
    Ok(day)
}

/// The uploads of rows with id, file and size.
fn stored(rows: Vec<Row>) -> Result<Vec<StoredUpload>> {
    rows.into_iter()
        .map(|mut row| {
            let id = stored_id(&row.next::<String>()?)?;
            let file = row.next()?;
            Ok((GoneUpload { id, size: row.next()? }, file))
        })
        .collect()
}

fn stored_id(text: &str) -> Result<UploadId> {
    UploadId::stored(text).map_err(|_| Error::new(Kind::Corrupt, "an upload has no valid id"))
}
