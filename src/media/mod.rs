//! The operations on media: upload, serve, list, update, delete, and the check of the whole store.

#[cfg(test)]
mod anomalies;
mod fsck;
mod library;
mod preview;
mod properties;
mod refresh;
mod rows;
#[cfg(test)]
mod testing;
mod watch;

pub use fsck::{Deed, Finding, Repair, Report};
pub use library::{Library, Name, New, PreviewSettings, Settings};
pub use preview::Found;
pub use watch::PreviewCounts;
