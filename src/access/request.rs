//! A request at the gate: what it asks for, and its next step. Values, without I/O.

use std::net::IpAddr;
use std::time::Duration;

use super::credentials::Credentials;
use super::lookup::{Lookup, LookupResult, LookupValue};
use crate::model::{AccessModel, Affiliation, BareJid, Channel, MediaId, Method, Need, Refusal, may};

/// An HTTP request as the gate sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The channel in the path.
    pub channel: Channel,
    /// The action on the channel.
    pub need: Need,
    /// The credentials, or why there are none. The gate uses them only if a user must be asked.
    pub credentials: Result<Credentials, Refusal>,
    /// The user who sends it, where an earlier confirmation says so: a ticket's, or that of a HEAD. Then nobody is asked.
    pub known: Option<BareJid>,
    /// Whether it needs a user also where everybody may do this.
    pub needs_user: bool,
    /// The client's network, which limits apply to. `None`: they do not apply.
    pub client: Option<IpAddr>,
    /// The method that the user is asked to confirm.
    pub method: Method,
    /// The URL that the user is asked to confirm, without its query.
    pub url: String,
    /// The action as the prompt describes it.
    pub intent: Intent,
    /// The client's address, to be told to the user; `None` if it is not known.
    pub address: Option<IpAddr>,
    /// The origin of the web page that sends the request (RFC 6454), unless that is the endpoint's own.
    pub origin: Option<String>,
}

/// The action of a request, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Read the list of the channel's files.
    List,
    /// Read a file, its preview or its metadata.
    Read,
    /// Upload a file.
    Upload,
    /// Replace the channel's picture.
    SetAvatar,
    /// Change the description of a file.
    Update(Item),
    /// Delete a file.
    Delete(Item),
    /// Get a ticket.
    Ticket {
        /// Whether it lets its user upload, too, and change and delete their own files.
        posts: bool,
        /// How long it counts.
        time: Duration,
    },
}

/// A file that a request changes, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The channel's picture.
    Avatar,
    /// This file, which exists: its id is not the requester's invention.
    Media(MediaId),
    /// A file that does not exist.
    Unknown,
}

/// Why a request is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The channel is public; no user was asked.
    Public,
    /// This user confirmed the request and has the right.
    Owned(BareJid),
}

/// The gate's answer to a request.
pub type Decision = Result<Granted, Refusal>;

/// A request's number at the gate; numbers grow and are never used again.
pub type RequestId = u64;

/// A request that waits at the gate, with what is parked for it.
pub(super) struct ParkedRequest<P> {
    pub(super) request: Request,
    pub(super) parked: P,
    /// The lookup that it waits for. `None`: it waits for its confirmation.
    pub(super) awaited: Option<Lookup>,
    /// The channel's access model, if it was looked up.
    access: Option<AccessModel>,
    /// The user who confirmed it, or an earlier request that stands for it.
    confirmed_by: Option<BareJid>,
}

/// The next step of a request.
pub(super) enum RequestStep {
    LookUp(Lookup),
    Confirm(Confirmation),
    Decide(Decision),
}

/// How a request is to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Confirmation {
    /// Whether the user is asked. Otherwise nobody can confirm it, and it is refused when a prompt would expire: on a
    /// private channel the time must not tell whether a user may do something.
    pub(super) shown: bool,
    /// The channel's access model, if it was looked up.
    pub(super) access: Option<AccessModel>,
}

impl Confirmation {
    /// Whether a bounce refuses the request. On a private channel, it would tell that the prompt was sent. `known_open` is
    /// whether the channel is known to be open, if it was not looked up.
    pub(super) fn ends_by_bounce(&self, known_open: bool) -> bool {
        self.access.map_or(known_open, |access| access == AccessModel::Open)
    }
}

impl<P> ParkedRequest<P> {
    pub(super) fn new(request: Request, parked: P) -> Self {
        let confirmed_by = request.known.clone();
        Self { request, parked, awaited: None, access: None, confirmed_by }
    }

