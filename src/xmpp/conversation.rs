//! A session of a command: it asks one IQ at a time, or sends and receives stanzas as they come. Runs on its caller's
//! thread and blocks it.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use super::dial::Dial;
use super::login::{LinkError, LinkResult};
use super::session::{LinkPlan, LinkSession};
use super::settings::{ClientSettings, LinkSettings, Times};
use super::{Element, LinkEvent, ns};
use crate::error::{Error, Result};
use crate::model::Jid;
use crate::sys::{Interest, Waker, wait};

pub use super::login::LoginFailure;

/// A log-in that failed.
#[derive(Debug)]
pub struct LoginError {
    /// Why, as far as a command does something else for it.
    pub failure: LoginFailure,
    /// Why, in words.
    pub error: Error,
}

/// A session that is logged in.
pub struct Conversation {
    session: LinkSession,
    times: Times,
    /// Our address.
    own: Jid,
    /// IQs so far.
    asked: u64,
}

impl Conversation {
    /// Logs an account in; blocks for up to `times.login`.
    pub fn log_in(settings: ClientSettings, times: Times) -> Result<Self> {
        Ok(Self::open(LinkSettings::Client(settings), times)?)
    }

    /// The same, with the kind of a failure.
    pub fn log_in_or_tell(settings: ClientSettings, times: Times) -> std::result::Result<Self, LoginError> {
        let mut failure = LoginFailure::Other;
        let opened = Self::open_or_tell(LinkSettings::Client(settings), times, &mut failure);
        opened.map_err(|error| LoginError { failure, error: error.into() })
    }

    /// Logs a link in; blocks for up to `times.login`.
    pub(super) fn open(settings: LinkSettings, times: Times) -> LinkResult<Self> {
        Self::open_or_tell(settings, times, &mut LoginFailure::Other)
    }

    fn open_or_tell(settings: LinkSettings, times: Times, failure: &mut LoginFailure) -> LinkResult<Self> {
        let plan = LinkPlan::new(settings, times)?;
        let (host, port) = plan.settings.endpoint();
        let deadline = Instant::now() + times.login;
        let named = |error: Error| Error::caused(error.kind(), plan.settings.endpoint_keys(), error);
        let socket = Dial::start(host, port, deadline, || ())?.wait(deadline).map_err(named)?;
        let mut session = LinkSession::new(socket, &plan, deadline, Instant::now())?;
        let mut told = |session: &LinkSession, error: LinkError| {
            *failure = session.failure();
            error
        };
        loop {
            let more = session.turn(Instant::now(), &mut |_| ()).map_err(|error| told(&session, error))?;
            if let Some(own) = session.jid().cloned() {
                return Ok(Self { session, times, own, asked: 0 });
            }
            await_bytes(&session, more, times)?;
        }
    }

    /// Our address.
    pub fn jid(&self) -> &Jid {
        &self.own
    }

    /// Whether the XMPP server is on this machine, as far as its address tells.
    pub fn is_local(&self) -> bool {
        self.session.peer().is_some_and(|peer| is_loopback(peer.ip()))
    }

    /// Sends an IQ of type `get` or `set` and waits for its reply, of type `result` or `error`: `None` without one within
    /// `times.login`. Fails where the session ends.
    pub fn ask(&mut self, kind: &str, to: &Jid, payload: Element) -> Result<Option<Element>> {
        self.asked += 1;
        let id = format!("ask-{}", self.asked);
        let iq = Element::new("iq", ns::CLIENT).with("type", kind).with("id", &id).with("to", to.to_string());
        self.session.send(iq.with_child(payload))?;
        let deadline = Instant::now() + self.times.login;
        let mut reply = None;
        loop {
            let (own, now) = (&self.own, Instant::now());
            let more = self.session.turn(now, &mut |event| match event {
                LinkEvent::Stanza(stanza) if is_reply(&stanza, &id, to, own) => reply = Some(stanza),
                _ => {}
            })?;
            if reply.is_some() || now >= deadline {
                return Ok(reply);
            }
            await_bytes(&self.session, more, self.times)?;
        }
    }

