//! Requests of users to the component itself, over XMPP: one file or folder per kind. These are requests for upload slots
//! (XEP-0363), ad-hoc commands (XEP-0050), the same commands as texts, and contact requests; the gate replies to all
//! others.
//!
//! The XMPP thread reads a request, and decides it and sends the reply if memory is enough. A request that may wait for the
//! store goes to a worker thread of the HTTP server, which sends the reply through the outbox.

mod commands;
mod contact;
mod desk;
mod forms;
mod jobs;
mod rates;
mod reply;
mod settings;
mod shown;
mod slots;
mod texts;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub use desk::{DeletedAll, Desk, FileDesk, Total, Usage};
pub use settings::Settings;
pub use shown::path as file_path;

use commands::{Asked, CommandAction, CommandOutcome, CommandRequest, Sessions};
use jobs::Jobs;
use rates::Rates;
use reply::{ReturnAddress, StanzaError};
use texts::{Answer, Lists};

use crate::access::{Door, TextRequest};
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::http::ResumeQueue;
use crate::limits;
use crate::model::{BareJid, Jid, Refusal};
use crate::uploads::{Slot, SlotRefusal, SlotRequest, Slots};
use crate::xmpp::{Element, Handler, Link, LinkEvent, Outbox};

/// The first to see what comes over both links. It keeps what is its own, and passes the rest on to the gate.
pub struct Component {
    gate: Arc<dyn Door>,
    services: Services,
    settings: RwLock<Arc<Settings>>,
    jobs: Jobs,
    rates: Mutex<Rates>,
    text_rates: Mutex<Rates>,
    sessions: Arc<Mutex<Sessions>>,
    lists: Arc<Mutex<Lists>>,
    outbox: Outbox,
    /// Another number for each stream of the component.
    stream: Arc<AtomicU64>,
}

/// The services behind the component: each does a part of what users ask for.
pub struct Services {
    /// Grants upload slots.
    pub slots: Arc<dyn Slots>,
    /// Lists and deletes files.
    pub desk: Arc<dyn Desk>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// The kinds of IQs to the component.
#[derive(Clone, Copy)]
enum RequestKind {
    Slot,
    Command,
    /// The commands, by service discovery.
    Discovery,
}

impl Component {
    /// A component before this gate. Requests that may wait run on `workers`, of which there are `threads`.
    pub fn new(
        gate: Arc<dyn Door>,
        services: Services,
        settings: Settings,
        outbox: Outbox,
        workers: ResumeQueue,
        threads: usize,
    ) -> Self {
        Self {
            gate,
            services,
            settings: RwLock::new(Arc::new(settings)),
            jobs: Jobs::new(workers, threads),
            rates: Mutex::new(Rates::new(limits::COMPONENT_BURST, limits::COMPONENT_TOKEN)),
            text_rates: Mutex::new(Rates::new(limits::TEXT_BURST, limits::TEXT_TOKEN)),
            sessions: Arc::new(Mutex::default()),
            lists: Arc::new(Mutex::new(Lists::new())),
            outbox,
            stream: Arc::default(),
        }
    }

    /// Other settings from now on.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The request of a stanza to the component itself, and its sender; nothing if it is for the gate.
    fn asked(&self, stanza: &Element) -> Option<(RequestKind, Asker)> {
        let address = ReturnAddress::of(stanza)?;
        let kind = if slots::is_request(stanza) {
            self.services.slots.is_enabled().then_some(RequestKind::Slot)?
        } else if commands::is_request(stanza) {
            RequestKind::Command
        } else {
            commands::is_discovery(stanza).then_some(RequestKind::Discovery)?
        };
        Some((kind, Asker { address, line: self.line() }))
    }

    fn line(&self) -> Line {
        let (outbox, stream) = (self.outbox.clone(), Arc::clone(&self.stream));
        let number = stream.load(Ordering::Acquire);
        Line { outbox, stream, number }
    }

    fn serve(&self, kind: RequestKind, iq: &Element, asker: Asker) {
        let user = match self.user(iq) {
            Ok(user) => user,
            Err(error) => return asker.refuse(error),
        };
        match kind {
            RequestKind::Slot => self.slot(iq, user.into_bare(), asker),
            RequestKind::Command => self.command(iq, user, asker),
            RequestKind::Discovery => {
                let own = iq.attribute("to").unwrap_or_default();
                asker.tell(commands::discovered(iq, own, self.settings().is_admin(user.bare())));
            }
        }
    }

