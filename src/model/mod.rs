//! The values that all layers share: addresses, media, permissions, quotas, refusals. No I/O.

mod affiliation;
mod file_name;
mod hidden;
mod jid;
mod media;
mod method;
mod network;
mod nodes;
mod permission;
mod preparation;
mod prompt;
mod punycode;
mod quota;
mod refusal;
mod upload;
mod user_file;

pub use affiliation::{AccessModel, Affiliation};
pub use file_name::cut_file_name;
pub use hidden::{is_hidden, is_invisible};
pub use jid::{BareJid, Channel, Jid, JidError, ascii_host};
pub use media::{Description, Media, MediaId, MediaIdError, Page, Preview};
pub use method::Method;
pub use network::{Network, NetworkError};
pub use nodes::{NodeName, NodeNameError, NodeNames};
pub use permission::{Need, may};
pub use prompt::{PromptDecision, PromptId, SharedPrompt, StoredPrompt};
pub use quota::{Quota, Quotas};
pub use refusal::{Refusal, RefusalRow};
pub use upload::{Purpose, UploadFile, UploadId, UploadIdError, UploadLimits, UploadQuota, Uploaded};
pub use user_file::{FileKey, FileKeyError, FileKind};
