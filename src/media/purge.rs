//! Removes what is left of a channel whose media are deleted: files that no row names, and the directory. The main thread of
//! a command runs it, beside a server.

use std::time::SystemTime;

use super::Library;
use crate::error::Result;
use crate::limits;
use crate::model::{Channel, MediaId};
use crate::store::{KnownAs, Listed};

/// The result for the files of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelRemains {
    /// Files that no row named, and that are removed.
    pub removed: u64,
    /// Folders of files that were set aside, and that are removed.
    pub set_aside: u64,
    /// Files that stay: a row names them, they are so young that an upload may be about to give them a row, or no name of
    /// ours is like theirs.
    pub left: u64,
}

impl Library {
    /// Removes the files of a channel that no row names, those of it in `.lost`, and its directory if that is empty then.
    pub fn remove_remains(&self, channel: &Channel) -> Result<ChannelRemains> {
        let mut remains = ChannelRemains::default();
        for entry in self.files.list_of(channel)? {
            match entry? {
                Listed::File { id, modified, .. } if self.may_go(channel, &id, modified)? => {
                    remains.removed += u64::from(self.files.remove(channel, &id)?);
                }
                _ => remains.left += 1,
            }
        }
        self.files.settle_removals(channel)?;
        remains.set_aside = self.files.forget_set_aside_of(channel)?.len() as u64;
        self.files.remove_place(channel)?;
        Ok(remains)
    }

    /// Whether no row names a file, and no upload may be about to make one.
    fn may_go(&self, channel: &Channel, id: &MediaId, modified: SystemTime) -> Result<bool> {
        let now = SystemTime::from(self.clock.now());
        let is_old = now.duration_since(modified).is_ok_and(|age| age >= limits::FSCK_AGE);
        let file = [(channel.clone(), id.clone())];
        Ok(is_old && self.metadata()?.known_as(&file)? == [KnownAs::Nothing])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, channel};
    use super::*;

    #[test]
    fn old_files_without_rows_are_removed_from_a_channel() {
        let bench = Bench::new();
        let media = bench.add("kept");
        let other = ".lost/2014-01-23/other@example.org/a";
        for path in ["room@example.org/orphan", ".lost/2014-01-23/room@example.org/a", other] {
            bench.write(path);
        }
        let remains = || bench.library.remove_remains(&channel()).unwrap();
        assert_eq!(remains(), ChannelRemains { removed: 0, set_aside: 1, left: 2 });
        bench.pass(2 * limits::FSCK_AGE);
        assert_eq!(remains(), ChannelRemains { removed: 1, set_aside: 0, left: 1 });
        assert_eq!(bench.files(), [media.id.to_string()]);
        bench.library.delete(&media).unwrap();
        assert_eq!(remains(), ChannelRemains::default());
        assert!(!bench.path("room@example.org").exists() && bench.path(other).exists());
        assert_eq!(remains(), ChannelRemains::default(), "there is no such directory");
    }
}
