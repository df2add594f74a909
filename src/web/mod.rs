//! From requests to operations and back: the routes, and one file per action.
//!
//! A request is routed to an action, decided by the gate, performed, and answered. While the gate waits for a user's
//! confirmation the request is [`Parked`]: in the gate's hands, on no thread. A request begins and resumes on a worker
//! thread that holds a turn. Before it may wait for its body, the disk or the database, it leaves the turn; reading a
//! cached row and its file does not.

mod answer;
mod by_slot;
mod delete;
mod download;
mod list;
mod metadata;
mod page;
mod paid;
mod question;
mod route;
mod sender;
mod sharing;
mod ticket;
mod update;
mod upload;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use crate::access::{Decision, Granted, RequestId, SharedGate};
use crate::http::cors::Cors;
use crate::http::{Exchange, Response, Service};
use crate::media::{Library, Name};
use crate::metrics;
use crate::model::{BareJid, Channel, Media, MediaId, Method, Refusal};
use crate::remote::NotFetched;
use crate::tickets::TicketService;
use crate::uploads::UploadService;
use paid::{PaidHead, PaidHeads};
use route::{Action, Misrouted, Route, route};
use sender::Proof;
use ticket::TicketTerms;

/// The settings of the routes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients reach us: scheme, authority and path prefix, without a slash at the end.
    pub endpoint: Option<String>,
    /// How long caches may keep public media: `cache.max.age`.
    pub cache_max_age: Duration,
    /// The origins whose pages may read responses: `http.cors.origins`.
    pub cors: Cors,
    /// Whether search engines may list pages and feeds: `page.indexed`.
    pub page_indexed: bool,
    /// The component's address, which people may write to.
    pub component: BareJid,
}

/// The service behind the HTTP edge.
pub struct Web {
    library: Arc<Library>,
    uploads: Arc<UploadService>,
    tickets: Arc<TicketService>,
    heads: PaidHeads,
    /// Forms of tickets that are read.
    forms: AtomicUsize,
    door: Arc<SharedGate<Parked>>,
    settings: RwLock<Arc<Settings>>,
}

/// A request that waits for the gate's decision.
pub struct Parked {
    exchange: Exchange,
    channel: Channel,
    action: Action,
    /// The proof of its sender.
    proof: Proof,
    /// The media that the gate is asked about.
    meant: Option<MediaId>,
    /// The terms of the ticket that it asks for.
    terms: Option<TicketTerms>,
    /// The HEAD that it is, if it pays for a GET once it is confirmed.
    head: Option<PaidHead>,
}

impl Service for Web {
    fn shown_path(&self, path: &str) -> Option<String> {
        by_slot::shown_path(path)
    }

    fn serve(self: Arc<Self>, mut exchange: Exchange) {
        // A user's file that runs as a service worker would control every page of this origin.
        let is_worker = exchange.header("Service-Worker").is_some();
        if let Some(confinement) = sender::confinement(&exchange) {
            exchange.confine(confinement);
        }
        match by_slot::route(exchange.method(), exchange.path()) {
            Some(route) if !is_worker => return self.by_slot(exchange, route),
            _ => {}
        }
        if is_worker {
            return self.answer(exchange, Err(Refusal::NoServiceWorker));
        }
        if let Some(file) = page::files::find(exchange.path()) {
            exchange.note_route(metrics::Route::PageFile);
            let response = page::files::respond(&exchange, file);
            return self.answer(exchange, response);
        }
        match route(exchange.method(), exchange.path()) {
            Ok(Route::Options(allow)) => {
                exchange.note_route(metrics::Route::Options);
                self.answer(exchange, Ok(Response::new(200).header("Allow", allow)));
            }
            Ok(Route::Channel(channel, action)) => {
                exchange.note_route(action.name());
                let proof = Proof::of(&exchange);
                self.begin(Parked { exchange, channel, action, proof, meant: None, terms: None, head: None });
            }
            Err(Misrouted { refusal, allow }) => {
                let response = Response::refusal(refusal);
                let response = match allow {
                    Some(allow) => response.header("Allow", allow),
                    None => response,
                };
                self.answer(exchange, Ok(response));
            }
        }
    }
}

impl Parked {
    /// Goes on where it may wait for its body, the disk or the database.
    fn leave_turn(self, go_on: impl FnOnce(Self) + Send + 'static) {
        let Self { exchange, channel, action, proof, meant, terms, head } = self;
        exchange.leave_turn(move |exchange| {
            go_on(Self { exchange, channel, action, proof, meant, terms, head });
        });
    }
}

