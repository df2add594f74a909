//! Helpers for the unit tests of several layers.

use std::path::{Path, PathBuf};

#[path = "../tests/support/folder.rs"]
pub(crate) mod folder;

/// A directory of a test's own that is removed with this value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty directory.
    pub(crate) fn new() -> Self {
        Self(folder::new_folder(&std::env::temp_dir(), "media-server"))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Something in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Leftovers of a test do no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Random numbers that are the same at every run (xorshift64).
pub(crate) struct Random(u64);

impl Random {
    /// Those of this seed, which is not 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One below this bound.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    /// Up to `most` bytes of the alphabet.
    pub(crate) fn text(&mut self, alphabet: &[u8], most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.pick(alphabet)).collect()
    }

    /// Any byte.
    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("8 bits")
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
