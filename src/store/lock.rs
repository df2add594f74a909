//! The lock of a storage root: one process at a time does what no other may see half done. It ends with its process,
//! however that ends.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::sys::fs::Dir;

/// The file in the root that is locked. It is never removed: another process may be about to lock it.
const LOCK: &str = ".lock";

/// The lock of a storage root. Dropped, it is released.
#[derive(Debug)]
pub struct RootLock {
    _file: File,
}

impl RootLock {
    /// Takes the lock of this root, which must be there. Fails at once if another process has it.
    pub fn take(root: &Path) -> Result<Self> {
        let failed = |cause| Error::io(format!("can't lock the storage {}", root.display()), cause);
        let dir = Dir::open(root).map_err(failed)?;
        let file = dir.open_or_create(LOCK).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => {
                let text = format!(
                    "another process is upgrading the storage {}; try again when it has ended",
                    root.display()
                );
                Err(Error::new(Kind::Failure, text))
            }
            Err(cause) => Err(failed(cause.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn one_process_at_a_time_has_the_lock() {
        let scratch = Scratch::new();
        let lock = RootLock::take(scratch.path()).unwrap();
        let error = RootLock::take(scratch.path()).unwrap_err().to_string();
        assert!(error.contains("another process"), "{error}");
        drop(lock);
        RootLock::take(scratch.path()).unwrap();
        assert!(RootLock::take(&scratch.join("missing")).unwrap_err().to_string().contains("missing"));
    }
}
