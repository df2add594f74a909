//! How a library is opened: its rows can be read as soon as the database is reached, and everything else is done when the
//! files were compared with it. The main thread opens it at the start, or the thread `schema` later.

use std::sync::atomic::Ordering;

use super::Library;
use crate::error::{Error, Kind, Result};
use crate::store::{Metadata, verify};

impl Library {
    /// Opens the library, if its metadata has the schema that this program works with and belongs to its files. A server's
    /// then gives the two halves of a new site their id, and removes what uploads of an earlier run left.
    /// [`Kind::Unavailable`] while the database or the store of the files can't be reached; any other error is final. While
    /// only a store that is far away can't be reached, rows and cached files can be read.
    pub fn open(&self) -> Result<()> {
        let state = self.metadata.store_state()?;
        verify(state.version)?;
        match &self.lock {
            None => self.identity.verify(&state)?,
            Some(lock) => {
                if self.files.is_far() && state.id.is_some() {
                    self.readable.store(true, Ordering::Release);
                }
                self.identity.establish(&state, &*self.metadata, lock)?;
                self.clean_up()?;
            }
        }
        self.readable.store(true, Ordering::Release);
        self.open.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether rows, and cached files, can be read.
    pub fn is_readable(&self) -> bool {
        self.readable.load(Ordering::Acquire)
    }

    /// The version of the schema of the metadata, if there is one.
    pub fn schema_version(&self) -> Result<Option<i32>> {
        self.metadata.schema_version()
    }

    /// Removes what the uploads of an earlier run left. Only for a server that has no upload yet.
    pub(super) fn clean_up(&self) -> Result<()> {
        let removed = self.uploads.remove_temporaries()?;
        if removed > 0 {
            log::info!("removed {removed} files of unfinished uploads");
        }
        Ok(())
    }

    /// The metadata, once the library is open.
    pub(super) fn metadata(&self) -> Result<&dyn Metadata> {
        if self.open.load(Ordering::Acquire) {
            Ok(&*self.metadata)
        } else {
            Err(Error::new(
                Kind::Unavailable,
                "the database or the store of the files has not been reached yet",
            ))
        }
    }

    /// The metadata, as soon as it can be read.
    pub(super) fn metadata_to_read(&self) -> Result<&dyn Metadata> {
        if self.is_readable() {
            Ok(&*self.metadata)
        } else {
            Err(Error::new(Kind::Unavailable, "the database has not been reached yet"))
        }
    }
}
