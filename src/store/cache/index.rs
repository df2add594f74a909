//! The index of the cache: the blocks that are kept, the order of their last use, and the bytes that they and the blocks to
//! come take. No I/O.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::limits;

/// A file, by the hash of its key: keys may hold characters that a file's name can't. Two keys never have the
/// same 128 bits in practice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KeyHash(u128);

impl KeyHash {
    /// The hash of this key.
    pub fn of(key: &str) -> Self {
        let mut hash = [0; 16];
        hash.copy_from_slice(&Sha256::digest(key)[..16]);
        Self(u128::from_be_bytes(hash))
    }
}

/// A block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BlockId {
    pub file: KeyHash,
    /// Its number in the file, from 0.
    pub number: u64,
}

/// The name of a block's file. Each fetch makes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockName {
    pub id: BlockId,
    pub serial: u64,
}

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{}-{}", self.id.file.0, self.id.number, self.serial)
    }
}

impl FromStr for BlockName {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let mut parts = name.splitn(3, '-');
        let (Some(hash), Some(number), Some(serial)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(());
        };
        let hash = u128::from_str_radix(hash, 16).map_err(drop)?;
        let id = BlockId { file: KeyHash(hash), number: number.parse().map_err(drop)? };
        let parsed = Self { id, serial: serial.parse().map_err(drop)? };
        // A block has one name only.
        if parsed.to_string() == name { Ok(parsed) } else { Err(()) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    bytes: u64,
    serial: u64,
    /// When it was used last, by the index's own count.
    used: u64,
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    max_bytes: u64,
    max_blocks: usize,
    /// Bytes of the blocks that are kept, and of those to come.
    bytes: u64,
    kept: BTreeMap<BlockId, Kept>,
    by_use: BTreeMap<u64, BlockId>,
    uses: u64,
}

impl Index {
    /// The index of an empty cache with room for this many bytes, and for [`limits::CACHE_BLOCKS`].
    pub fn new(max_bytes: u64) -> Self {
        let max_blocks = limits::CACHE_BLOCKS;
        Self { max_bytes, max_blocks, bytes: 0, kept: BTreeMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// Bytes of the blocks that are kept, and of those to come.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file of a block that is kept, which is used now.
    pub fn used(&mut self, id: BlockId) -> Option<BlockName> {
        let kept = self.kept.get_mut(&id)?;
        self.by_use.remove(&kept.used);
        self.uses += 1;
        kept.used = self.uses;
        self.by_use.insert(self.uses, id);
        Some(BlockName { id, serial: kept.serial })
    }

    /// Reserves room for bytes to come. Gives the blocks that must go for them. The room is exceeded only if all other bytes
    /// are still to come.
    pub fn reserve(&mut self, bytes: u64) -> Vec<BlockName> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.make_room(0)
    }

    /// Removes the least recently used blocks until so many bytes more have room, or none is left.
    pub fn make_room(&mut self, bytes: u64) -> Vec<BlockName> {
        let mut gone = Vec::new();
        while self.bytes.saturating_add(bytes) > self.max_bytes || self.kept.len() >= self.max_blocks {
            let Some(name) = self.remove_oldest() else { break };
            gone.push(name);
        }
        gone
    }

    /// Gives room back: reserved bytes do not come, or have gone.
    pub fn release(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Keeps a block whose bytes were reserved. Gives the one that it replaces.
    pub fn keep(&mut self, name: BlockName, bytes: u64) -> Option<BlockName> {
        let replaced = self.remove(name.id);
        self.uses += 1;
        self.by_use.insert(self.uses, name.id);
        self.kept.insert(name.id, Kept { bytes, serial: name.serial, used: self.uses });
        replaced
    }

    /// Removes the least recently used blocks until they have freed this many bytes, or none is left.
    pub fn evict(&mut self, bytes: u64) -> Vec<BlockName> {
        let enough = self.bytes.saturating_sub(bytes);
        let mut gone = Vec::new();
        while self.bytes > enough {
            let Some(name) = self.remove_oldest() else { break };
            gone.push(name);
        }
        gone
    }

    /// Removes this block.
    pub fn remove(&mut self, id: BlockId) -> Option<BlockName> {
        let kept = self.kept.remove(&id)?;
        self.by_use.remove(&kept.used);
        self.release(kept.bytes);
        Some(BlockName { id, serial: kept.serial })
    }

    /// Removes all blocks of a file.
    pub fn remove_file(&mut self, file: KeyHash) -> Vec<BlockName> {
        let of_file = BlockId { file, number: 0 }..=BlockId { file, number: u64::MAX };
        let ids: Vec<BlockId> = self.kept.range(of_file).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    fn remove_oldest(&mut self) -> Option<BlockName> {
        let (_, id) = self.by_use.first_key_value()?;
        self.remove(*id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn id(key: &str, number: u64) -> BlockId {
        BlockId { file: KeyHash::of(key), number }
    }

    fn keep(index: &mut Index, id: BlockId, bytes: u64) -> Vec<BlockId> {
        let gone = index.reserve(bytes);
        index.keep(BlockName { id, serial: 1 }, bytes);
        gone.into_iter().map(|name| name.id).collect()
    }

    #[test]
    fn names_are_written_in_one_way() {
        let name = BlockName { id: id("a@b/c", 12), serial: 34 };
        let text = name.to_string();
        assert!(text.len() == 38 && text.ends_with("-12-34"), "{text}");
        assert_eq!(text.parse(), Ok(name));
        for other in ["", "x", "fetching-1", &text[1..], &format!("{text}-1"), &text.to_uppercase()] {
            let parsed: Result<BlockName, ()> = other.parse();
            assert!(parsed.is_err() || other == text, "{other}");
        }
        assert!(format!("{}-012-34", &text[..32]).parse::<BlockName>().is_err());
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut index = Index::new(10);
        for number in 0..3 {
            assert!(keep(&mut index, id("a", number), 3).is_empty());
        }
        assert!(index.used(id("a", 0)).is_some() && index.used(id("b", 0)).is_none());
        assert_eq!(keep(&mut index, id("b", 0), 4), [id("a", 1)]);
        assert_eq!(keep(&mut index, id("b", 1), 6), [id("a", 2), id("a", 0)]);
        assert_eq!(index.bytes(), 10);
    }

    #[test]
    fn small_blocks_are_bounded_by_their_number() {
        let mut index = Index { max_blocks: 3, ..Index::new(1000) };
        for number in 0..3 {
            assert!(keep(&mut index, id("a", number), 1).is_empty());
        }
        assert_eq!(keep(&mut index, id("a", 3), 1), [id("a", 0)]);
        assert_eq!((index.kept.len(), index.bytes()), (3, 3));
    }

    #[test]
    fn blocks_to_come_count() {
        let mut index = Index::new(10);
        keep(&mut index, id("a", 0), 5);
        assert!(index.reserve(5).is_empty());
        assert_eq!(index.reserve(1).len(), 1);
        assert!(index.reserve(9).is_empty(), "nothing is left that could go");
        index.release(15);
        assert_eq!(index.bytes(), 0);
    }

    #[test]
    fn room_is_made_before_bytes_come() {
        let mut index = Index::new(10);
        for number in 0..3 {
            keep(&mut index, id("a", number), 3);
        }
        assert!(index.make_room(1).is_empty());
        assert_eq!(index.make_room(4).len(), 1);
        assert_eq!((index.bytes(), index.make_room(4).len(), index.reserve(4).len()), (6, 0, 0));
    }

    #[test]
    fn a_file_is_forgotten_with_all_its_blocks() {
        let mut index = Index::new(100);
        for (key, number) in [("a", 0), ("b", 0), ("a", u64::MAX), ("a", 7)] {
            keep(&mut index, id(key, number), 10);
        }
        assert_eq!(index.remove_file(KeyHash::of("a")).len(), 3);
        assert!(index.remove_file(KeyHash::of("a")).is_empty());
        assert!(index.used(id("a", 7)).is_none() && index.used(id("b", 0)).is_some());
        assert_eq!(index.bytes(), 10);
    }

    #[test]
    fn the_sums_are_those_of_the_blocks_whatever_comes() {
        let mut random = Random::new(7);
        let mut index = Index::new(1000);
        let mut reserved = Vec::new();
        for _ in 0..20_000 {
            let some = id(["a", "b", "c"][random.below(3)], random.below(9) as u64);
            match random.below(6) {
                0 | 1 => {
                    let bytes = random.below(150) as u64 + 1;
                    index.reserve(bytes);
                    reserved.push(bytes);
                }
                2 => {
                    if let Some(bytes) = reserved.pop() {
                        index.keep(BlockName { id: some, serial: 1 }, bytes);
                    }
                }
                3 => {
                    if let Some(bytes) = reserved.pop() {
                        index.release(bytes);
                    }
                }
                4 => drop(index.used(some)),
                _ => drop(index.remove(some)),
            }
            let kept: u64 = index.kept.values().map(|kept| kept.bytes).sum();
            let to_come: u64 = reserved.iter().sum();
            assert_eq!(index.bytes(), kept + to_come);
            assert!(index.bytes() <= 1000.max(to_come));
            assert_eq!(index.by_use.len(), index.kept.len());
            if reserved.len() > 5 {
                reserved.drain(..).for_each(|bytes| index.release(bytes));
            }
        }
    }
}
