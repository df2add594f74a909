//! A walk of the storage root, for the start of the server and for `fsck`.

use std::fs::{self, DirEntry, ReadDir};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::files::Listed;
use crate::error::{Error, Result};
use crate::model::{Channel, MediaId};

/// How the names of temporary files begin. A channel's may begin so too, but is a directory's.
pub(super) const TEMPORARY: &str = ".upload-";
/// How the name of a file begins that was removed and is still open: NFS has no other way to keep its bytes.
const REMOVED: &str = ".nfs";

/// Every file below `root`. A file that vanishes meanwhile is left out, and so is everything in the root itself that is no
/// channel's.
pub(super) fn walk(root: &Path) -> Result<impl Iterator<Item = Result<Listed>> + use<>> {
    let read = fs::read_dir(root).map_err(|cause| failure(root, cause))?;
    Ok(Walk { root: root.to_owned(), top: read, folder: None })
}

/// Every file of a channel.
pub(super) fn walk_channel(
    root: &Path,
    channel: &Channel,
) -> Result<impl Iterator<Item = Result<Listed>> + use<>> {
    let (path, channel) = (root.join(channel.as_str()), channel.clone());
    let entries = match fs::read_dir(&path) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failure(&path, error)),
    };
    let listed = move |entry: io::Result<DirEntry>| match entry.and_then(|entry| stored(&channel, &entry)) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        result => Some(result.map_err(|cause| failure(&path, cause))),
    };
    Ok(entries.into_iter().flatten().filter_map(listed))
}

/// The names of the temporary files in `root` itself, and when each was last written to.
pub(super) fn temporaries(root: &Path) -> Result<Vec<(String, SystemTime)>> {
    let list = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(TEMPORARY) {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_file() => names.push((name, metadata.modified()?)),
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(names)
    };
    list().map_err(|cause| failure(root, cause))
}

struct Walk {
    root: PathBuf,
    top: ReadDir,
    /// The channel's directory that is being read.
    folder: Option<(Channel, ReadDir)>,
}

impl Iterator for Walk {
    type Item = Result<Listed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.visit() {
                Ok(Visit::Entry(entry)) => return Some(Ok(entry)),
                Ok(Visit::Nothing) => {}
                Ok(Visit::End) => return None,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Some(Err(failure(&self.root, error))),
            }
        }
    }
}

/// The result of looking at one directory entry.
enum Visit {
    Entry(Listed),
    Nothing,
    End,
}

impl Walk {
    fn visit(&mut self) -> io::Result<Visit> {
        if let Some((channel, entries)) = &mut self.folder {
            match entries.next() {
                Some(entry) => return stored(channel, &entry?).map(Visit::Entry),
                None => self.folder = None,
            }
        }
        match self.top.next() {
            Some(entry) => self.top_level(&entry?),
            None => Ok(Visit::End),
        }
    }

    fn top_level(&mut self, entry: &DirEntry) -> io::Result<Visit> {
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = entry.metadata()?;
        if name.starts_with(TEMPORARY) && metadata.is_file() {
            return Ok(Visit::Nothing);
        }
        match channel_of(&name) {
            Some(channel) if metadata.is_dir() => {
                self.folder = Some((channel, fs::read_dir(entry.path())?));
                Ok(Visit::Nothing)
            }
            // Something that was meant as a channel: its name holds what the name of no other file has.
            _ if name.contains('@') => Ok(Visit::Entry(Listed::Foreign(entry.path()))),
            _ => Ok(Visit::Nothing),
        }
    }
}

/// The channel of a directory, if requests can reach it: only by its prepared name.
fn channel_of(name: &str) -> Option<Channel> {
    name.parse::<Channel>().ok().filter(|channel| channel.as_str() == name)
}

/// Fails as if the file had vanished if it was removed already.
pub(super) fn refuse_removed(entry: &DirEntry) -> io::Result<()> {
    let is_removed = entry.file_name().to_string_lossy().starts_with(REMOVED);
    if is_removed { Err(ErrorKind::NotFound.into()) } else { Ok(()) }
}

fn stored(channel: &Channel, entry: &DirEntry) -> io::Result<Listed> {
    refuse_removed(entry)?;
    let metadata = entry.metadata()?;
    let id = entry.file_name().to_str().and_then(|name| name.parse::<MediaId>().ok());
    Ok(match id {
        Some(id) if metadata.is_file() => Listed::File {
            channel: channel.clone(),
            id,
            size: metadata.len(),
            modified: metadata.modified()?,
        },
        _ => Listed::Foreign(entry.path()),
    })
}

fn failure(root: &Path, cause: io::Error) -> Error {
    Error::io(format!("can't read the storage below {}", root.display()), cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn everything_of_ours_is_listed_and_nothing_else() {
        let scratch = Scratch::new();
        let root = scratch.join("root");
        let folder = root.join("room@example.org");
        fs::create_dir_all(folder.join("directory")).unwrap();
        fs::create_dir_all(root.join("lost+found")).unwrap();
        fs::create_dir_all(root.join("Room@Example.org")).unwrap();
        for name in [
            ".upload-1",
            "metadata.sqlite",
            "room@example.org/a1",
            "room@example.org/odd.name",
            "room@example.org/.nfs00000000000000010000002a",
        ] {
            fs::write(root.join(name), "four").unwrap();
        }
        let mut found: Vec<String> = walk(&root).unwrap().map(|entry| show(&root, entry.unwrap())).collect();
        let temporaries: Vec<String> =
            temporaries(&root).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(temporaries, [".upload-1"]);
        fs::remove_dir_all(&root).unwrap();
        found.sort();
        assert_eq!(
            found,
            [
                "foreign Room@Example.org",
                "foreign room@example.org/directory",
                "foreign room@example.org/odd.name",
                "stored room@example.org a1 4",
            ]
        );
        assert!(walk(&root).is_err());
    }

    fn show(root: &Path, entry: Listed) -> String {
        match entry {
            Listed::File { channel, id, size, .. } => format!("stored {channel} {id} {size}"),
            Listed::Foreign(path) => format!("foreign {}", path.strip_prefix(root).unwrap().display()),
        }
    }
}
