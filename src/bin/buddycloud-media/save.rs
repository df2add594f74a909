//! Where a download goes: standard output, or a file that has its name only once it is complete.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use media_server::sys::fs::Dir;

use crate::exit::{Exit, Failure, Result};
use crate::interrupt::Partial;

/// An open place for the bytes of a download.
pub enum Sink {
    /// Standard output, without the buffer of [`io::stdout`]: that ends a write at each last line break.
    Stdout(File),
    /// A file that is not complete.
    File(NewFile),
}

/// A file under a name of its own, beside the one that it will have.
pub struct NewFile {
    file: File,
    partial: Partial,
    folder: Dir,
    name: String,
}

impl Sink {
    /// Standard output.
    pub fn stdout() -> Result<Self> {
        let output = io::stdout().as_fd().try_clone_to_owned();
        output.map(|output| Self::Stdout(output.into())).map_err(|error| unwritten(&error))
    }

    /// Writes all of it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let (Self::Stdout(file) | Self::File(NewFile { file, .. })) = self;
        file.write_all(bytes).map_err(|error| unwritten(&error))
    }

    /// Forgets what was written; `false` where that can't be.
    pub fn restart(&mut self) -> Result<bool> {
        let Self::File(new) = self else { return Ok(false) };
        let emptied = new.file.set_len(0).and_then(|()| new.file.seek(SeekFrom::Start(0)));
        emptied.map(|_| true).map_err(|error| unwritten(&error))
    }

    /// The file gets its name, which must still be free; gives its path.
    pub fn complete(self) -> Result<Option<PathBuf>> {
        match self {
            Self::Stdout(_) => Ok(None),
            Self::File(new) => new.complete().map(Some),
        }
    }
}

impl NewFile {
    /// A new file that will have this path. Fails with [`Exit::Exists`] if the name is taken.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name =
            name.ok_or_else(|| Failure::new(Exit::Io, format!("{} is not a file name", path.display())))?;
        refuse_taken(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let cant =
            |error: io::Error| Failure::new(Exit::Io, format!("can't make {}: {error}", path.display()));
        let random = getrandom::u64().map_err(|error| cant(io::Error::other(error.to_string())))?;
        let partial = folder.join(format!(".buddycloud-media-{random:016x}.part"));
        let dir = Dir::open(folder).map_err(cant)?;
        let file = OpenOptions::new().write(true).create_new(true).open(&partial).map_err(cant)?;
        Ok(Self { file, partial: Partial::new(partial), folder: dir, name: name.to_owned() })
    }

    fn complete(self) -> Result<PathBuf> {
        let path = self.folder.path().join(&self.name);
        let partial = self.partial.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match self.folder.rename_new(partial, &self.folder, &self.name) {
            Ok(()) => Ok(path.strip_prefix("./").map(Path::to_owned).unwrap_or(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken(&path)),
            Err(error) => Err(Failure::new(Exit::Io, error.to_string())),
        }
    }
}

/// Fails if there is something at this path. A link counts even if its target is missing.
pub fn refuse_taken(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() { Err(taken(path)) } else { Ok(()) }
}

fn unwritten(error: &io::Error) -> Failure {
    Failure::new(Exit::Io, format!("can't write: {error}"))
}

fn taken(path: &Path) -> Failure {
    let path = path.strip_prefix("./").unwrap_or(path);
    Failure::new(Exit::Exists, format!("{} exists already; -o FILE gives another name", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_has_its_name_when_it_is_complete_and_replaces_nothing() {
        let folder = std::env::temp_dir().join(format!("buddycloud-media-save-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let names = || {
            let mut names: Vec<_> =
                fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let path = folder.join("a.txt");
        let mut sink = Sink::File(NewFile::create(&path).unwrap());
        sink.write(b"wrong").unwrap();
        assert!(!path.exists());
        assert!(sink.restart().unwrap());
        sink.write(b"ok").unwrap();
        assert_eq!(sink.complete().unwrap().unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), b"ok");
        assert_eq!(NewFile::create(&path).err().unwrap().exit, Exit::Exists);

        // One that appears in between is kept, and nothing is left beside it.
        let other = folder.join("b.txt");
        let mut sink = Sink::File(NewFile::create(&other).unwrap());
        sink.write(b"new").unwrap();
        std::os::unix::fs::symlink("nowhere", &other).unwrap();
        assert_eq!(sink.complete().unwrap_err().exit, Exit::Exists);
        assert_eq!(names(), ["a.txt", "b.txt"]);
        drop(Sink::File(NewFile::create(&folder.join("c.txt")).unwrap()));
        assert_eq!(names(), ["a.txt", "b.txt"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
