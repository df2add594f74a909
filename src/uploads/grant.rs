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
use crate::model::{BareJid, Purpose, Refusal, UploadId};

impl Slots for UploadService {
    fn is_enabled(&self) -> bool {
        self.settings().enabled
    }

    fn max_size(&self) -> u64 {
        self.settings().max_size()
    }

    fn decide_from_memory(&self, request: &SlotRequest) -> Result<(), SlotRefusal> {
        let decided = self.may_ask(request);
        // Memory can't tell whether slots were used through other nodes.
        let is_open = matches!(decided, Err(SlotRefusal::NoRoom { .. })) && self.has_other_nodes;
        if is_open { Ok(()) } else { decided.inspect_err(|refusal| self.slot_counts.refused(refusal)) }
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
        self.may_ask(request).and_then(|()| self.reserve(request))
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
        if self.blocks.is_known_blocked(&request.owner) {
            return Err(sender_refused());
        }
        check_size(&settings, request.size)?;
        slot_name(&request.name).ok_or_else(|| bad_request("The file needs a name."))?;
        if request.expire_before.is_some_and(|stamp| stamp <= self.clock.now()) {
            return Err(bad_request("The date until which the file is to be kept is over."));
        }
        self.reservations.check(&request.owner).map_err(|too_many| too_many_slots(too_many.room))
    }

    fn reserve(&self, request: &SlotRequest) -> Result<Slot, SlotRefusal> {
        self.check_blocked(&request.owner).map_err(|refusal| match refusal {
            Refusal::SenderRefused => sender_refused(),
            other => unavailable(other),
        })?;
        let settings = self.settings();
        let name = slot_name(&request.name).ok_or_else(|| bad_request("The file needs a name."))?;
        let terms = self.terms(&settings, request, &name);
        let id = UploadId::random();
        let size = (terms.purpose, terms.size);
        self.reservations
            .reserve(&id, &terms.owner, size, terms.ends)
            .map_err(|too_many| too_many_slots(too_many.room))?;
        self.sign(&settings, &id, &name, &terms).inspect_err(|_| self.reservations.release(&id))
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

    /// The slot, if there is room for its file.
    fn sign(
        &self,
        settings: &Settings,
        id: &UploadId,
        name: &str,
        terms: &SlotTerms,
    ) -> Result<Slot, SlotRefusal> {
        self.check_room(id, terms)?;
        let token = terms.sign(&self.keys, id, name).map_err(failed)?;
        let token = token.ok_or_else(|| bad_request("Your address is too long for uploads."))?;
        let get_url = format!("{}/upload/{}/{}", settings.endpoint, id.as_str(), encoded(name));
        Ok(Slot { put_url: format!("{get_url}?slot={token}"), get_url })
    }

    fn check_room(&self, id: &UploadId, terms: &SlotTerms) -> Result<(), SlotRefusal> {
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
