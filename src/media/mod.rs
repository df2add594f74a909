//! The operations on media: upload, serve, list, update, delete, and the check of the whole store. `removals` and `orphans`
//! are chores of the housekeeper.

mod ahead;
#[cfg(test)]
mod anomalies;
mod fsck;
mod housekeeping;
mod library;
mod opening;
mod orphans;
mod preview;
mod properties;
mod purge;
mod refresh;
mod removals;
mod rows;
#[cfg(test)]
mod testing;
mod watch;

pub use fsck::{Deed, Finding, Repair, Report};
pub use housekeeping::HousekeepingSettings;
pub use library::{Library, Name, New, PreviewSettings, Settings};
pub use orphans::Walker;
pub use preview::Found;
pub use purge::ChannelRemains;
pub use removals::Remover;
pub use watch::PreviewCounts;
