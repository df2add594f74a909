//! The gate: who sends a request (XEP-0070), and what they may do (XEP-0060).
//!
//! [`Gate`] is a state machine without I/O; [`SharedGate`] puts it behind a mutex. Worker threads bring requests, the
//! XMPP thread brings stanzas and the time.

mod caches;
mod channels;
mod confirm;
mod counts;
pub mod credentials;
pub mod disco;
mod discovery;
mod gate;
mod iq;
mod lookup;
mod nodes;
mod random;
mod refused_rights;
mod reports;
mod request;
mod rights;
mod settings;
mod shared_gate;
pub mod survey;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;

pub use confirm::TextRequest;
pub use counts::{ConfirmationCounts, Counts, LinkCounts, LookupCounts, LookupCountsByKind, RightsRefused};
pub use credentials::Credentials;
pub use gate::{Gate, GateOutput};
pub use nodes::{KnownRows, NodeEvent, NodeLinks};
pub use random::hex_id;
pub use request::{Decision, Granted, Intent, Item, Request, RequestId};
pub use settings::{ConfirmAddress, ConfirmStanza, DomainRule, Settings};
pub use shared_gate::{Door, NodeDoor, OnDecision, OnNodeEvent, SharedGate};
