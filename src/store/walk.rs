//! What lies in the storage: for the sweep at the start and for `fsck`.

use std::fs::{self, DirEntry, ReadDir};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::model::{Channel, MediaId};

/// How the names of temporary files begin. A channel's may begin so too, but is a directory's.
pub(super) const TEMPORARY: &str = ".upload-";

/// A file in the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A media or a preview, by the look of its name.
    Stored {
        /// The channel whose directory it is in.
        channel: Channel,
        /// Its name.
        id: MediaId,
        /// Its size in bytes.
        size: u64,
        /// When it was last written to.
        modified: SystemTime,
    },
    /// The file of an upload that is under way, or was never completed.
    Temporary {
        /// Its name in the root.
        name: String,
        /// When it was last written to.
        modified: SystemTime,
    },
    /// Something in a place of ours that no request can reach: what is no regular file or has no valid name.
    Foreign(PathBuf),
}

/// Every file below `root`. What vanishes meanwhile is left out.
pub(super) fn walk(root: &Path) -> Result<impl Iterator<Item = Result<Found>> + use<>> {
    let read = fs::read_dir(root).map_err(|cause| failure(root, cause))?;
    Ok(Walk { root: root.to_owned(), top: read, folder: None })
}

/// The names of the temporary files. Only the root itself is read: a server with a million media starts at once, too.
pub(super) fn temporaries(root: &Path) -> Result<Vec<String>> {
    let list = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(TEMPORARY) && entry.file_type()?.is_file() {
                names.push(name);
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
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Ok(Step::Found(found)) => return Some(Ok(found)),
                Ok(Step::Nothing) => {}
                Ok(Step::End) => return None,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Some(Err(failure(&self.root, error))),
            }
        }
    }
}

/// What one directory entry comes to.
enum Step {
    Found(Found),
    Nothing,
    End,
}

impl Walk {
    fn step(&mut self) -> io::Result<Step> {
        if let Some((channel, entries)) = &mut self.folder {
            match entries.next() {
                Some(entry) => return stored(channel, &entry?).map(Step::Found),
                None => self.folder = None,
            }
        }
        match self.top.next() {
            Some(entry) => self.top_level(&entry?),
            None => Ok(Step::End),
        }
    }

    fn top_level(&mut self, entry: &DirEntry) -> io::Result<Step> {
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = entry.metadata()?;
        if name.starts_with(TEMPORARY) && metadata.is_file() {
            return Ok(Step::Found(Found::Temporary { name, modified: metadata.modified()? }));
        }
        match channel_of(&name) {
            Some(channel) if metadata.is_dir() => {
                self.folder = Some((channel, fs::read_dir(entry.path())?));
                Ok(Step::Nothing)
            }
            // Something that was meant as a channel: its name holds what the name of no other file has.
            _ if name.contains('@') => Ok(Step::Found(Found::Foreign(entry.path()))),
            _ => Ok(Step::Nothing),
        }
    }
}

/// The channel of a directory, if requests can reach it: only by its prepared name.
fn channel_of(name: &str) -> Option<Channel> {
    name.parse::<Channel>().ok().filter(|channel| channel.as_str() == name)
}

fn stored(channel: &Channel, entry: &DirEntry) -> io::Result<Found> {
    let metadata = entry.metadata()?;
    let id = entry.file_name().to_str().and_then(|name| name.parse::<MediaId>().ok());
    Ok(match id {
        Some(id) if metadata.is_file() => Found::Stored {
            channel: channel.clone(),
            id,
            size: metadata.len(),
            modified: metadata.modified()?,
        },
        _ => Found::Foreign(entry.path()),
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
    fn everything_of_ours_is_found_and_nothing_else() {
        let scratch = Scratch::new();
        let root = scratch.join("root");
        let folder = root.join("room@example.org");
        fs::create_dir_all(folder.join("directory")).unwrap();
        fs::create_dir_all(root.join("lost+found")).unwrap();
        fs::create_dir_all(root.join("Room@Example.org")).unwrap();
        for name in [".upload-1", "metadata.sqlite", "room@example.org/a1", "room@example.org/odd.name"] {
            fs::write(root.join(name), "four").unwrap();
        }
        let mut found: Vec<String> = walk(&root).unwrap().map(|found| show(&root, found.unwrap())).collect();
        fs::remove_dir_all(&root).unwrap();
        found.sort();
        assert_eq!(
            found,
            [
                "foreign Room@Example.org",
                "foreign room@example.org/directory",
                "foreign room@example.org/odd.name",
                "stored room@example.org a1 4",
                "temporary .upload-1",
            ]
        );
        assert!(walk(&root).is_err());
    }

    fn show(root: &Path, found: Found) -> String {
        match found {
            Found::Stored { channel, id, size, .. } => format!("stored {channel} {id} {size}"),
            Found::Temporary { name, .. } => format!("temporary {name}"),
            Found::Foreign(path) => format!("foreign {}", path.strip_prefix(root).unwrap().display()),
        }
    }
}
