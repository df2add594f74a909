//! Files that no row names are set aside: moved to `.lost/DATE/CHANNEL/` in the storage root, where an operator finds
//! them. Any thread may call.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::limits;
use crate::sys::fs::Dir;

/// The folder of files that were set aside. Its folders are named by the date (UTC), and in these by the channel.
pub(super) const LOST: &str = ".lost";
/// How a day is written.
const PATTERN: &str = "yyyy-mm-dd";

/// How many of all files, or of all rows, would go at once. Many of them point to a mistake of the operator's: another
/// database, or a file system that is not mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// All that there are.
    pub all: u64,
    /// Those of them that would go.
    pub lost: u64,
}

impl Losses {
    /// Counts one more.
    pub fn count(&mut self, is_lost: bool) {
        self.all += 1;
        self.lost += u64::from(is_lost);
    }

    /// Whether more would go than a crash explains.
    pub fn are_too_many(&self) -> bool {
        self.lost > limits::LOSSES
            && self.lost.saturating_mul(100) > self.all.saturating_mul(limits::LOSSES_PERCENT)
    }
}

/// Moves a file of a channel to `.lost/DATE/CHANNEL/`, under its name, with a number behind it where that is taken. Gives the
/// new path below the root; `None` if the file is gone already.
pub(super) fn set_aside(
    root: &Dir,
    channel: &str,
    name: &str,
    now: Timestamp,
) -> io::Result<Option<PathBuf>> {
    match root.open_dir(channel)? {
        Some(from) => set_aside_from(root, &from, channel, name, now),
        None => Ok(None),
    }
}

