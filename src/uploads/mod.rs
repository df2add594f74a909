//! Uploads by slot (XEP-0363): who has a slot, what becomes of its PUT, how long a file is kept. The component's worker
//! threads ask for slots, the threads that serve HTTP for the rest, and the housekeeper removes what is over.

#[cfg(test)]
mod anomalies;
mod blocks;
mod external;
mod fsck;
mod grant;
mod name;
mod orphans;
mod put;
mod reservations;
mod room;
mod service;
mod settings;
mod slot;
mod slot_token;
mod sweep;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use crate::model::Purpose;
pub use external::{ForeignPath, Proof};
pub use fsck::{UploadFinding, UploadReport};
pub use name::{encoded as encoded_name, is_slot_name};
pub use orphans::UploadWalker;
pub use put::{Put, PutTarget};
pub use room::shown_size;
pub use service::{Stores, UploadService};
pub use settings::{External, JidRule, Keep, Protocol, Settings, UploadQuotas};
pub use slot::{Slot, SlotCounts, SlotRefusal, SlotRequest, Slots};
pub use sweep::Sweeper;