impl Web {
    /// The service over this library, these uploads and these tickets, behind this door.
    pub fn new(
        library: Arc<Library>,
        uploads: Arc<UploadService>,
        tickets: Arc<TicketService>,
        door: Arc<SharedGate<Parked>>,
        settings: Settings,
    ) -> Self {
        let settings = RwLock::new(Arc::new(settings));
        Self {
            library,
            uploads,
            tickets,
            heads: PaidHeads::new(),
            forms: AtomicUsize::new(0),
            door,
            settings,
        }
    }

    /// Other settings for the answers to come.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The settings of the moment.
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The library behind it.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// The uploads by slot.
    pub fn uploads(&self) -> &UploadService {
        &self.uploads
    }

    /// The gate's door, for the XMPP links.
    pub fn door(&self) -> &Arc<SharedGate<Parked>> {
        &self.door
    }

    /// Goes on with a request on which there is a decision: performs it and answers.
    pub fn resume(self: &Arc<Self>, mut parked: Parked, decision: Decision) {
        parked.exchange.note_resumed();
        self.go_on(parked, decision);
    }

    /// Asks the gate. What it must be told is looked up before: whose media it is, whether a ticket counts, or what is asked
    /// for of a ticket.
    fn begin(self: Arc<Self>, parked: Parked) {
        let asks_first = matches!(parked.action, Action::Update(_) | Action::Delete(_) | Action::Ticket(_));
        if self.must_verify(&parked.proof) || (asks_first && parked.proof.is_readable()) {
            parked.leave_turn(move |parked| self.ask(parked));
        } else {
            self.ask(parked);
        }
    }

    /// Goes on if everybody may do this, and otherwise asks the gate.
    fn ask(self: &Arc<Self>, mut parked: Parked) {
        match self.need(&mut parked) {
            Ok(Some(ask)) => {
                parked.exchange.note_parked();
                let wait = |parked: &mut Parked, id| watch(&self.door, parked, id);
                if let Some((parked, decision)) = self.door.ask(ask, parked, wait) {
                    self.go_on(parked, decision);
                }
            }
            Ok(None) => self.go_on(parked, Ok(Granted::Public)),
            Err(refusal) => self.go_on(parked, Err(refusal)),
        }
    }

    fn go_on(self: &Arc<Self>, mut parked: Parked, decision: Decision) {
        let granted = match decision {
            Ok(granted) => granted,
            Err(refusal) => {
                note_outcome(&mut parked.exchange, refusal);
                return self.answer_parked(parked, Err(refusal));
            }
        };
        if let Granted::Owned(user) = &granted {
            parked.exchange.note_user(user);
            if let Some(head) = parked.head.take() {
                self.heads.pay(head, user.clone());
            }
        }
        if let Some(media) = self.known_media(&parked) {
            return self.perform(parked, &granted, Some(&media));
        }
        let web = Arc::clone(self);
        parked.leave_turn(move |parked| web.perform(parked, &granted, None));
    }

    /// The media that the request is to read, if everything that it takes to answer is in memory or in an open file.
    fn known_media(&self, parked: &Parked) -> Option<Arc<Media>> {
        let (Action::Download(name) | Action::Metadata(name)) = &parked.action else { return None };
        let media = self.library.known(&parked.channel, name)?;
        let is_metadata = matches!(parked.action, Action::Metadata(_));
        (is_metadata || self.is_ready(&media, &parked.exchange)).then_some(media)
    }

    /// The media of this name. An avatar may have been replaced while the gate waited: what was granted, perhaps to
    /// the uploader of the old one, does not count for the new one.
    fn asked_about(&self, channel: &Channel, name: &Name, meant: Option<&MediaId>) -> Result<Media, Refusal> {
        let media = self.library.find(channel, name)?.ok_or(Refusal::NoSuchMedia)?;
        if meant.is_some_and(|meant| *meant != media.id) {
            return Err(Refusal::PreconditionFailed);
        }
        Ok(media)
    }

    /// Performs the action and answers; `known` is the media that it reads, if that is known already.
    fn perform(self: &Arc<Self>, mut parked: Parked, granted: &Granted, known: Option<&Arc<Media>>) {
        let answer = self.performed(&mut parked, granted, known);
        self.answer_parked(parked, answer);
    }

