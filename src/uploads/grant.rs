//! Grants or refuses slots.

use super::name::{encoded, purpose_by_prefix, slot_name};
use super::room::{Demand, sentence, shown_size};
use super::service::UploadService;
use super::settings::Settings;
use super::slot::{Slot, SlotRefusal, SlotRequest, Slots};
use super::slot_token::SlotTerms;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::limits;
use crate::model::{BareJid, Purpose, Refusal, UploadId, UploadLimits};
use crate::tokens::Key;

impl Slots for UploadService {
    fn is_enabled(&self) -> bool {
        self.settings().enabled
    }

    fn max_size(&self) -> u64 {
        self.settings().max_size()
    }

    fn decide_from_memory(&self, request: &SlotRequest) -> Result<Option<Slot>, SlotRefusal> {
        let decided = self.may_ask(request).and_then(|()| self.grant_from_memory(request));
        match &decided {
            // Memory can't tell whether slots were used through other nodes.
            Err(SlotRefusal::NoRoom { .. }) if self.has_other_nodes => return Ok(None),
            Err(refusal) => self.slot_counts.refused(refusal),
            Ok(Some(_)) => self.slot_counts.granted(),
            Ok(None) => {}
        }
        decided
    }

    fn grant(&self, request: SlotRequest) -> Result<Slot, SlotRefusal> {
        let mut granted = self.try_grant(&request);
        if matches!(granted, Err(SlotRefusal::NoRoom { .. })) && self.release_used_slots(&request.owner) {
            granted = self.try_grant(&request);
        }
        match &granted {
            Ok(_) => self.slot_counts.granted(),
            Err(refusal) => self.slot_counts.refused(refusal),
        }
        granted
    }
}

impl UploadService {
    fn try_grant(&self, request: &SlotRequest) -> Result<Slot, SlotRefusal> {
        self.may_ask(request).and_then(|()| self.grant_from_store(request))
    }

    /// Gives up the reservations of slots whose files were stored through other nodes; says whether there were any.
    fn release_used_slots(&self, owner: &BareJid) -> bool {
        if !self.has_other_nodes {
            return false;
        }
        let used = self.check_open().and_then(|()| self.table.used_slots(&self.reservations.counting(owner)));
        let used = used.unwrap_or_else(|error| {
            log::debug!("it is not known which slots were used through other nodes: {error}");
            Vec::new()
        });
        used.iter().for_each(|id| self.reservations.release(id));
        !used.is_empty()
    }

    fn may_ask(&self, request: &SlotRequest) -> Result<(), SlotRefusal> {
        let settings = self.settings();
        check_sender(&settings, &request.owner)?;
        if self.blocks.known(&request.owner) == Some(true) {
            return Err(sender_refused());
        }
        check_size(&settings, request.size)?;
        slot_name(&request.name).ok_or_else(|| bad_request("The file needs a name."))?;
        if request.expire_before.is_some_and(|stamp| stamp <= self.clock.now()) {
            return Err(bad_request("The date until which the file is to be kept is over."));
        }
        self.reservations.check(&request.owner).map_err(|too_many| too_many_slots(too_many.room))
    }

    /// A slot, if memory knows that the user is not blocked, which key signs, and that no quota limits the file.
    fn grant_from_memory(&self, request: &SlotRequest) -> Result<Option<Slot>, SlotRefusal> {
        let is_ready = self.check_open().is_ok() && self.blocks.known(&request.owner) == Some(false);
        let Some(key) = self.keys.at_hand().filter(|_| is_ready) else { return Ok(None) };
        let draft = self.draft(request)?;
        if self.limits(Some(&draft.terms.owner), draft.terms.purpose) != UploadLimits::default() {
            return Ok(None);
        }
        self.reserve(&draft)?;
        self.sign(&draft, &key).map(Some)
    }

    /// A slot, if the user is not blocked and there is room for the file. May wait for the database.
    fn grant_from_store(&self, request: &SlotRequest) -> Result<Slot, SlotRefusal> {
        self.check_blocked(&request.owner).map_err(|refusal| match refusal {
            Refusal::SenderRefused => sender_refused(),
            other => unavailable(other),
        })?;
        let draft = self.draft(request)?;
        self.reserve(&draft)?;
        let key = self.check_room(&draft).and_then(|()| self.keys.of_today().map_err(failed));
        let key = key.inspect_err(|_| self.reservations.release(&draft.id))?;
        self.sign(&draft, &key)
    }

