//! The files of the cache: `<root>/.blocks/<hash of the key>-<number>-<serial>`. A block that is being fetched has a
//! temporary name, and gets its own when it is complete.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use super::index::BlockName;
use crate::error::{Error, Kind, Result};
use crate::sys::fs::{Dir, NewFile};

/// The directory of the cache, in the storage root.
const BLOCKS: &str = ".blocks";
/// The prefix of the temporary names of blocks that are being fetched.
const TEMPORARY: &str = "fetching-";
/// The file with the boot id of the time when the blocks were fetched. The process that uses the cache holds its lock.
const BOOT: &str = "boot";
/// The boot id of Linux, which differs after each start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The directory of a cache. One process at a time uses it.
pub(super) struct CacheDirectory {
    dir: Dir,
    /// Closing it releases the lock.
    _boot: File,
}

impl CacheDirectory {
    /// Opens the directory, or makes it if it is missing. Gives its blocks with their sizes in bytes, the oldest first.
    /// Blocks outlive a crash of the process, but not a restart of the machine: they are not synced to the disk, so a crash
    /// of the machine may leave a block of the right size with wrong bytes.
    ///
    /// # Errors
    /// [`Kind::Config`] if another process uses it: nodes that share a storage root can't share a cache.
    pub fn open(root: &Path) -> Result<(Self, Vec<(BlockName, u64)>)> {
        let path = root.join(BLOCKS);
        let failed = |cause| Error::io(format!("can't open the cache {}", path.display()), cause);
        let (dir, mut boot) = open_directory(root, &path).map_err(failed)?;
        lock(&boot, &path)?;
        let now = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let mut known = String::new();
        let same_boot = boot.read_to_string(&mut known).is_ok() && !now.is_empty() && known == now;
        let blocks = tidy(&path, same_boot).map_err(failed)?;
        if !same_boot && let Err(error) = boot.set_len(0).and_then(|()| boot.write_all_at(now.as_bytes(), 0))
        {
            log::warn!("the cache {} will be emptied by the next start: {error}", path.display());
        }
        Ok((Self { dir, _boot: boot }, blocks))
    }

    /// Begins a block: a file under a temporary name made from the serial, open for writing and for reading.
    pub fn create(&self, serial: u64) -> io::Result<(NewFile, File)> {
        let name = temporary(serial);
        let file = self.dir.create(&name)?;
        match self.dir.open_regular(&name) {
            Ok(Some((opened, _))) => Ok((file, opened)),
            other => {
                self.discard(serial);
                Err(other.err().unwrap_or_else(|| ErrorKind::NotFound.into()))
            }
        }
    }

    /// Gives a complete block its name.
    pub fn publish(&self, name: &BlockName) -> io::Result<()> {
        self.dir.rename_new(&temporary(name.serial), &self.dir, &name.to_string())
    }

    /// Removes the temporary file of this serial.
    pub fn discard(&self, serial: u64) {
        ignore_missing(self.dir.remove(&temporary(serial)));
    }

    /// Opens a block and tells its size in bytes; `None` if it is gone.
    pub fn open_block(&self, name: &BlockName) -> io::Result<Option<(File, u64)>> {
        self.dir.open_regular(&name.to_string())
    }

    /// Removes blocks.
    pub fn remove(&self, names: &[BlockName]) {
        for name in names {
            ignore_missing(self.dir.remove(&name.to_string()));
        }
    }
}

/// The directory and its file [`BOOT`]; both are made if they are missing.
fn open_directory(root: &Path, path: &Path) -> io::Result<(Dir, File)> {
    let root = Dir::open(root)?;
    match root.make_dir(BLOCKS) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let dir = Dir::open(path)?;
    let boot = dir.open_or_create(BOOT)?;
    Ok((dir, boot))
}

/// Locks the cache for this process, which may open it more than once.
fn lock(boot: &File, path: &Path) -> Result<()> {
    match fcntl_lock(boot, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::ACCESS | Errno::AGAIN) => {
            let path = path.display();
            let text = format!(
                "the cache {path} is in use by another process: with an S3 store each node needs a media.storage.root \
                 of its own"
            );
            Err(Error::new(Kind::Config, text))
        }
        Err(cause) => Err(Error::io(format!("can't lock the cache {}", path.display()), cause.into())),
    }
}

fn temporary(serial: u64) -> String {
    format!("{TEMPORARY}{serial}")
}

fn ignore_missing(removed: io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != ErrorKind::NotFound
    {
        log::warn!("a block stays in the cache until the next start: {error}");
    }
}

/// Removes unfinished blocks, and all others, too, unless `keep`. Gives the blocks that stay.
fn tidy(path: &Path, keep: bool) -> io::Result<Vec<(BlockName, u64)>> {
    let mut blocks = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let shown = entry.file_name().to_string_lossy().into_owned();
        match shown.parse::<BlockName>() {
            Ok(name) if keep => blocks.push((name, entry.metadata()?.len())),
            Ok(_) => fs::remove_file(entry.path())?,
            Err(()) if shown.starts_with(TEMPORARY) => fs::remove_file(entry.path())?,
            Err(()) => {}
        }
    }
    blocks.sort_by_key(|(name, _)| name.serial);
    Ok(blocks)
}