    /// The sender, unless they send requests too fast.
    fn user(&self, stanza: &Element) -> Result<Jid, StanzaError> {
        let jid = stanza.attribute("from").and_then(|from| from.parse::<Jid>().ok());
        let malformed = || StanzaError::new("modify", "jid-malformed", "Your address is not valid.");
        let user = jid.ok_or_else(malformed)?;
        let admitted = lock(&self.rates).admit(Instant::now(), user.bare());
        admitted.map_err(|wait| slots::refusal(self.too_fast(wait)))?;
        Ok(user)
    }

    /// Replies to a contact request, unless its sender sends them too fast.
    fn contact(&self, link: Link, presence: &Element) {
        if self.user(presence).is_err() {
            return;
        }
        for reply in contact::replies(link, presence) {
            self.outbox.send(link, reply);
        }
    }

    fn too_fast(&self, wait: Duration) -> SlotRefusal {
        let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        let retry = self.services.clock.now().as_micros().saturating_add(micros);
        let text = "You sent too many requests in a short time; try again in a moment.".to_owned();
        SlotRefusal::NoRoom { text, retry: Some(Timestamp::from_micros(retry)) }
    }

    /// A slot that memory can grant costs no other thread.
    fn slot(&self, iq: &Element, owner: BareJid, asker: Asker) {
        let request = match slots::read(iq, owner) {
            Ok(request) => request,
            Err(error) => return asker.refuse(error),
        };
        match self.services.slots.decide_from_memory(&request) {
            Ok(Some(slot)) => asker.tell(Ok(slots::slot(&slot))),
            Ok(None) => self.slot_from_store(request, asker),
            Err(refusal) => asker.refuse(slots::refusal(refusal)),
        }
    }

    fn slot_from_store(&self, request: SlotRequest, asker: Asker) {
        let slots = Arc::clone(&self.services.slots);
        self.jobs.run(move |admitted| {
            let slot: Result<Slot, _> =
                if admitted { slots.grant(request).map_err(slots::refusal) } else { Err(busy()) };
            asker.tell(slot.map(|slot| slots::slot(&slot)));
        });
    }

    fn command(&self, iq: &Element, user: Jid, asker: Asker) {
        let settings = self.settings();
        let asker = CommandAsker { asker, asked: commands::named(iq) };
        let request = match commands::read(iq, settings.is_admin(user.bare())) {
            Ok(request) => request,
            Err(error) => return asker.refuse(error),
        };
        let CommandRequest { command, session, action, .. } = request.clone();
        let found = session.as_ref().map(|id| lock(&self.sessions).get(Instant::now(), id, &user, command));
        let state = match found {
            Some(None) => return asker.refuse(commands::bad_session()),
            found => found.flatten(),
        };
        let end = Ending { sessions: Arc::clone(&self.sessions), session, user: user.clone(), asker };
        if action == CommandAction::Cancel {
            return end.with(command, Ok(CommandOutcome::Canceled));
        }
        let (desk, now) = (Arc::clone(&self.services.desk), self.services.clock.now());
        self.jobs.run(move |admitted| {
            let asked = Asked { desk: &*desk, settings: &settings, user, now, state, request };
            end.with(command, if admitted { commands::run(&asked) } else { Err(busy()) });
        });
    }

