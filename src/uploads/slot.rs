//! Requests for slots and the replies of the upload service (XEP-0363).

use crate::clock::Timestamp;
use crate::metrics::Counter;
use crate::model::{BareJid, Purpose};

/// A request for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRequest {
    /// The sender of the request.
    pub owner: BareJid,
    /// The file name, as it was sent.
    pub name: String,
    /// The size of the file in bytes.
    pub size: u64,
    /// The type, as it was sent.
    pub content_type: Option<String>,
    /// The purpose, if one was given.
    pub purpose: Option<Purpose>,
    /// The date from which an ephemeral file must be gone.
    pub expire_before: Option<Timestamp>,
}

/// A slot. It has no header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Where the file is to be sent, within [`SLOT_TIME`](crate::limits::SLOT_TIME).
    pub put_url: String,
    /// Where it will be.
    pub get_url: String,
}

/// Why there is no slot: the conditions of XEP-0363 section 7. The text is for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotRefusal {
    /// `not-acceptable` of type modify, with `file-too-large`.
    TooLarge {
        /// The `max-file-size` in bytes.
        max: u64,
        /// One sentence.
        text: String,
    },
    /// `resource-constraint` of type wait.
    NoRoom {
        /// One or two sentences: the limit, what is used, and when there will be room.
        text: String,
        /// The stamp of `retry`, if time alone will help.
        retry: Option<Timestamp>,
    },
    /// `forbidden` of type auth.
    Forbidden {
        /// One sentence.
        text: String,
    },
    /// `bad-request` of type modify.
    BadRequest {
        /// One sentence.
        text: String,
    },
    /// `internal-server-error` of type wait; the log has the reason.
    Failed {
        /// One sentence.
        text: String,
    },
}

/// Requests for slots that were decided, by outcome. Requests that came too fast are not counted.
#[derive(Debug, Default)]
pub struct SlotCounts {
    granted: Counter,
    too_large: Counter,
    no_room: Counter,
    forbidden: Counter,
    bad_request: Counter,
    failed: Counter,
}

impl SlotCounts {
    /// Each outcome with its number.
    pub fn outcomes(&self) -> [(&'static str, u64); 6] {
        [
            ("granted", &self.granted),
            ("too_large", &self.too_large),
            ("no_room", &self.no_room),
            ("forbidden", &self.forbidden),
            ("bad_request", &self.bad_request),
            ("failed", &self.failed),
        ]
        .map(|(outcome, counter)| (outcome, counter.get()))
    }

    pub(super) fn granted(&self) {
        self.granted.increment();
    }

    pub(super) fn refused(&self, refusal: &SlotRefusal) {
        let counter = match refusal {
            SlotRefusal::TooLarge { .. } => &self.too_large,
            SlotRefusal::NoRoom { .. } => &self.no_room,
            SlotRefusal::Forbidden { .. } => &self.forbidden,
            SlotRefusal::BadRequest { .. } => &self.bad_request,
            SlotRefusal::Failed { .. } => &self.failed,
        };
        counter.increment();
    }
}

/// Grants slots.
pub trait Slots: Send + Sync {
    /// Whether there are slots at all.
    fn is_enabled(&self) -> bool;

    /// Bytes of the largest file, as it is announced: `max-file-size`.
    fn max_size(&self) -> u64;

    /// Decides what memory can decide: allowed and denied users, name, size, date, unused slots; and grants the slot if nothing
    /// is left to decide. `None` if the database must be asked. Never waits, so that the XMPP thread may ask.
    fn decide_from_memory(&self, request: &SlotRequest) -> Result<Option<Slot>, SlotRefusal>;

    /// Decides all of it, and grants a slot. May wait for the database, so it is for worker threads. Writes nothing to
    /// the disk.
    fn grant(&self, request: SlotRequest) -> Result<Slot, SlotRefusal>;
}
