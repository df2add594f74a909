//! Tokens: short texts that prove that this server, or another one with the same database, made them. `codec` signs and
//! checks them without I/O; [`Keys`] keeps the keys of one kind. Threads that may wait for the database call [`Keys`].

mod codec;
mod keys;

pub use codec::{Fields, Key, Token, TokenError, sign};
pub use keys::Keys;

use std::time::Duration;

/// A kind of token. Tokens of one kind are never taken for those of another: each has keys of its own, and its name is
/// signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenKind {
    /// Its name, as the table `secrets` has it.
    pub name: &'static str,
    /// The longest that a token may be used after it was made.
    pub life: Duration,
}
