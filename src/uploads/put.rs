//! From a slot to a stored file.
//!
//! The order of side effects keeps a 201 true: the file is on the disk under a name of its own, and then its row is
//! committed. Of several PUTs of one slot the first to commit wins. A PUT that fails leaves no row and no file.

use std::io::{self, Write};

use super::external::{self, ForeignPath, ForeignTerms, Keeps, Proof};
use super::reservations::Arriving;
use super::room::Demand;
use super::service::UploadService;
use super::slot_token::SlotTerms;
use crate::clock::Timestamp;
use crate::limits;
use crate::media_type;
use crate::model::{BareJid, Purpose, Refusal, UploadFile, UploadId, UploadLimits, UploadQuota, Uploaded};
use crate::store::{Algorithm, Upload, UploadInsert, UploadLookup, WriteError};

/// Where a PUT goes, and what it brings to prove that it may.
#[derive(Clone, Copy, Debug)]
pub enum PutTarget<'a> {
    /// A slot of ours.
    Slot {
        /// The id in the URL.
        id: &'a UploadId,
        /// The file name in the URL, decoded.
        name: &'a str,
        /// The parameter `slot`.
        token: Option<&'a str>,
    },
    /// A slot of the XMPP server that lets us keep its files.
    Foreign {
        /// The path of the URL.
        path: &'a ForeignPath,
        /// The proof that the XMPP server signed.
        proof: Proof<'a>,
    },
}

/// A PUT under way: the bytes of its body are to be written to it. Dropped, it leaves nothing.
pub struct Put {
    upload: Upload,
    terms: Terms,
    /// Its reservation.
    arriving: Option<Arriving>,
    /// The SHA-256 of what was stored by its slot before: the client did not see our response, and tries again.
    stored: Option<String>,
}

impl Put {
    /// The user who sends the file, if known.
    pub fn owner(&self) -> Option<&BareJid> {
        self.terms.owner.as_ref()
    }
}

impl Write for Put {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.upload.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.upload.flush()
    }
}

/// The upload that a slot allows, ours or a foreign one.
#[derive(Clone, Debug)]
struct Terms {
    id: UploadId,
    path: Option<String>,
    owner: Option<BareJid>,
    file_name: String,
    mime_type: Option<String>,
    size: u64,
    purpose: Purpose,
    expires: Option<Timestamp>,
    /// When the PUT must have ended.
    closes: Option<Timestamp>,
    /// When the row may go, if the file is gone.
    slot_ends: Option<Timestamp>,
}

impl Terms {
    fn of_slot(id: &UploadId, name: &str, slot: SlotTerms) -> Self {
        let closes = slot.ends.after(limits::PUT_TIME);
        Self {
            id: id.clone(),
            path: None,
            owner: Some(slot.owner),
            file_name: name.to_owned(),
            mime_type: slot.mime_type,
            size: slot.size,
            purpose: slot.purpose,
            expires: slot.expires,
            closes: Some(closes),
            // The clocks of two servers may differ.
            slot_ends: Some(closes.after(limits::PUT_TIME)),
        }
    }

    /// Proofs of foreign slots may be good for ever, so their rows stay.
    fn of_foreign(path: &ForeignPath, size: u64, terms: ForeignTerms, expires: Option<Timestamp>) -> Self {
        Self {
            id: path.id(),
            path: Some(path.as_str().to_owned()),
            owner: terms.owner,
            file_name: path.file_name().to_owned(),
            mime_type: terms.mime_type,
            size,
            purpose: Purpose::Message,
            expires,
            closes: None,
            slot_ends: None,
        }
    }

    fn into_uploaded(self, file: UploadFile, sha256: &str, now: Timestamp) -> Uploaded {
        let valid = self.mime_type.filter(|text| media_type::parse(text).is_ok_and(|parsed| parsed == *text));
        Uploaded {
            id: self.id,
            path: self.path,
            file,
            owner: self.owner.map(|owner| owner.to_string()),
            file_name: self.file_name,
            mime_type: valid.unwrap_or_else(|| media_type::OCTET_STREAM.to_owned()),
            size: self.size,
            sha256: sha256.to_owned(),
            purpose: self.purpose,
            created: now,
            expires: self.expires,
            slot_ends: self.slot_ends,
        }
    }
}

