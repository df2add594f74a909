//! The session of the user's account. One thread, `xmpp`, owns it; all other threads ask and wait for replies here.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use media_server::limits;
use media_server::model::Jid;
use media_server::sys::Waker;
use media_server::xmpp::{Conversation, Element, ns};

use crate::address::PlainHttp;
use crate::confirm::{self, Expected};
use crate::exit::{Exit, Failure, Result};

/// An account that is logged in.
pub struct Account {
    jid: Jid,
    plain_http: PlainHttp,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    waker: Waker,
}

#[derive(Default)]
struct State {
    outgoing: Vec<Element>,
    asked: HashMap<String, Asked>,
    expected: Vec<Expected>,
    questions: u64,
    /// Why the session has ended.
    ended: Option<String>,
    closing: bool,
}

struct Asked {
    of: Jid,
    number: usize,
    reply: Sender<(usize, Element)>,
}

/// The replies to some questions, as they come.
pub struct Replies {
    receiver: Receiver<(usize, Element)>,
    deadline: Instant,
}

/// The promise to confirm one request. Dropped, it is taken back.
pub struct Promise<'a> {
    account: &'a Account,
    transaction: String,
}

impl Account {
    /// Takes over a session.
    pub fn start(conversation: Conversation) -> Result<Self> {
        let cant = |error| Failure::new(Exit::Io, format!("can't start a thread: {error}"));
        let shared = Arc::new(Shared { state: Mutex::default(), waker: Waker::new().map_err(cant)? });
        let jid = conversation.jid().clone();
        let plain_http = if conversation.is_local() { PlainHttp::Loopback } else { PlainHttp::Never };
        let ours = Arc::clone(&shared);
        let thread = thread::Builder::new().name("xmpp".to_owned()).spawn(move || run(conversation, &ours));
        Ok(Self { jid, plain_http, shared, thread: Some(thread.map_err(cant)?) })
    }

    /// Our full address.
    pub fn jid(&self) -> &Jid {
        &self.jid
    }

    /// Where URLs that servers name over this session may lead without TLS.
    pub fn plain_http(&self) -> PlainHttp {
        self.plain_http
    }

    /// Sends IQs of this type; the replies come with the numbers of the questions, counted from 0.
    pub fn ask(&self, kind: &str, questions: impl IntoIterator<Item = (Jid, Element)>) -> Replies {
        let (reply, receiver) = mpsc::channel();
        let mut state = self.shared.state();
        for (number, (to, payload)) in questions.into_iter().enumerate() {
            state.questions += 1;
            let id = format!("ask-{}", state.questions);
            let iq =
                Element::new("iq", ns::CLIENT).with("type", kind).with("id", &id).with("to", to.to_string());
            state.outgoing.push(iq.with_child(payload));
            // Without a session there is no reply, and the receiver gets an error.
            if state.ended.is_none() {
                state.asked.insert(id, Asked { of: to, number, reply: reply.clone() });
            }
        }
        drop(state);
        self.shared.waker.wake();
        Replies { receiver, deadline: Instant::now() + limits::CLIENT_REPLY_TIME }
    }

    /// Sends one IQ and waits for its reply, of type result or error.
    pub fn ask_one(&self, kind: &str, to: &Jid, payload: Element) -> Result<Element> {
        let mut replies = self.ask(kind, [(to.clone(), payload)]);
        let reply = replies.next().map(|(_, reply)| reply);
        reply.ok_or_else(|| match self.ended() {
            Some(why) => Failure::new(Exit::NoService, format!("the XMPP connection was lost: {why}")),
            None => Failure::new(Exit::NoService, format!("{to} does not reply")),
        })
    }

    /// Confirms this request from now on.
    pub fn expect(&self, request: Expected) -> Promise<'_> {
        let transaction = request.transaction.clone();
        self.shared.state().expected.push(request);
        Promise { account: self, transaction }
    }

    /// Why the session has ended, if it has.
    pub fn ended(&self) -> Option<String> {
        self.shared.state().ended.clone()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there was told by the panic itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let mut state = self.account.shared.state();
        state.expected.retain(|request| request.transaction != self.transaction);
    }
}

impl Iterator for Replies {
    type Item = (usize, Element);

    /// The next reply; `None` when all have come, when the session has ended, or when the time is over.
    fn next(&mut self) -> Option<Self::Item> {
        self.receiver.recv_timeout(self.deadline.saturating_duration_since(Instant::now())).ok()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic can't leave the lists in a broken state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(mut conversation: Conversation, shared: &Shared) {
    let ended = loop {
        let (outgoing, closing) = {
            let mut state = shared.state();
            (std::mem::take(&mut state.outgoing), state.closing)
        };
        let mut sent = outgoing.into_iter().map(|stanza| conversation.send(stanza));
        if let Some(Err(error)) = sent.find(std::result::Result::is_err) {
            break error.to_string();
        }
        if closing {
            conversation.close();
            break "we logged out".to_owned();
        }
        let mut stanzas = Vec::new();
        let received = conversation.receive(&shared.waker, &mut |stanza| stanzas.push(stanza));
        let mut state = shared.state();
        stanzas.iter().for_each(|stanza| state.take(stanza, &conversation));
        if let Err(error) = received {
            break error.to_string();
        }
    };
    let mut state = shared.state();
    state.ended = Some(ended);
    state.asked.clear();
}

impl State {
    /// Passes a reply on, confirms a prompt, or says that we do not know a question. Messages are for other programs.
    fn take(&mut self, stanza: &Element, conversation: &Conversation) {
        let id = stanza.attribute("id").unwrap_or_default();
        let is_reply = self.asked.get(id).is_some_and(|asked| conversation.is_reply(stanza, id, &asked.of));
        if is_reply {
            if let Some(asked) = self.asked.remove(id) {
                // The receiver no longer waits if the time is over.
                let _ = asked.reply.send((asked.number, stanza.clone()));
            }
            return;
        }
        if confirm::is_prompt(stanza) {
            self.outgoing.extend(confirm::confirmation(&self.expected, stanza));
        } else {
            self.outgoing.extend(unknown(stanza));
        }
    }
}

/// The reply to a question that we do not know (RFC 6120 section 8.2.3).
fn unknown(stanza: &Element) -> Option<Element> {
    if !stanza.is("iq", ns::CLIENT) || !matches!(stanza.attribute("type"), Some("get" | "set")) {
        return None;
    }
    let error = Element::error("cancel", "service-unavailable");
    let mut reply = Element::new("iq", ns::CLIENT).with("type", "error").with("id", stanza.attribute("id")?);
    if let Some(from) = stanza.attribute("from") {
        reply.set("to", from);
    }
    Some(reply.with_child(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_questions_are_refused_and_all_else_is_left_alone() {
        let iq = |kind: &str| {
            Element::new("iq", ns::CLIENT).with("type", kind).with("id", "1").with("from", "a@b")
        };
        let refused = unknown(&iq("get")).unwrap();
        assert_eq!(
            refused.to_xml(ns::CLIENT),
            "<iq type='error' id='1' to='a@b'><error type='cancel'><service-unavailable \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        );
        assert!(unknown(&iq("result")).is_none());
        assert!(unknown(&Element::new("message", ns::CLIENT).with("type", "get")).is_none());
    }
}
