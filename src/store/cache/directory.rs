//! The files of the cache: `<root>/.blocks/<hash of the key>-<number>-<serial>`. A block that is being fetched has another
//! name, and gets its own when it is whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::index::BlockName;
use crate::error::{Error, Result};
use crate::sys::fs::{Dir, NewFile};

/// The directory of the cache, in the storage root.
const BLOCKS: &str = ".blocks";
/// How the names of blocks begin that are being fetched.
const TEMPORARY: &str = "fetching-";
/// The file that tells since which start of the machine the blocks are there.
const BOOT: &str = "boot";
/// Where Linux tells by which start of the machine it runs.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The directory of a cache. Only the server that holds the lock of the storage root uses it.
pub(super) struct CacheDirectory {
    dir: Dir,
}

impl CacheDirectory {
    /// Opens the directory, which is made if it is missing, and gives the blocks in it with their sizes in bytes, the
    /// oldest first. Blocks outlive an end of the process, however it ends, but not one of the machine: they are not brought
    /// to the disk, so a crash of the machine may leave one of the right size with wrong bytes.
    pub fn open(root: &Path) -> Result<(Self, Vec<(BlockName, u64)>)> {
        let path = root.join(BLOCKS);
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let open = || {
            let root = Dir::open(root)?;
            match root.make_dir(BLOCKS) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let dir = Dir::open(&path)?;
            let same_boot =
                !boot.is_empty() && fs::read_to_string(path.join(BOOT)).is_ok_and(|id| id == boot);
            let blocks = tidy(&path, same_boot)?;
            fs::write(path.join(BOOT), &boot)?;
            Ok((Self { dir }, blocks))
        };
        open().map_err(|cause| Error::io(format!("can't open the cache {}", path.display()), cause))
    }

    /// Begins a block. Its temporary name is made from the serial.
    pub fn create(&self, serial: u64) -> io::Result<NewFile> {
        self.dir.create(&temporary(serial))
    }

    /// Gives a block that is whole its name, and opens it.
    pub fn publish(&self, name: &BlockName) -> io::Result<File> {
        let shown = name.to_string();
        self.dir.rename_new(&temporary(name.serial), &self.dir, &shown)?;
        let opened = self.dir.open_regular(&shown)?;
        opened.map(|(file, _)| file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Opens the temporary file of this serial to be read and takes its name away: it is gone when it is closed.
    pub fn take(&self, serial: u64) -> io::Result<File> {
        let opened = self.dir.open_regular(&temporary(serial))?;
        self.dir.remove(&temporary(serial))?;
        opened.map(|(file, _)| file).ok_or_else(|| ErrorKind::NotFound.into())
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

/// Removes what is no whole block, and blocks unless `keep`. Gives the blocks that stay.
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