    pub(super) fn first_step(&self) -> RequestStep {
        match (&self.request.need, &self.request.credentials) {
            (Need::Publish | Need::Modify { .. }, _) if self.confirmed_by.is_some() => self.look_up_user(),
            (Need::Publish | Need::Modify { .. }, Err(refusal)) => RequestStep::Decide(Err(*refusal)),
            (Need::Publish | Need::Modify { .. }, Ok(credentials))
                if self.needs_no_affiliation(credentials.jid().bare()) =>
            {
                self.confirm(true)
            }
            (Need::Read, Err(refusal)) if self.request.needs_user && self.confirmed_by.is_none() => {
                RequestStep::Decide(Err(*refusal))
            }
            _ => RequestStep::LookUp(Lookup::Access(self.request.channel.clone())),
        }
    }

    /// The step after `user` confirmed the request. Their affiliation may have changed meanwhile.
    pub(super) fn confirmed(&mut self, user: BareJid) -> RequestStep {
        self.confirmed_by = Some(user);
        self.look_up_user()
    }

    /// The step after it is known who confirmed the request.
    fn look_up_user(&self) -> RequestStep {
        match &self.confirmed_by {
            Some(user) if self.needs_no_affiliation(user) => {
                RequestStep::Decide(Ok(Granted::Owned(user.clone())))
            }
            Some(user) => {
                RequestStep::LookUp(Lookup::Affiliation(self.request.channel.clone(), user.clone()))
            }
            None => RequestStep::Decide(Err(Refusal::Internal)),
        }
    }

    /// The step after the awaited lookup has ended.
    pub(super) fn found(&mut self, result: &LookupResult) -> RequestStep {
        match result {
            Err(refusal) => RequestStep::Decide(Err(*refusal)),
            Ok(LookupValue::Access(access)) => self.found_access(*access),
            Ok(LookupValue::Affiliation(affiliation)) => self.found_affiliation(*affiliation),
            // A request does not look up services.
            Ok(LookupValue::Service(_)) => RequestStep::Decide(Err(Refusal::Internal)),
        }
    }

    fn found_access(&mut self, access: AccessModel) -> RequestStep {
        self.access = Some(access);
        if self.everybody_may() && !self.request.needs_user {
            return RequestStep::Decide(Ok(Granted::Public));
        }
        if self.confirmed_by.is_some() {
            return self.look_up_user();
        }
        match &self.request.credentials {
            Err(refusal) => RequestStep::Decide(Err(*refusal)),
            Ok(credentials) if self.needs_no_affiliation(credentials.jid().bare()) => self.confirm(true),
            Ok(credentials) => {
                let user = credentials.jid().bare().clone();
                RequestStep::LookUp(Lookup::Affiliation(self.request.channel.clone(), user))
            }
        }
    }

    /// On an open channel everybody may know who has which rights.
    fn found_affiliation(&self, affiliation: Affiliation) -> RequestStep {
        let allowed = may(affiliation, &self.request.need);
        match (&self.confirmed_by, allowed) {
            (Some(user), true) => RequestStep::Decide(Ok(Granted::Owned(user.clone()))),
            (None, true) => self.confirm(true),
            (None, false) if self.access == Some(AccessModel::Private) => self.confirm(false),
            (_, false) => RequestStep::Decide(Err(Refusal::Forbidden)),
        }
    }

    fn confirm(&self, shown: bool) -> RequestStep {
        RequestStep::Confirm(Confirmation { shown, access: self.access })
    }

    /// Whether the channel is known to be open, which is all that the request needs.
    fn everybody_may(&self) -> bool {
        self.access == Some(AccessModel::Open) && self.request.need == Need::Read
    }

    /// Everybody may read an open channel, its owner may do everything, and uploaders may change their own files.
    fn needs_no_affiliation(&self, user: &BareJid) -> bool {
        let uploader = matches!(&self.request.need, Need::Modify { author: Some(author) } if author == user);
        uploader || user == self.request.channel.jid() || self.everybody_may()
    }
}
