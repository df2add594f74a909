//! From requests to operations and back: the routes, and one file per action.
//!
//! A request is routed to an action, asked through the gate, performed, and answered. While the gate waits for somebody's
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
mod route;
mod update;
mod upload;

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use crate::access::{
    Credentials, Decision, Granted, Intent, Item, Request, RequestId, SharedGate, credentials,
};
use crate::http::cors::Cors;
use crate::http::{Exchange, Response, Service, target};
use crate::media::{Library, Name};
use crate::metrics;
use crate::model::{BareJid, Channel, Media, MediaId, Method, Need, Refusal};

use crate::uploads::UploadService;
use metadata::metadata;
use route::{Action, Misrouted, Route, route};

/// The settings of the routes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients reach us: scheme, authority and path prefix, without a slash at the end.
    pub endpoint: Option<String>,
    /// How long caches may keep public media: `cache.max.age`.
    pub cache_max_age: Duration,
    /// Whose pages may use us from a browser: `http.cors.origins`.
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
    door: Arc<SharedGate<Parked>>,
    settings: RwLock<Arc<Settings>>,
}

/// A request that waits for the gate's decision.
pub struct Parked {
    exchange: Exchange,
    channel: Channel,
    action: Action,
    /// The media that the gate is asked about.
    meant: Option<MediaId>,
}

impl Service for Web {
    fn shown_path(&self, path: &str) -> Option<String> {
        by_slot::shown_path(path)
    }