    /// Sends a stanza.
    pub fn send(&mut self, stanza: Element) -> Result<()> {
        self.session.send(stanza)
    }

    /// Sends what is to be sent, and passes the stanzas that have come to `sink`. Waits for them until `waker` is woken,
    /// which it clears, or until the session's clocks are due. Fails where the session ends.
    pub fn receive(&mut self, waker: &Waker, sink: &mut dyn FnMut(Element)) -> Result<()> {
        let mut came = false;
        let more = self.session.turn(Instant::now(), &mut |event| {
            if let LinkEvent::Stanza(stanza) = event {
                came = true;
                sink(stanza);
            }
        })?;
        if more || came {
            return Ok(());
        }
        let mut fds = vec![(waker.as_fd(), Interest::Read)];
        fds.extend(self.session.interest());
        wait(&fds, Some(self.session.deadline()))
            .map_err(|error| Error::io("can't wait for the XMPP server", error))?;
        waker.clear();
        Ok(())
    }

    /// Whether this stanza is the reply to the IQ of this id that was sent to `asked`.
    pub fn is_reply(&self, stanza: &Element, id: &str, asked: &Jid) -> bool {
        is_reply(stanza, id, asked, &self.own)
    }

    /// Logs out; blocks for up to `times.close`.
    pub fn close(self) {
        self.session.close(self.times.close);
    }
}

/// Whether this is a loopback address, also as IPv6 sockets show those of IPv4.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Waits for bytes, but not long: the session has clocks.
fn await_bytes(session: &LinkSession, more: bool, times: Times) -> Result<()> {
    let fds: Vec<_> = session.interest().into_iter().collect();
    let now = Instant::now();
    let until = if more { now } else { now + times.tick };
    wait(&fds, Some(until)).map(drop).map_err(|error| Error::io("can't wait for the XMPP server", error))
}

/// Whether it is the reply to the IQ of this id. Only our own server and account may leave out `from` (RFC 6120 section
/// 8.1.2.1).
fn is_reply(stanza: &Element, id: &str, asked: &Jid, own: &Jid) -> bool {
    let is_from = match stanza.attribute("from") {
        Some(from) => from.parse().is_ok_and(|from: Jid| from == *asked),
        None => asked.bare() == own.bare() || asked.to_string() == own.bare().domain(),
    };
    let is_reply = matches!(stanza.attribute("type"), Some("result" | "error"));
    stanza.is("iq", ns::CLIENT) && is_reply && stanza.attribute("id") == Some(id) && is_from
}

#[cfg(test)]
mod tests {
    use super::super::peer::{Certificate, Conn, ScriptedServer, long_times, mechanisms};
    use super::super::settings::Security;
    use super::*;
    use std::thread;
    use std::time::Duration;

    fn ping() -> Element {
        Element::new("ping", ns::PING)
    }

    #[test]
    fn a_question_has_the_reply_of_the_entity_that_was_asked() {
        let peer = ScriptedServer::listen();
        let settings = peer.client(Security::Disabled);
        let server = thread::spawn(move || {
            let mut conn = peer.accept();
            conn.scram("pencil");
            conn.bind();
            conn.until("<ping");
            conn.send("<iq type='result' id='ask-1' from='other.example.com'/>");
            conn.send("<iq type='result' id='ask-2' from='channels.example.com'/>");
            conn.send("<iq type='get' id='ask-1' from='channels.example.com'/>");
            conn.send("<iq type='error' id='ask-1' from='channels.example.com'/>");
            conn.until("<ping");
            conn.send("<iq type='result' id='ask-2'/>");
            conn.until("<ping");
            conn.send("</stream:stream>");
        });
        let mut conversation = Conversation::log_in(settings, long_times()).unwrap();
        assert_eq!(conversation.jid().to_string(), "media@example.com/here");
        assert!(conversation.is_local());
        let service = "channels.example.com".parse().unwrap();
        let reply = conversation.ask("get", &service, ping()).unwrap().unwrap();
        assert_eq!(reply.attribute("type"), Some("error"));
        let domain = "example.com".parse().unwrap();
        let reply = conversation.ask("get", &domain, ping()).unwrap().unwrap();
        assert_eq!(reply.attribute("type"), Some("result"));
        assert!(conversation.ask("get", &service, ping()).is_err(), "the session has ended");
        server.join().unwrap();
    }

