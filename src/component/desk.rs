//! The files as users and administrators may see and delete them, whichever way they ask. Worker threads call it: all of it
//! may wait for the database or the disk.

use std::sync::Arc;
use std::time::Instant;

use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::limits;
use crate::media::{Library, Name};
use crate::model::{BareJid, FileKey, FileKind, Uploaded};
use crate::store::{Block, FileFilter, FilePlace, FileRow, FileSum, FileTable, UsageKind};
use crate::uploads::UploadService;

/// The files of users, and who may send some.
pub trait Desk: Send + Sync {
    /// At most `max` files of a user after this place, newest first.
    fn files(&self, owner: &BareJid, after: Option<&FilePlace>, max: usize) -> Result<Vec<FileRow>>;

    /// A file, if it is this user's.
    fn find(&self, owner: &BareJid, key: &FileKey) -> Result<Option<FileRow>>;

    /// Deletes a file, if it is this user's; says whether it was there.
    fn delete(&self, owner: &BareJid, key: &FileKey) -> Result<bool>;

    /// Deletes the files that a user stored until this time, as far as [`limits::DELETE_ALL_TIME`] is enough.
    fn delete_all(&self, owner: &BareJid, until: Timestamp) -> Result<DeletedAll>;

    /// The space that a user's files take.
    fn usage(&self, owner: &BareJid) -> Result<Usage>;

    /// The space that all files take, and the users with the most.
    fn total(&self) -> Result<Total>;

    /// Blocks a user; `false` if the user was blocked before.
    fn block(&self, user: &BareJid, by: &BareJid) -> Result<bool>;

    /// Ends the block of a user; `false` if there was none.
    fn unblock(&self, user: &BareJid) -> Result<bool>;

    /// The first [`limits::COMMAND_FILES`] blocked users.
    fn blocked(&self) -> Result<Vec<Block>>;
}

/// The result of deleting all files of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedAll {
    /// Files that are deleted.
    pub files: u64,
    /// Whether there was no time for all of them.
    pub more: bool,
}

/// The space that the files of a user take, and may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Media of channels.
    pub media: FileSum,
    /// Bytes that they may take; `None`: unlimited.
    pub media_limit: Option<u64>,
    /// Uploads by slot.
    pub uploads: FileSum,
    /// Bytes that they may take; `None`: unlimited.
    pub uploads_limit: Option<u64>,
}

impl Usage {
    /// Both kinds together.
    pub fn all(&self) -> FileSum {
        let FileSum { files, bytes } = self.media;
        FileSum { files: files + self.uploads.files, bytes: bytes.saturating_add(self.uploads.bytes) }
    }
}

/// The space that all files take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Media of channels.
    pub media: FileSum,
    /// The users with the most of them, at most [`limits::LARGEST_USERS`].
    pub media_users: Vec<(String, FileSum)>,
    /// Uploads by slot.
    pub uploads: FileSum,
    /// The users with the most of them, at most [`limits::LARGEST_USERS`].
    pub upload_users: Vec<(String, FileSum)>,
}

/// The desk of a running server.
pub struct FileDesk {
    library: Arc<Library>,
    uploads: Arc<UploadService>,
    table: Arc<dyn FileTable>,
    clock: Arc<dyn Clock>,
}

impl FileDesk {
    /// A desk for the media of this library and these uploads, whose rows are in `table`.
    pub fn new(
        library: Arc<Library>,
        uploads: Arc<UploadService>,
        table: Arc<dyn FileTable>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { library, uploads, table, clock }
    }

    /// Deletes a page of files; says how many were there.
    fn delete_page(&self, owner: &BareJid, page: &[FileRow]) -> Result<u64> {
        let keys = || page.iter().filter_map(FileRow::key);
        let uploads: Vec<_> = keys()
            .filter_map(|key| match key {
                FileKey::Upload(id) => Some(id),
                FileKey::Media(..) => None,
            })
            .collect();
        let mut deleted = self.uploads.delete_of(owner, &uploads)? as u64;
        for key in keys() {
            if let FileKey::Media(channel, id) = key {
                deleted += u64::from(self.library.delete_id(&channel, &id)?);
            }
        }
        Ok(deleted)
    }
}

