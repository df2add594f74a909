//! The words of the domain: who, what, and who may do what to it. No I/O.

mod affiliation;
mod jid;
mod media;
mod method;
mod permission;
mod quota;
mod refusal;

pub use affiliation::{AccessModel, Affiliation};
pub use jid::{BareJid, Channel, Jid, JidError};
pub use media::{Description, Media, MediaId, MediaIdError, Page, Preview};
pub use method::Method;
pub use permission::{Need, may};
pub use quota::{Quota, Quotas};
pub use refusal::{Refusal, Row};
