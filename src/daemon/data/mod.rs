//! The commands about what is stored: how much, which files, their removal, the metadata as a file, tickets. Each runs on the main
//! thread and ends; a server may run beside it, but for `import`.

mod files;
mod move_storage;
mod output;
mod purge;
mod tickets;
mod transfer;
mod usage;

pub use files::{FileQuery, delete, list};
pub use move_storage::move_storage;
pub use purge::purge;
pub use tickets::revoke_tickets;
pub use transfer::{export, import};
pub use usage::{UsageOf, usage};

use std::sync::Arc;

use super::open;
use crate::chore::ChoreProgress;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::media::{Library, Remover};
use crate::store::{FileTable, UserData};
use crate::uploads::{Sweeper, UploadService};

/// Whether a command changes data, or only shows the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It only shows the changes.
    Trial,
    /// It does it: `--yes`.
    Really,
}

/// How a command prints its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputForm {
    /// Lines for people.
    Text,
    /// One array of objects: `--json`.
    Json,
}

/// The files and rows that a command works on.
struct Stored {
    library: Arc<Library>,
    uploads: Arc<UploadService>,
    files: Arc<dyn FileTable>,
    users: Arc<dyn UserData>,
}

impl Stored {
    /// Files and rows, if they belong together. As nothing is served, no lock is taken.
    fn open(config: &Config) -> Result<Self> {
        let tables = open::verified_tables(config)?;
        let open::Opened { library, uploads, files, users, .. } = open::stores(config, None, tables)?;
        library.open()?;
        uploads.open();
        Ok(Self { library: Arc::new(library), uploads: Arc::new(uploads), files, users })
    }

    /// Removes the files of deleted rows, as the housekeeper of a server does, which may do so at the same time.
    fn remove_files(&self) -> Result<()> {
        let mut remover = Remover::new(Arc::clone(&self.library));
        while remover.run()? != ChoreProgress::Done {}
        let of_media = self.library.chore_counts().failed();
        let failed = of_media + Sweeper::new(Arc::clone(&self.uploads)).remove_files()?;
        if failed == 0 {
            return Ok(());
        }
        let text = format!(
            "the rows are deleted, but {failed} files can't be removed now: check whether media.storage.root is writable; a \
             running server tries again every housekeeping.interval, and its log gives the reason"
        );
        Err(Error::new(Kind::Failure, text))
    }
}

/// A number of things, with their name in singular or plural.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