    /// Does what a user asks for by a text. Too many texts get no reply: another program may have written them.
    fn text(&self, request: TextRequest) {
        let now = Instant::now();
        if lock(&self.text_rates).admit(now, request.from.bare()).is_err() {
            log::debug!("{} sends too many commands as texts", request.from.bare());
            return;
        }
        let line = self.line();
        let job = match lock(&self.lists).job(now, &request.from, request.command) {
            Ok(job) => job,
            Err(text) => return line.send(request.reply(text)),
        };
        let (desk, lists) = (Arc::clone(&self.services.desk), Arc::clone(&self.lists));
        let settings = self.settings();
        self.jobs.run(move |admitted| {
            let answer = match admitted {
                true => texts::answer(&*desk, &settings, request.from.bare(), &job),
                false => return line.send(request.reply(BUSY)),
            };
            let Answer { text, list } = answer.unwrap_or_else(|error| {
                log_failure(error);
                FAILED.to_owned().into()
            });
            // Under the lock, so that the list that a client was sent last is the one that its numbers mean.
            let mut lists = lock(&lists);
            if let Some(list) = list.filter(|_| line.is_open()) {
                lists.sent(Instant::now(), &request.from, list);
            }
            line.send(request.reply(text));
        });
    }
}

impl Handler for Component {
    fn event(&self, link: Link, event: LinkEvent) {
        if let LinkEvent::Stanza(stanza) = &event
            && contact::is_request(stanza)
        {
            return self.contact(link, stanza);
        }
        if link == Link::Component {
            match &event {
                LinkEvent::Stanza(stanza) => {
                    if let Some((kind, asker)) = self.asked(stanza) {
                        return self.serve(kind, stanza, asker);
                    }
                }
                LinkEvent::Up(_) | LinkEvent::Down => {
                    self.stream.fetch_add(1, Ordering::AcqRel);
                    // Lists may be lost with the stream, so their numbers must not count any more.
                    lock(&self.lists).clear();
                }
                LinkEvent::Failed(_) => {}
            }
        }
        for request in self.gate.take(link, event) {
            self.text(request);
        }
    }

    fn tick(&self, now: Instant) -> Option<Instant> {
        self.gate.tick(now)
    }
}

/// The stream on which a request came, for the reply.
struct Line {
    outbox: Outbox,
    stream: Arc<AtomicU64>,
    /// The number of that stream.
    number: u64,
}

impl Line {
    fn is_open(&self) -> bool {
        self.stream.load(Ordering::Acquire) == self.number
    }

    /// Sends the reply, unless the stream was renewed meanwhile: the server has answered for us then. A stream that ends
    /// from here on takes the reply with it, for the XMPP thread empties the outbox many times before it has logged in
    /// again.
    fn send(self, reply: Element) {
        if self.is_open() {
            self.outbox.send(Link::Component, reply);
        }
    }
}

/// A user who waits for the reply to an IQ.
struct Asker {
    address: ReturnAddress,
    line: Line,
}

impl Asker {
    fn tell(self, payload: Result<Element, StanzaError>) {
        match payload {
            Ok(payload) => self.line.send(self.address.result(payload)),
            Err(error) => self.refuse(error),
        }
    }

    fn refuse(self, error: StanzaError) {
        self.line.send(self.address.error(error));
    }
}

/// A user who waits for the reply to a command. Errors name the session: slixmpp passes on no other errors of later steps.
struct CommandAsker {
    asker: Asker,
    /// The command without what is in it, if it names a session.
    asked: Option<Element>,
}

impl CommandAsker {
    fn refuse(self, error: StanzaError) {
        let Self { asker: Asker { address, line }, asked } = self;
        line.send(match asked {
            Some(asked) => address.error_about(asked, error),
            None => address.error(error),
        });
    }
}

/// The end of a step: its session is kept or ends, and then the reply is sent.
struct Ending {
    sessions: Arc<Mutex<Sessions>>,
    /// The id of the session, if the command had one before this step.
    session: Option<String>,
    user: Jid,
    asker: CommandAsker,
}

impl Ending {
    fn with(self, command: commands::Command, outcome: Result<CommandOutcome, StanzaError>) {
        let Self { sessions, session, user, asker } = self;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            // The session goes on: the user may correct the form.
            Err(error) => return asker.refuse(error),
        };
        let id = match &outcome {
            CommandOutcome::Asks { state, .. } => {
                lock(&sessions).put(Instant::now(), session, (&user, command), state.clone())
            }
            CommandOutcome::Completed(..) | CommandOutcome::Canceled => {
                let id = session.unwrap_or_else(crate::access::hex_id);
                lock(&sessions).end(&id);
                id
            }
        };
        asker.asker.tell(Ok(commands::reply(command, &id, outcome)));
    }
}

/// Ignores poison: what these locks hold is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const BUSY: &str = "The server is busy; try again in a minute.";
const FAILED: &str = "The server can't do that at the moment; try again later.";

/// The worker threads have no time.
fn busy() -> StanzaError {
    StanzaError::new("wait", "resource-constraint", BUSY)
}

/// The text of the error stays in the log.
fn failed(error: Error) -> StanzaError {
    log_failure(error);
    StanzaError::new("wait", "internal-server-error", FAILED)
}

fn log_failure(error: Error) {
    let refusal = Refusal::from(error);
    log::debug!("a request to the component failed: {refusal}");
}

#[cfg(test)]
mod command_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
