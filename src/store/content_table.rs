//! The sizes and hashes of files in the rows, for a command that moves files. Any thread may call.

use super::engine::Engine;
use super::metadata::FileName;
use super::operations::Store;
use super::statements::has_file;
use super::value::{Row, values};
use crate::error::Result;
use crate::model::UploadFile;

/// The size and the hashes of stored files, as their rows have them.
pub trait ContentTable: Send + Sync {
    /// The contents of these files of media and previews, in their order; `None` for a file that no row names any more.
    fn contents(&self, files: &[FileName]) -> Result<Vec<Option<FileContent>>>;

    /// The same for files of uploads.
    fn upload_contents(&self, files: &[UploadFile]) -> Result<Vec<Option<FileContent>>>;
}

/// The bytes of a file. Hashes are in lower-case hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileContent {
    /// How many there are.
    pub size: u64,
    /// Their SHA-1; rows of the original server may have something else here.
    pub sha1: Option<String>,
    /// Their SHA-256; older rows of media have none.
    pub sha256: Option<String>,
}

/// $1 channel, $2 name.
const CONTENT: &str = "SELECT fileSize, shaChecksum, sha256 FROM medias WHERE id = $2 AND entityId = $1 \
     UNION ALL SELECT previews.fileSize, previews.shaChecksum, CAST(NULL AS TEXT) FROM previews \
     JOIN medias ON medias.id = previews.mediaId WHERE previews.id = $2 AND medias.entityId = $1 LIMIT 1";

/// $1 file.
pub(super) const UPLOAD_CONTENT: &str =
    concat!("SELECT fileSize, CAST(NULL AS TEXT), sha256 FROM uploads WHERE ", has_file!("$1"));

impl<E: Engine> ContentTable for Store<E> {
    fn contents(&self, files: &[FileName]) -> Result<Vec<Option<FileContent>>> {
        let files = files.to_vec();
        self.0.read(move |session| {
            let each = |(channel, id): &FileName| {
                session.row(CONTENT, &values![channel.as_str(), id.as_str()])?.map(content).transpose()
            };
            files.iter().map(each).collect()
        })
    }

    fn upload_contents(&self, files: &[UploadFile]) -> Result<Vec<Option<FileContent>>> {
        let files = files.to_vec();
        self.0.read(move |session| {
            let each = |file: &UploadFile| {
                session.row(UPLOAD_CONTENT, &values![file.as_str()])?.map(content).transpose()
            };
            files.iter().map(each).collect()
        })
    }
}

fn content(mut row: Row) -> Result<FileContent> {
    Ok(FileContent { size: row.next()?, sha1: row.next()?, sha256: row.next()? })
}