    fn draft(&self, request: &SlotRequest) -> Result<Draft, SlotRefusal> {
        let settings = self.settings();
        let name = slot_name(&request.name).ok_or_else(|| bad_request("The file needs a name."))?;
        let terms = self.terms(&settings, request, &name);
        Ok(Draft { id: UploadId::random(), name, terms, endpoint: settings.endpoint.clone() })
    }

    fn terms(&self, settings: &Settings, request: &SlotRequest, name: &str) -> SlotTerms {
        let by_name = || purpose_by_prefix(name).filter(|_| settings.purpose_prefixes);
        let purpose = request.purpose.or_else(by_name).unwrap_or(Purpose::Message);
        let now = self.clock.now();
        let kept = settings.keep.of(purpose).map(|keep| now.after(keep));
        let wanted = request.expire_before.filter(|_| purpose == Purpose::Ephemeral);
        SlotTerms {
            ends: now.after(limits::SLOT_TIME),
            size: request.size,
            owner: request.owner.clone(),
            purpose,
            expires: kept.into_iter().chain(wanted).min(),
            mime_type: request.content_type.clone().filter(|text| text.len() <= limits::MIME_TYPE_BYTES),
        }
    }

    fn reserve(&self, Draft { id, terms, .. }: &Draft) -> Result<(), SlotRefusal> {
        let size = (terms.purpose, terms.size);
        let reserved = self.reservations.reserve(id, &terms.owner, size, terms.ends);
        reserved.map_err(|too_many| too_many_slots(too_many.room))
    }

    /// The slot that was reserved. Without a token its reservation goes, too.
    fn sign(&self, draft: &Draft, key: &Key) -> Result<Slot, SlotRefusal> {
        let Draft { id, name, terms, endpoint } = draft;
        let Some(token) = terms.sign(key, id, name) else {
            self.reservations.release(id);
            return Err(bad_request("Your address is too long for uploads."));
        };
        let get_url = format!("{endpoint}/upload/{}/{}", id.as_str(), encoded(name));
        Ok(Slot { put_url: format!("{get_url}?slot={token}"), get_url })
    }

    fn check_room(&self, Draft { id, terms, .. }: &Draft) -> Result<(), SlotRefusal> {
        let SlotTerms { owner, purpose, size, .. } = terms;
        let demand = Demand { owner: Some(owner), purpose: *purpose, size: *size, arrives: false };
        let limits = self.limits(demand.owner, demand.purpose);
        let (shortages, sums) = self.shortages(demand, limits).map_err(failed)?;
        let Some(first) = shortages.first() else { return Ok(()) };
        // Its own reservation does not count as one that ends and makes room.
        self.reservations.release(id);
        let retry = self.room_at(demand, &shortages, &sums).map_err(failed)?;
        Err(SlotRefusal::NoRoom { text: sentence(demand, first, retry), retry })
    }
}

/// A slot without its token.
struct Draft {
    id: UploadId,
    name: String,
    terms: SlotTerms,
    endpoint: String,
}

fn check_sender(settings: &Settings, owner: &BareJid) -> Result<(), SlotRefusal> {
    let named = |rules: &[super::JidRule]| rules.iter().any(|rule| rule.covers(owner));
    if !settings.enabled {
        return Err(SlotRefusal::Forbidden { text: "This server takes no uploads.".to_owned() });
    }
    if named(&settings.deny) || !named(&settings.allow) {
        return Err(sender_refused());
    }
    Ok(())
}

fn sender_refused() -> SlotRefusal {
    SlotRefusal::Forbidden { text: "You may not upload files to this server.".to_owned() }
}

fn check_size(settings: &Settings, size: u64) -> Result<(), SlotRefusal> {
    let max = settings.max_size();
    if size == 0 {
        return Err(bad_request("An empty file can't be uploaded."));
    }
    if size > max {
        let text = format!("The file is larger than {}, the limit of this server.", shown_size(max));
        return Err(SlotRefusal::TooLarge { max, text });
    }
    Ok(())
}

fn too_many_slots(room: Timestamp) -> SlotRefusal {
    let text = "You have asked for many uploads that have not begun; try again in some minutes.".to_owned();
    SlotRefusal::NoRoom { text, retry: Some(room) }
}

fn bad_request(text: &str) -> SlotRefusal {
    SlotRefusal::BadRequest { text: text.to_owned() }
}

/// The text of the error stays in the log.
fn failed(error: Error) -> SlotRefusal {
    unavailable(Refusal::from(error))
}

fn unavailable(refusal: Refusal) -> SlotRefusal {
    log::debug!("a slot was refused: {refusal}");
    SlotRefusal::Failed { text: "The server can't take uploads at the moment; try again later.".to_owned() }
}