    fn serve(self: Arc<Self>, mut exchange: Exchange) {
        if exchange.header("Service-Worker").is_some() {
            // A file of a user that became one would have the page's origin in its hands.
            return self.answer(exchange, Err(Refusal::NoServiceWorker));
        }
        if let Some(file) = page::files::find(exchange.path()) {
            exchange.note_route(metrics::Route::PageFile);
            let response = page::files::respond(&exchange, file);
            return self.answer(exchange, response);
        }
        if let Some(route) = by_slot::route(exchange.method(), exchange.path()) {
            return self.by_slot(exchange, route);
        }
        match route(exchange.method(), exchange.path()) {
            Ok(Route::Options(allow)) => {
                exchange.note_route(metrics::Route::Options);
                self.answer(exchange, Ok(Response::new(200).header("Allow", allow)));
            }
            Ok(Route::Channel(channel, action)) => {
                exchange.note_route(action.name());
                self.begin(Parked { exchange, channel, action, meant: None });
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
        let Self { exchange, channel, action, meant } = self;
        exchange.leave_turn(move |exchange| go_on(Self { exchange, channel, action, meant }));
    }
}

impl Web {
    /// The service over this library and these uploads, behind this door.
    pub fn new(
        library: Arc<Library>,
        uploads: Arc<UploadService>,
        door: Arc<SharedGate<Parked>>,
        settings: Settings,
    ) -> Self {
        Self { library, uploads, door, settings: RwLock::new(Arc::new(settings)) }
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

    /// Asks the gate. Whose media it is must be looked up before, where that matters.
    fn begin(self: Arc<Self>, parked: Parked) {
        let modifies = matches!(parked.action, Action::Update(_) | Action::Delete(_));
        if modifies && credentials(&parked.exchange).is_ok() {
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
                let wait = |parked: &mut Parked, ticket| watch(&self.door, parked, ticket);
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

    /// The question to the gate; `None` if everybody may do this.
    fn need(&self, parked: &mut Parked) -> Result<Option<Request>, Refusal> {
        let Parked { exchange, channel, action, meant } = parked;
        let reads = matches!(action, Action::List | Action::Download(_) | Action::Metadata(_));
        if reads && self.door.is_public(channel) {
            return Ok(None);
        }
        // Before anything else is said of the request or its channel.
        if !self.door.serves(channel) {
            return Err(Refusal::NotServed);
        }
        if matches!(action, Action::Download(Name::Avatar) | Action::Metadata(Name::Avatar)) {
            return Ok(None);
        }
        let credentials = credentials(exchange);
        if let Ok(credentials) = &credentials {
            exchange.note_claimed(credentials.jid());
        }
        let need = match action {
            Action::List | Action::Download(_) | Action::Metadata(_) => Need::Read,
            Action::Upload | Action::SetAvatar => Need::Publish,
            Action::Update(name) | Action::Delete(name) => {
                // A request without credentials is refused, whatever the author.
                let media = if credentials.is_ok() { self.library.find(channel, name)? } else { None };
                *meant = media.as_ref().map(|media| media.id.clone());
                Need::Modify { author: media.and_then(|media| media.author.parse().ok()) }
            }
        };
        if credentials.is_ok() && matches!(action, Action::Upload | Action::SetAvatar | Action::Update(_)) {
            // Nobody is asked to confirm what can't succeed.
            self.check_form(exchange)?;
        }
        let url = self.confirmed_url(exchange);
        Ok(Some(Request {
            channel: channel.clone(),
            need,
            credentials,
            client: limited_client(exchange),
            method: exchange.method(),
            intent: intent(action, meant.as_ref()),
            address: exchange.client().limited.then(|| exchange.client().address),
            origin: foreign_origin(exchange.header("Origin"), &url),
            url,
        }))
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

    /// The URL that the sender is asked to confirm: never with the query, which may hold credentials.
    fn confirmed_url(&self, exchange: &Exchange) -> String {
        let path = exchange.path();
        match &self.settings().endpoint {
            Some(endpoint) => format!("{endpoint}{path}"),
            None => format!("{}://{}{path}", exchange.scheme(), exchange.host().unwrap_or("localhost")),
        }
    }

    /// Performs the action and answers; `known` is the media that it reads, if that is known already.
    fn perform(&self, mut parked: Parked, granted: &Granted, known: Option<&Arc<Media>>) {
        let answer = self.performed(&mut parked, granted, known);
        self.answer_parked(parked, answer);
    }

    fn performed(
        &self,
        parked: &mut Parked,
        granted: &Granted,
        known: Option<&Arc<Media>>,
    ) -> Result<Response, Refusal> {
        let Parked { exchange, channel, action, meant } = parked;
        let read = |name: &Name| match known {
            Some(media) => Ok(Arc::clone(media)),
            None => self.library.find_to_read(channel, name)?.ok_or(Refusal::NoSuchMedia),
        };
        match action {
            Action::List => self.channel(exchange, channel, granted),
            Action::Download(name) => self.download(exchange, &*read(name)?, name, granted),
            Action::Metadata(name) => Ok(metadata(&*read(name)?, granted)),
            Action::Upload => self.upload(exchange, channel, user(granted)?, false),
            Action::SetAvatar => self.upload(exchange, channel, user(granted)?, true),
            Action::Update(name) => self.update(exchange, &self.asked_about(channel, name, meant.as_ref())?),
            Action::Delete(name) => self.delete(exchange, &self.asked_about(channel, name, meant.as_ref())?),
        }
    }

    /// Sends the answer to a request about a channel. People who want a page get one in the place of a refusal, too.
    fn answer_parked(&self, parked: Parked, answer: Result<Response, Refusal>) {
        let Parked { exchange, channel, action, .. } = parked;
        let answer = match answer {
            Err(refusal) if action == Action::List => self.refusal_page(&exchange, &channel, refusal),
            answer => answer,
        };
        self.answer(exchange, answer);
    }

    /// Sends the answer, with what every answer has.
    fn answer(&self, exchange: Exchange, answer: Result<Response, Refusal>) {
        let (settings, origin) = (self.settings(), exchange.header("Origin"));
        let mut response =
            answer.unwrap_or_else(|refusal| Response::refusal_of(refusal, settings.component.as_str()));
        let fields = match exchange.method() {
            Method::Options => settings.cors.preflight(origin),
            _ => settings.cors.answer(origin),
        };
        for (name, value) in fields {
            response = response.header(name, value);
        }
        exchange.answer(response);
    }
}

/// Has the request given up if its client does not wait for the gate.
fn watch(door: &Arc<SharedGate<Parked>>, parked: &mut Parked, ticket: RequestId) {
    let door = Arc::downgrade(door);
    parked.exchange.watch(move || give_up(&door, ticket));
}

/// Frees what a request holds whose client has hung up.
fn give_up(door: &Weak<SharedGate<Parked>>, ticket: RequestId) {
    let Some(door) = door.upgrade() else { return };
    let given_up = door.cancel(ticket, |parked| {
        let abandoned = parked.exchange.is_abandoned();
        if !abandoned {
            watch(&door, parked, ticket);
        }
        abandoned
    });
    if let Some(parked) = given_up {
        parked.exchange.abandon();
    }
}

fn credentials(exchange: &Exchange) -> Result<Credentials, Refusal> {
    let auth = target::parameter(exchange.query(), "auth");
    credentials::from_request(auth.as_deref(), exchange.header("Authorization"))
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

/// What the user is told that the request does.
fn intent(action: &Action, media: Option<&MediaId>) -> Intent {
    let item = |name: &Name| match (name, media) {
        (Name::Avatar, _) => Item::Avatar,
        (Name::Id(_), Some(id)) => Item::Media(id.clone()),
        (Name::Id(_), None) => Item::Unknown,
    };
    match action {
        Action::List => Intent::List,
        Action::Download(_) | Action::Metadata(_) => Intent::Read,
        Action::Upload => Intent::Upload,
        Action::SetAvatar => Intent::SetAvatar,
        Action::Update(name) => Intent::Update(item(name)),
        Action::Delete(name) => Intent::Delete(item(name)),
    }
}

/// The origin of the page that sends a request (RFC 6454), unless it is the one of this URL.
fn foreign_origin(origin: Option<&str>, url: &str) -> Option<String> {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    origin.filter(|origin| !origin.eq_ignore_ascii_case(&url[..end])).map(str::to_owned)
}

/// The network that limits apply to; a trusted proxy that names no client is not limited.
fn limited_client(exchange: &Exchange) -> Option<std::net::IpAddr> {
    let client = exchange.client();
    client.limited.then(|| client.network())
}

/// The user of an action that the gate lets nobody do unnamed.
fn user(granted: &Granted) -> Result<&BareJid, Refusal> {
    match granted {
        Granted::Owned(user) => Ok(user),
        Granted::Public => Err(Refusal::Internal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_the_endpoint_is_not_foreign() {
        let url = "https://media.example.com:8443/files/room@example.com";
        for (origin, foreign) in [
            (None, false),
            (Some("https://media.example.com:8443"), false),
            (Some("HTTPS://Media.example.com:8443"), false),
            (Some("https://media.example.com"), true),
            (Some("http://media.example.com:8443"), true),
            (Some("https://media.example.com:84"), true),
            (Some("https://evil.example"), true),
            (Some("null"), true),
            (Some(""), true),
        ] {
            assert_eq!(foreign_origin(origin, url).as_deref(), origin.filter(|_| foreign), "{origin:?}");
        }
    }
}