/// The same for a file of the directory `from`; its folder in `.lost/DATE` is named `folder`.
pub(super) fn set_aside_from(
    root: &Dir,
    from: &Dir,
    folder: &str,
    name: &str,
    now: Timestamp,
) -> io::Result<Option<PathBuf>> {
    let to = made(&made(&made(root, LOST)?, &date(now))?, folder)?;
    for path in paths(folder, name, now) {
        let new = path.file_name().unwrap_or_default().to_string_lossy();
        match from.rename_new(name, &to, &new) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            result => return result.map(|()| Some(path)),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// The paths that a file may get, below the root, in the order in which they are tried.
pub(super) fn paths(folder: &str, name: &str, now: Timestamp) -> impl Iterator<Item = PathBuf> {
    let folder = Path::new(LOST).join(date(now)).join(folder);
    let numbered = (1..limits::LOST_NAMES).map(move |number| format!(".{number}"));
    let name = name.to_owned();
    std::iter::once(String::new()).chain(numbered).map(move |suffix| folder.join(format!("{name}{suffix}")))
}

/// Removes the folders of the days before this one; gives their paths below the root.
pub(super) fn forget(root: &Dir, before: Timestamp) -> io::Result<Vec<PathBuf>> {
    let Some(lost) = root.open_dir(LOST)? else { return Ok(Vec::new()) };
    let (today, mut gone) = (date(before), Vec::new());
    for entry in fs::read_dir(lost.path())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_date(&name) && name < today {
            match fs::remove_dir_all(lost.path().join(&name)) {
                Ok(()) => gone.push(Path::new(LOST).join(name)),
                // Another node is as fast.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(gone)
}

/// Removes what was set aside of this channel on any day; gives the paths below the root.
pub(super) fn forget_of(root: &Dir, channel: &str) -> io::Result<Vec<PathBuf>> {
    let Some(lost) = root.open_dir(LOST)? else { return Ok(Vec::new()) };
    let mut gone = Vec::new();
    for entry in fs::read_dir(lost.path())? {
        let day = entry?.file_name();
        match fs::remove_dir_all(lost.path().join(&day).join(channel)) {
            Ok(()) => gone.push(Path::new(LOST).join(day).join(channel)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(gone)
}

/// The day (UTC), as the folders are named. The names are in the order of the days.
pub(super) fn date(time: Timestamp) -> String {
    time.to_string().chars().take(PATTERN.len()).collect()
}

/// Whether a folder has a name that [`date`] gives. Others are not ours to remove.
pub(super) fn is_date(name: &str) -> bool {
    let fits = |(have, want): (u8, u8)| if want == b'-' { have == b'-' } else { have.is_ascii_digit() };
    name.len() == PATTERN.len() && name.bytes().zip(PATTERN.bytes()).all(fits)
}

/// The folder of this name, made if it is missing.
fn made(parent: &Dir, name: &str) -> io::Result<Dir> {
    match parent.make_dir(name) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    parent.open_dir(name)?.ok_or_else(|| ErrorKind::NotADirectory.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn a_file_that_is_moved_to_lost_replaces_no_other() {
        let scratch = Scratch::new();
        let root = Dir::open(scratch.path()).unwrap();
        let set_aside =
            || set_aside(&root, "room@example.org", "id", Timestamp::from_micros(1_390_500_000_000_000));
        assert_eq!(set_aside().unwrap(), None, "the channel has no folder");
        fs::create_dir(scratch.join("room@example.org")).unwrap();
        assert_eq!(set_aside().unwrap(), None, "the folder has no such file");
        for (text, name) in [("first", "id"), ("second", "id.1"), ("third", "id.2")] {
            fs::write(scratch.join("room@example.org/id"), text).unwrap();
            let path = set_aside().unwrap().unwrap();
            assert_eq!(path, Path::new(".lost/2014-01-23/room@example.org").join(name));
            assert_eq!(fs::read_to_string(scratch.path().join(path)).unwrap(), text);
            assert!(!scratch.join("room@example.org/id").exists());
        }
    }

    #[test]
    fn only_folders_of_old_dates_are_removed() {
        let scratch = Scratch::new();
        let root = Dir::open(scratch.path()).unwrap();
        let day = |day: i64| Timestamp::from_micros(day * 24 * 3600 * 1_000_000);
        assert!(forget(&root, day(1000)).unwrap().is_empty(), "there is no such folder");
        fs::create_dir(scratch.join("room@example.org")).unwrap();
        for at in [16_000, 16_001, 16_002] {
            fs::write(scratch.join("room@example.org/id"), "bytes").unwrap();
            set_aside(&root, "room@example.org", "id", day(at)).unwrap().unwrap();
        }
        for other in ["0", "2013-13-1x", "keep", "2013-10-220"] {
            fs::create_dir(scratch.join(&format!(".lost/{other}"))).unwrap();
        }
        assert_eq!(forget(&root, day(16_000)).unwrap(), Vec::<PathBuf>::new());
        let mut gone = forget(&root, day(16_002)).unwrap();
        gone.sort();
        assert_eq!(gone, [Path::new(".lost/2013-10-22"), Path::new(".lost/2013-10-23")]);
        let mut left: Vec<_> =
            fs::read_dir(scratch.join(".lost")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["0", "2013-10-220", "2013-10-24", "2013-13-1x", "keep"]);
    }

    #[test]
    fn a_failed_move_to_lost_is_an_error_and_the_file_stays() {
        let scratch = Scratch::new();
        let root = Dir::open(scratch.path()).unwrap();
        fs::create_dir(scratch.join("room@example.org")).unwrap();
        fs::write(scratch.join("room@example.org/id"), "bytes").unwrap();
        fs::write(scratch.join(".lost"), "no folder").unwrap();
        set_aside(&root, "room@example.org", "id", Timestamp::from_micros(0)).unwrap_err();
        assert!(scratch.join("room@example.org/id").exists());
    }

    #[test]
    fn more_than_ten_and_more_than_a_twentieth_are_too_many() {
        for (all, lost, expected) in [
            (0, 0, false),
            (10, 10, false),
            (11, 11, true),
            (219, 11, true),
            (220, 11, false),
            (1000, 50, false),
            (1000, 51, true),
        ] {
            assert_eq!(Losses { all, lost }.are_too_many(), expected, "{lost} of {all}");
        }
    }
}
