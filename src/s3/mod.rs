//! A client of a bucket in a store that speaks Amazon's S3 protocol: rusty-s3 signs, ureq sends. A request that fails for a
//! reason that may pass is repeated a few times. Any thread may call; it waits for the response of the store.

mod client;
mod failure;
mod list;
mod parts;
mod reply;
mod request;
mod settings;
#[cfg(test)]
mod tests;

pub use self::client::{Client, Object};
pub use self::list::{Entry, List};
pub use self::parts::Unfinished;
pub use self::reply::{Fields, Reply};
pub use self::settings::Settings;