    fn performed(
        &self,
        parked: &mut Parked,
        granted: &Granted,
        known: Option<&Arc<Media>>,
    ) -> Result<Response, Refusal> {
        let Parked { exchange, channel, action, proof, meant, terms, .. } = parked;
        let read = |name: &Name| match known {
            Some(media) => Ok(Arc::clone(media)),
            None => self.library.find_to_read(channel, name)?.ok_or(Refusal::NoSuchMedia),
        };
        if matches!(action, Action::Upload | Action::SetAvatar | Action::Update(_)) {
            self.uploads.check_blocked(user(granted)?)?;
        }
        match action {
            Action::List => self.channel(exchange, channel, granted, proof),
            Action::Download(name) => self.download(exchange, &*read(name)?, name, granted),
            Action::Metadata(name) => Ok(self.metadata(exchange, &*read(name)?, name, granted)),
            Action::Upload => self.upload(exchange, channel, user(granted)?, false),
            Action::SetAvatar => self.upload(exchange, channel, user(granted)?, true),
            Action::Update(name) => self.update(exchange, &self.asked_about(channel, name, meant.as_ref())?),
            Action::Delete(name) => self.delete(exchange, &self.asked_about(channel, name, meant.as_ref())?),
            Action::Ticket(scope) => {
                let terms = terms.as_ref().ok_or(Refusal::Internal)?;
                self.ticket(channel, user(granted)?, *scope, terms)
            }
        }
    }

    /// Sends the answer to a request about a channel. People who want a page get one in the place of a refusal, too.
    fn answer_parked(self: &Arc<Self>, parked: Parked, answer: Result<Response, Refusal>) {
        let Parked { exchange, channel, action, .. } = parked;
        let answer = match answer {
            Err(refusal) if action == Action::List => self.refusal_page(&exchange, &channel, refusal),
            answer => answer,
        };
        self.answer(exchange, answer);
    }

    /// Sends the answer, with what every answer has.
    fn answer(self: &Arc<Self>, exchange: Exchange, answer: Result<Response, Refusal>) {
        let (settings, origin) = (self.settings(), exchange.header("Origin"));
        let challenge = sender::bearer_challenge(&exchange, answer.as_ref().err().copied());
        let mut response =
            answer.unwrap_or_else(|refusal| Response::refusal_of(refusal, settings.component.as_str()));
        let fields = match exchange.method() {
            Method::Options => settings.cors.preflight(origin),
            _ => settings.cors.answer(origin),
        };
        for (name, value) in fields {
            response = if name == "Vary" { response.vary(&[&value]) } else { response.header(name, value) };
        }
        if let Some(challenge) = challenge.filter(|_| response.status() == 401) {
            response = response.set("WWW-Authenticate", challenge);
        }
        let web = Arc::clone(self);
        exchange.answer_or(response, move |exchange, error| {
            if error == NotFetched::Missing {
                log::error!("{} has a row but no file, unless it was deleted a moment ago", exchange.path());
            }
            web.answer(exchange, Err(error.into()));
        });
    }
}

/// Has the request given up if its client does not wait for the gate.
fn watch(door: &Arc<SharedGate<Parked>>, parked: &mut Parked, id: RequestId) {
    let door = Arc::downgrade(door);
    parked.exchange.watch(move || give_up(&door, id));
}

/// Frees what a request holds whose client has hung up.
fn give_up(door: &Weak<SharedGate<Parked>>, id: RequestId) {
    let Some(door) = door.upgrade() else { return };
    let given_up = door.cancel(id, |parked| {
        let abandoned = parked.exchange.is_abandoned();
        if !abandoned {
            watch(&door, parked, id);
        }
        abandoned
    });
    if let Some(parked) = given_up {
        parked.exchange.abandon();
    }
}

/// Names the reason of a gate's refusal in the access line: operators ask why, and who was asked.
fn note_outcome(exchange: &mut Exchange, refusal: Refusal) {
    let outcome = match refusal {
        Refusal::NotConfirmed => "timeout",
        Refusal::Denied => "denied",
        Refusal::Forbidden => "affiliation",
        Refusal::TooManyForUser
        | Refusal::UserSilent
        | Refusal::TooManyForAddress
        | Refusal::TooManyPending => "limited",
        _ => return,
    };
    exchange.note_refused(outcome);
}

/// The user of an action that needs one.
fn user(granted: &Granted) -> Result<&BareJid, Refusal> {
    match granted {
        Granted::Owned(user) => Ok(user),
        Granted::Public => Err(Refusal::Internal),
    }
}
