//! Metadata as lines of JSON: an export of one database, and its import into an empty one of either kind; and the move of files
//! from one place to another. The main thread of a command runs it.

mod depot;
mod export;
mod import;
mod line;
mod mover;
#[cfg(test)]
mod tests;
mod values;

pub use depot::Depot;
pub use export::export;
pub use import::{import, store_of};
pub use line::{Line, parse, write};
pub use mover::{Leaving, MoveCounts, MoveNews, Mover, Tell};

use crate::store::StoredRow;

/// How many rows of each kind an export has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferCounts {
    /// Media.
    pub media: u64,
    /// Previews.
    pub previews: u64,
    /// Avatars.
    pub avatars: u64,
    /// Uploads by slot.
    pub uploads: u64,
    /// Uploads whose file is gone and whose slot may not be used again yet.
    pub emptied: u64,
    /// Users who may send no files.
    pub blocks: u64,
}

impl TransferCounts {
    fn count(&mut self, row: &StoredRow) {
        let counter = match row {
            StoredRow::Media(_) => &mut self.media,
            StoredRow::Preview(..) => &mut self.previews,
            StoredRow::Avatar(..) => &mut self.avatars,
            StoredRow::Upload(_) => &mut self.uploads,
            StoredRow::Emptied(_) => &mut self.emptied,
            StoredRow::Block(_) => &mut self.blocks,
            StoredRow::Store(_) | StoredRow::Sum(_) => return,
        };
        *counter += 1;
    }
}