impl Desk for FileDesk {
    fn files(&self, owner: &BareJid, after: Option<&FilePlace>, max: usize) -> Result<Vec<FileRow>> {
        self.table.files(&FileFilter::of(owner), after, max)
    }

    fn find(&self, owner: &BareJid, key: &FileKey) -> Result<Option<FileRow>> {
        let row = match key {
            FileKey::Upload(id) => self.uploads.find(id)?.map(|uploaded| row_of(&uploaded)),
            FileKey::Media(channel, id) => {
                let media = self.library.find(channel, &Name::Id(id.clone()))?;
                media.map(|media| FileRow {
                    kind: FileKind::Media,
                    id: media.id.as_str().to_owned(),
                    channel: Some(media.channel.as_str().to_owned()),
                    owner: Some(media.author),
                    file_name: media.description.file_name,
                    mime_type: media.mime_type,
                    size: media.size,
                    created: media.uploaded,
                    purpose: None,
                    path: None,
                    expires: None,
                })
            }
        };
        Ok(row.filter(|row| row.owner.as_deref() == Some(owner.as_str())))
    }

    fn delete(&self, owner: &BareJid, key: &FileKey) -> Result<bool> {
        let Some(row) = self.find(owner, key)? else { return Ok(false) };
        Ok(self.delete_page(owner, &[row])? > 0)
    }

    fn delete_all(&self, owner: &BareJid, until: Timestamp) -> Result<DeletedAll> {
        let begun = Instant::now();
        // Files that are stored in the same microsecond go, too.
        let before = Some(Timestamp::from_micros(until.as_micros().saturating_add(1)));
        let filter = FileFilter { before, ..FileFilter::of(owner) };
        let (mut all, mut after) = (DeletedAll::default(), None);
        loop {
            let page = self.table.files(&filter, after.as_ref(), limits::UPLOAD_BATCH)?;
            all.files += self.delete_page(owner, &page)?;
            // A row whose id is not valid stays, and must not be met again.
            after = page.last().map(FileRow::place);
            if page.len() < limits::UPLOAD_BATCH {
                return Ok(all);
            }
            if begun.elapsed() > limits::DELETE_ALL_TIME {
                return Ok(DeletedAll { more: true, ..all });
            }
        }
    }

    fn usage(&self, owner: &BareJid) -> Result<Usage> {
        Ok(Usage {
            media: self.table.usage(UsageKind::User, owner.as_str())?,
            media_limit: self.library.quotas().user,
            uploads: self.table.usage(UsageKind::UploadUser, owner.as_str())?,
            uploads_limit: self.uploads.user_quota(),
        })
    }

    fn total(&self) -> Result<Total> {
        Ok(Total {
            media: self.table.usage(UsageKind::Total, "")?,
            media_users: self.table.largest(UsageKind::User, limits::LARGEST_USERS)?,
            uploads: self.table.usage(UsageKind::UploadTotal, "")?,
            upload_users: self.table.largest(UsageKind::UploadUser, limits::LARGEST_USERS)?,
        })
    }

    fn block(&self, user: &BareJid, by: &BareJid) -> Result<bool> {
        self.uploads.block(user, by, self.clock.now())
    }

    fn unblock(&self, user: &BareJid) -> Result<bool> {
        self.uploads.unblock(user)
    }

    fn blocked(&self) -> Result<Vec<Block>> {
        self.uploads.blocked(limits::COMMAND_FILES)
    }
}

fn row_of(uploaded: &Uploaded) -> FileRow {
    FileRow {
        kind: FileKind::Upload,
        id: uploaded.id.as_str().to_owned(),
        channel: None,
        owner: uploaded.owner.clone(),
        file_name: Some(uploaded.file_name.clone()),
        mime_type: uploaded.mime_type.clone(),
        size: uploaded.size,
        created: uploaded.created,
        purpose: Some(uploaded.purpose.name().to_owned()),
        path: uploaded.path.clone(),
        expires: uploaded.expires,
    }
}