    #[test]
    fn a_server_on_this_machine_is_known_by_its_address() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.0.1.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("2001:db8::1", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), expected, "{address}");
        }
    }

    /// The kind of the failure of a log-in with a server that does this.
    fn failure(
        security: Security,
        certificate: Option<&Certificate>,
        server: impl FnOnce(Conn) + Send + 'static,
    ) -> Option<LoginFailure> {
        let peer = ScriptedServer::listen();
        let mut settings = peer.client(security);
        settings.ca = certificate.map(Certificate::path);
        let server = thread::spawn(move || server(peer.accept()));
        let result = Conversation::log_in_or_tell(settings, long_times());
        let failure = result.map(Conversation::close).err().map(|error| error.failure);
        server.join().unwrap();
        failure
    }

    #[test]
    fn a_connection_may_begin_with_tls() {
        let certificate = Certificate::new("example.com");
        let trusted = certificate.clone();
        let failed = failure(Security::Direct, Some(&certificate), move |mut conn| {
            assert!(conn.starttls(&trusted));
            conn.log_client_in();
            conn.until("</stream:stream>");
        });
        assert_eq!(failed, None);
    }

    #[test]
    fn a_failed_log_in_has_a_kind() {
        let certificate = Certificate::new("example.com");
        let distrusted =
            failure(Security::Direct, None, move |mut conn| assert!(!conn.starttls(&certificate)));
        assert_eq!(distrusted, Some(LoginFailure::Tls));
        let without = failure(Security::Required, None, |mut conn| conn.features(&mechanisms("SCRAM-SHA-1")));
        assert_eq!(without, Some(LoginFailure::Tls));
        let refusal = |condition: &'static str| {
            failure(Security::Disabled, None, move |mut conn| {
                conn.features(&mechanisms("PLAIN"));
                conn.until("</auth>");
                conn.send(&format!("<failure xmlns='{}'><{condition}/></failure>", ns::SASL));
            })
        };
        assert_eq!(refusal("not-authorized"), Some(LoginFailure::Refused));
        assert_eq!(refusal("temporary-auth-failure"), Some(LoginFailure::Other));
        assert_eq!(failure(Security::Disabled, None, drop), Some(LoginFailure::Other));
    }

    /// Other clients of the account get its messages.
    #[test]
    fn a_resource_that_is_not_available_sends_no_presence() {
        let peer = ScriptedServer::listen();
        let settings = ClientSettings { available: false, ..peer.client(Security::Disabled) };
        let server = thread::spawn(move || {
            let mut conn = peer.accept();
            conn.scram("pencil");
            conn.features(&format!("<bind xmlns='{}'/>", ns::BIND));
            conn.until("</iq>");
            let jid = "<jid>media@example.com/here</jid>";
            conn.send(&format!("<iq type='result' id='bind'><bind xmlns='{}'>{jid}</bind></iq>", ns::BIND));
            assert_eq!(conn.until("</stream:stream>"), "</stream:stream>");
        });
        Conversation::log_in(settings, long_times()).unwrap().close();
        server.join().unwrap();
    }

    #[test]
    fn silence_is_no_reply() {
        let peer = ScriptedServer::listen();
        let settings = peer.client(Security::Disabled);
        let server = thread::spawn(move || {
            let mut conn = peer.accept();
            conn.scram("pencil");
            conn.bind();
            conn.until("</stream:stream>");
        });
        let mut conversation = Conversation::log_in(settings, long_times()).unwrap();
        conversation.times.login = Duration::from_millis(50);
        assert_eq!(conversation.ask("get", &"example.com".parse().unwrap(), ping()).unwrap(), None);
        conversation.close();
        server.join().unwrap();
    }
}
