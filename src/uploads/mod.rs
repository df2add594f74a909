//! Uploads by slot (XEP-0363): who has a slot, what becomes of its PUT, how long a file is kept. The component's worker
//! threads ask for slots, and the threads that serve HTTP for the rest.

mod settings;
mod slot;

pub use crate::model::Purpose;
pub use settings::{External, JidRule, Keep, Protocol, Settings, UploadQuotas};
pub use slot::{Slot, SlotRefusal, SlotRequest, Slots};