impl UploadService {
    /// Begins a PUT whose body has `length` bytes, if that is known.
    pub fn begin(&self, target: PutTarget<'_>, length: Option<u64>) -> Result<Put, Refusal> {
        let terms = match target {
            PutTarget::Slot { id, name, token } => self.slot(id, name, token, length)?,
            PutTarget::Foreign { path, proof } => self.foreign(path, proof, length)?,
        };
        self.check_terms(&terms)?;
        let stored = if self.is_unused(&terms.id) { None } else { self.stored_before(&terms)? };
        let arriving = if stored.is_none() { Some(self.arrive(&terms)?) } else { None };
        let threshold = self.settings().to_disk_threshold;
        let upload = self.incoming.begin_with(Algorithm::Sha256, terms.size, threshold).expecting(terms.size);
        Ok(Put { upload, terms, arriving, stored })
    }

    /// Stores the file of a PUT whose body has come whole. When this returns, file and row outlive a crash.
    pub fn commit(&self, put: Put) -> Result<(), Refusal> {
        let Put { upload, terms, arriving, stored } = put;
        if upload.size() != terms.size {
            return Err(Refusal::OtherSize);
        }
        if let Some(sha256) = stored {
            return if upload.into_digest() == sha256 { Ok(()) } else { Err(Refusal::SlotUsed) };
        }
        let sealed = upload.seal()?;
        self.check_terms(&terms)?;
        let limits = self.limits(terms.owner.as_ref(), terms.purpose);
        let now = self.clock.now();
        let uploaded = terms.into_uploaded(UploadFile::made_at(now), sealed.digest(), now);
        self.files.put(sealed, &uploaded.file)?;
        let committed = self.insert(&uploaded, limits);
        if matches!(committed, Ok(UploadInsert::Stored)) {
            if let Some(arriving) = arriving {
                arriving.stored();
            }
            return Ok(());
        }
        self.undo(&uploaded, committed)
    }

    /// The upload that a slot of ours allows: its token is checked before anything else.
    fn slot(
        &self,
        id: &UploadId,
        name: &str,
        token: Option<&str>,
        length: Option<u64>,
    ) -> Result<Terms, Refusal> {
        self.check_open()?;
        let token = token.ok_or(Refusal::BadSlot)?;
        let slot = SlotTerms::verify(token, &self.keys, id, name)?.map_err(|_| Refusal::BadSlot)?;
        if !self.settings().enabled {
            return Err(Refusal::SenderRefused);
        }
        if slot.ends <= self.clock.now() {
            return Err(Refusal::SlotEnded);
        }
        match length {
            None => Err(Refusal::LengthRequired),
            Some(length) if length != slot.size => Err(Refusal::OtherSize),
            Some(_) => Ok(Terms::of_slot(id, name, slot)),
        }
    }

    /// The upload that a foreign slot allows.
    fn foreign(&self, path: &ForeignPath, proof: Proof<'_>, length: Option<u64>) -> Result<Terms, Refusal> {
        let settings = self.settings();
        let external = settings.external.as_ref().ok_or(Refusal::NoSuchRoute)?;
        let size = length.ok_or(Refusal::LengthRequired)?;
        let now = self.clock.now();
        let terms = external::verify(external, path, size, proof, now)?;
        if size > settings.max_size() {
            return Err(Refusal::TooLarge);
        }
        if size == 0 {
            return Err(Refusal::OtherSize);
        }
        let expires = match terms.keeps {
            Keeps::Always => None,
            Keeps::Until(stamp) => Some(stamp),
            Keeps::AsMessage => settings.keep.message.map(|keep| now.after(keep)),
        };
        Ok(Terms::of_foreign(path, size, terms, expires))
    }

    /// Refuses a file whose sender may send none, or that would be gone at once.
    fn check_terms(&self, terms: &Terms) -> Result<(), Refusal> {
        let now = self.clock.now();
        if let Some(owner) = &terms.owner {
            if self.is_denied(owner) {
                return Err(Refusal::SenderRefused);
            }
            self.check_blocked(owner)?;
        }
        let over = |time: Option<Timestamp>| time.is_some_and(|time| time <= now);
        if over(terms.expires) || over(terms.closes) { Err(Refusal::SlotEnded) } else { Ok(()) }
    }

