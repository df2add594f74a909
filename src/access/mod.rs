//! The gate: who a request comes from (XEP-0070) and what they may do (XEP-0060).

mod caches;
mod channels;
mod confirm;
mod counts;
pub mod credentials;
pub mod disco;
mod discovery;
mod doorkeeper;
mod gate;
mod query;
mod random;
mod reply;
mod request;
mod rights;
mod settings;
#[cfg(test)]
mod testing;

pub use counts::{Counts, LinkCounts, LookupCounts, Lookups, Outcomes};
pub use credentials::Credentials;
pub use doorkeeper::{Deliver, Doorkeeper};
pub use gate::{Gate, Output};
pub use request::{Ask, Decision, Granted, Ticket};
pub use settings::{DomainRule, Settings};
