//! Where the bytes of a media come from: a file, or memory in tests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that can be read at any place.
pub trait ReadAt {
    /// Reads into `buffer` what begins at `offset`; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buffer` from `offset` on; how many bytes there were. What can't be read is not there.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> usize {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset.saturating_add(filled as u64)) {
                Ok(0) | Err(_) => break,
                Ok(read) => filled += read,
            }
        }
        filled
    }

    /// The `N` bytes at `offset`, if there are so many.
    fn bytes<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.fill(&mut bytes, offset) == N).then_some(bytes)
    }

    /// At most `length` bytes from `offset` on.
    fn part(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let filled = self.fill(&mut bytes, offset);
        bytes.truncate(filled);
        bytes
    }
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}