    /// Whether nothing can be stored by this slot, as memory tells: this server has granted it, its first PUT begins now, and no
    /// other server takes PUTs. Where another PUT begins at the same time, the row decides.
    fn is_unused(&self, id: &UploadId) -> bool {
        !self.has_other_nodes && self.reservations.is_unused(id)
    }

    /// The SHA-256 of what the slot has stored already. Refused if that can't be the same file.
    fn stored_before(&self, terms: &Terms) -> Result<Option<String>, Refusal> {
        self.check_open()?;
        match self.table.upload(&terms.id)? {
            UploadLookup::Unknown => Ok(None),
            UploadLookup::There(uploaded)
                if uploaded.size == terms.size && !uploaded.is_expired(self.clock.now()) =>
            {
                Ok(Some(uploaded.sha256))
            }
            UploadLookup::There(_) | UploadLookup::Emptied => Err(Refusal::SlotUsed),
        }
    }

    /// Reserves what the file takes. The quotas of a user are decided when a slot of ours is granted; those of a foreign slot
    /// are decided here, and so is the quota of all.
    fn arrive(&self, terms: &Terms) -> Result<Arriving, Refusal> {
        let (owner, purpose, size) = (terms.owner.as_ref(), terms.purpose, terms.size);
        let arriving = self.reservations.arrive(&terms.id, owner, (purpose, size));
        let limits = self.limits(owner, purpose);
        let is_foreign = terms.path.is_some();
        let limits = if is_foreign { limits } else { UploadLimits { all: limits.all, ..Default::default() } };
        let (shortages, _) = self.shortages(Demand { owner, purpose, size, arrives: true }, limits)?;
        shortages.first().map_or(Ok(arriving), |shortage| Err(shortage.quota.into()))
    }

    /// Stores the row. Older messages of the owner go for it, where the settings say so.
    fn insert(&self, uploaded: &Uploaded, limits: UploadLimits) -> Result<UploadInsert, WriteError> {
        loop {
            let inserted = self.table.insert_upload(uploaded, limits)?;
            match inserted {
                UploadInsert::OverQuota(quota) if self.make_room(uploaded, quota, limits)? => {}
                inserted => return Ok(inserted),
            }
        }
    }

    /// Lets the oldest messages of the owner go until a quota has room for an upload; says whether any went.
    fn make_room(
        &self,
        uploaded: &Uploaded,
        quota: UploadQuota,
        limits: UploadLimits,
    ) -> Result<bool, WriteError> {
        let (Some(owner), Some(max)) = (&uploaded.owner, limits.of(quota)) else { return Ok(false) };
        if !self.makes_room(quota, uploaded.purpose) {
            return Ok(false);
        }
        let now = self.clock.now();
        let sums = self.table.upload_sums(Some(owner), uploaded.purpose, now, limits);
        let sums = sums.map_err(WriteError::Failed)?;
        let missing = sums.of(quota).saturating_add(uploaded.size).saturating_sub(max);
        if missing > sums.message {
            return Ok(false);
        }
        // At least one goes, so that this ends.
        let gone = self.table.make_room(owner, missing.max(1)).map_err(WriteError::Failed)?;
        for upload in &gone {
            self.forget(&upload.id);
            log::info!("the upload {} of {owner} makes room for {}", upload.id, uploaded.id);
        }
        Ok(!gone.is_empty())
    }

    /// Removes the file of an upload that has no row. Where it is not known whether it has one, the file stays for a walk of
    /// the store.
    fn undo(&self, uploaded: &Uploaded, committed: Result<UploadInsert, WriteError>) -> Result<(), Refusal> {
        let outcome = match committed {
            Ok(UploadInsert::Stored | UploadInsert::Same) => Ok(()),
            Ok(UploadInsert::Taken) => Err(Refusal::SlotUsed),
            Ok(UploadInsert::OverQuota(quota)) => Err(quota.into()),
            Err(WriteError::Failed(error)) => Err(error.into()),
            Err(WriteError::Unknown(error)) => return Err(error.into()),
        };
        if let Err(error) = self.files.remove(&uploaded.file) {
            log::warn!("the file {} of an upload has no row, but stays: {error}", uploaded.file);
        }
        outcome
    }
}
