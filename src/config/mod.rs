//! What the operator sets: where it is written, its syntax, and every setting with its type and default.

mod format;
mod jdbc;
mod list;
mod nearest;
mod properties;
mod settings;
mod source;
mod typed;
mod values;

pub use format::SecurityMode;
pub use jdbc::{Database, PostgresUrl, SslMode};
pub use list::{Bind, Domains, Origins};
pub use nearest::nearest;
pub use properties::{Entry, parse};
pub use settings::{Row, TABLE, Unset};
pub use source::Places;
pub use typed::{
    Client, Component, Config, Gate, Http, Https, Logging, Media, Metadata, convert, need_restart,
};
pub use values::{Notice, Source};

/// Random bytes that are the same at every run (xorshift64).
#[cfg(test)]
struct Random(u64);

#[cfg(test)]
impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    /// Up to `most` bytes of the alphabet.
    fn text(&mut self, alphabet: &[u8], most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}
