//! Opens library and uploads at the start of the server, or later if the database or the store of the files can't be reached
//! then. The thread `schema` tries it each second. Afterwards it looks for a newer schema now and again, with which this
//! program can't go on.

use std::sync::{Arc, Weak, mpsc};
use std::thread;

use log::{info, warn};

use super::Event;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::media::Library;
use crate::store::{S3Files, refuse_newer};
use crate::uploads::UploadService;

/// Opens library and uploads, which have the same database and the same store of files.
pub(super) struct Opener {
    library: Weak<Library>,
    uploads: Weak<UploadService>,
    /// The bucket of the files, where nothing is changed before it was compared with the database.
    bucket: Option<S3Files>,
    /// What they wait for, if the log has said so.
    waits: Option<Missing>,
}

/// What a server waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Database,
    /// Rows and cached files are served meanwhile.
    Files,
}

impl Opener {
    /// Opens these.
    pub fn new(library: &Arc<Library>, uploads: &Arc<UploadService>, bucket: Option<S3Files>) -> Self {
        Self { library: Arc::downgrade(library), uploads: Arc::downgrade(uploads), bucket, waits: None }
    }

    /// Opens them now, if database and files were compared a moment ago; then an error that does not pass is the result.
    /// Else the thread does all: the server does not wait once more for what can't be reached.
    pub fn start(mut self, is_compared: bool, sender: mpsc::Sender<Event>) -> Result<()> {
        let opened = is_compared && self.try_open()?;
        let watch = move || {
            if let Err(error) = self.watch(opened) {
                // The main thread has gone only if the daemon is stopping anyway.
                let _ = sender.send(Event::Fatal(error));
            }
        };
        let thread = thread::Builder::new().name("schema".to_owned()).stack_size(limits::WORKER_STACK);
        thread.spawn(watch).map(drop).map_err(|cause| Error::io("can't start the thread schema", cause))
    }

    /// Ends when the library is gone, or with an error that the daemon can't go on with.
    fn watch(&mut self, mut opened: bool) -> Result<()> {
        loop {
            if !opened {
                opened = self.try_open()?;
            }
            thread::sleep(if opened { limits::SCHEMA_WATCH } else { limits::DATABASE_RETRY });
            let Some(library) = self.library.upgrade() else { return Ok(()) };
            if opened {
                // The server does not end because the database can't be read now.
                library.schema_version().map_or(Ok(()), refuse_newer)?;
            }
        }
    }

    /// Whether they are open now. An error that may pass is logged.
    fn try_open(&mut self) -> Result<bool> {
        let (Some(library), Some(uploads)) = (self.library.upgrade(), self.uploads.upgrade()) else {
            return Ok(false);
        };
        let opened = library.open();
        if library.is_readable() {
            uploads.open_to_read();
        }
        match opened {
            Ok(()) => {
                if let Some(bucket) = &self.bucket {
                    bucket.allow_changes();
                }
                uploads.open();
                match self.waits.take() {
                    Some(Missing::Database) => info!("the database is connected"),
                    Some(Missing::Files) => {
                        info!("the store of the files is reached, and is that of the database");
                    }
                    None => {}
                }
                Ok(true)
            }
            Err(error) if error.kind() == Kind::Unavailable => {
                self.note(&error, if library.is_readable() { Missing::Files } else { Missing::Database });
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn note(&mut self, error: &Error, missing: Missing) {
        if self.waits.replace(missing) == Some(missing) {
            return;
        }
        match missing {
            Missing::Database => warn!("{error}; the server answers 503 until the database can be used"),
            Missing::Files => warn!(
                "{error}; the server serves what is cached, and answers 503 to other requests, until the store of the \
                 files can be reached"
            ),
        }
    }
}
