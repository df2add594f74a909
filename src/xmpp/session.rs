//! One connection from its first byte to its last: log-in, stanzas, keepalive. Never blocks, but to close.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::Jid;
use crate::sys::{Interest, wait};

use super::login::{Login, Outcome, Step, stream_error};
use super::outbound::{Outbound, lost};
use super::pulse::{Beat, Pulse};
use super::settings::{LinkSettings, Times};
use super::stream::{Event, Stream};
use super::tls::Tls;
use super::transport::Transport;
use super::{Element, ns};

/// What a session reports.
pub(super) enum Traffic {
    /// The log-in is done; we have this address.
    Ready(Jid),
    /// A stanza came.
    Stanza(Element),
}

/// What all sessions of a link have in common.
pub(super) struct Plan {
    /// Where to connect and who we are.
    pub settings: LinkSettings,
    /// Time limits.
    pub times: Times,
    tls: Option<Tls>,
}

impl Plan {
    /// Reads the authorities that the settings name.
    pub fn new(settings: LinkSettings, times: Times) -> Result<Self> {
        let tls = match &settings {
            LinkSettings::Component(_) => None,
            LinkSettings::Client(settings) => Some(Tls::new(settings)?),
        };
        Ok(Self { settings, times, tls })
    }
}

/// A live connection.
pub(super) struct Session {
    transport: Transport,
    tls: Option<Tls>,
    stream: Stream,
    content: &'static str,
    /// Until we are in.
    login: Option<Login>,
    deadline: Instant,
    /// Since we are in.
    jid: Option<Jid>,
    outbound: Outbound,
    pulse: Pulse,
}

impl Session {
    /// Begins to log in on a connected socket; that must be done by `deadline`.
    pub fn new(socket: TcpStream, plan: &Plan, deadline: Instant, now: Instant) -> Result<Self> {
        let login = Login::new(&plan.settings);
        let content = login.content();
        let mut outbound = Outbound::default();
        outbound.push(&login.open())?;
        Ok(Self {
            transport: Transport::new(socket)?,
            tls: plan.tls.clone(),
            stream: Stream::new(content),
            content,
            login: Some(login),
            deadline,
            jid: None,
            outbound,
            pulse: Pulse::new(plan.times.keepalive, now),
        })
    }

    /// Our address, once we are in.
    pub fn jid(&self) -> Option<&Jid> {
        self.jid.as_ref()
    }

    /// Whether TLS is established.
    pub fn is_encrypted(&self) -> bool {
        self.transport.is_encrypted()
    }

    /// What to wait for.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        let writes = !self.outbound.is_empty() && !self.transport.is_shaking_hands();
        Some((self.transport.fd()?, if writes { Interest::Both } else { Interest::Read }))
    }

    /// When it has to look at its clocks.
    pub fn deadline(&self) -> Instant {
        if self.login.is_some() { self.deadline } else { self.pulse.next_beat() }
    }

    /// Does what can be done now without waiting; says whether there is more.
    pub fn turn(&mut self, now: Instant, sink: &mut dyn FnMut(Traffic)) -> Outcome<bool> {
        let more = self.receive(now, sink)?;
        if self.transport.handshake()? {
            let opened = self.login.as_mut().map(Login::secured).unwrap_or_default();
            self.outbound.push(&opened)?;
        }
        self.look_at_clocks(now)?;
        self.outbound.flush(&mut self.transport)?;
        Ok(more)
    }

    /// Queues a stanza. A component has to say who it is; a client's server knows. To strangers' questions, of which
    /// there may be any number, there is no answer while the server does not take what it has.
    pub fn send(&mut self, mut stanza: Element) -> Result<()> {
        let Some(jid) = &self.jid else { return Ok(()) };
        if self.outbound.is_crowded() && is_answer(&stanza) {
            return Ok(());
        }
        if self.content == ns::COMPONENT && stanza.attribute("from").is_none() {
            stanza.set("from", jid.to_string());
        }
        // On a component's stream, too: without a prefix or declaration, a stanza is in the stream's namespace.
        self.outbound.push(&stanza.to_xml(ns::CLIENT))
    }

    /// Ends the stream, and waits for the server to do so (RFC 6120 section 4.4).
    pub fn close(mut self, within: Duration) {
        let deadline = Instant::now() + within;
        let ended = self.outbound.push("</stream:stream>");
        if ended.is_ok() && !self.transport.is_shaking_hands() {
            // It is over either way.
            let _ = self.linger(deadline);
        }
        self.transport.shutdown();
    }

    fn linger(&mut self, deadline: Instant) -> Result<()> {
        let mut buffer = [0; 1024];
        while Instant::now() < deadline {
            self.outbound.flush(&mut self.transport)?;
            match self.transport.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let Some(interest) = self.interest() else { return Ok(()) };
                    wait(&[interest], Some(deadline)).map_err(lost)?;
                }
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, now: Instant, sink: &mut dyn FnMut(Traffic)) -> Outcome<bool> {
        let mut buffer = [0; limits::XMPP_READ_BYTES];
        for _ in 0..limits::XMPP_READS {
            match self.transport.read(&mut buffer) {
                Ok(0) => return Err(self.closed().into()),
                Ok(count) => self.stream.feed(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error).into()),
            }
            // Bytes of a stanza that never ends are no sign of life.
            let mut alive = self.stream.is_between();
            while let Some(event) = self.stream.next_event()? {
                alive = true;
                self.event(event, sink)?;
            }
            if alive {
                self.pulse.heard(now);
            }
        }
        Ok(true)
    }

    fn event(&mut self, event: Event, sink: &mut dyn FnMut(Traffic)) -> Outcome<()> {
        if let Some(login) = &mut self.login {
            let step = login.event(event)?;
            return Ok(self.step(step, sink)?);
        }
        match event {
            Event::Stanza(stanza) if self.pulse.is_echo(&stanza) => {}
            Event::Stanza(stanza) => sink(Traffic::Stanza(stanza)),
            Event::Failed(error) => {
                return Err(stream_error(Kind::Unavailable, "the XMPP server ends the stream", &error).into());
            }
            Event::Closed | Event::Opened(_) => return Err(self.closed().into()),
        }
        Ok(())
    }

    fn step(&mut self, step: Step, sink: &mut dyn FnMut(Traffic)) -> Result<()> {
        match step {
            Step::Send(text) => self.outbound.push(&text),
            Step::Restart(text) => {
                self.restart()?;
                self.outbound.push(&text)
            }
            Step::StartTls => {
                self.restart()?;
                if let Some(tls) = self.tls.clone() {
                    self.transport.start_tls(tls);
                }
                Ok(())
            }
            Step::Ready(jid, text) => {
                self.login = None;
                self.jid = Some(jid.clone());
                sink(Traffic::Ready(jid));
                self.outbound.push(&text)
            }
        }
    }

    /// A new parser for a new stream. What came behind the old one's last element did not come from the
    /// server that TLS or SASL is about to prove.
    fn restart(&mut self) -> Result<()> {
        if !self.stream.is_drained() {
            let what =
                "the XMPP server's stream goes on where a new one had to begin: someone may have added to it";
            return Err(Error::new(Kind::Corrupt, what));
        }
        self.stream = Stream::new(self.content);
        Ok(())
    }

    fn look_at_clocks(&mut self, now: Instant) -> Result<()> {
        if self.login.is_some() {
            return if now < self.deadline { Ok(()) } else { Err(self.late()) };
        }
        match self.pulse.beat(now) {
            Beat::Fine => Ok(()),
            Beat::Ping(id) => self.ping(&id),
            Beat::Dead => {
                Err(Error::new(Kind::Unavailable, "the XMPP server has fallen silent and answers no ping"))
            }
        }
    }

    /// A client asks its server. A component does not know its server's name, so it asks itself: the
    /// question goes to the server and back.
    fn ping(&mut self, id: &str) -> Result<()> {
        let Some(jid) = &self.jid else { return Ok(()) };
        let to = if self.content == ns::COMPONENT { jid.to_string() } else { jid.bare().domain().to_owned() };
        let iq = Element::new("iq", ns::CLIENT).with("type", "get").with("id", id).with("to", to);
        self.send(iq.with_child(Element::new("ping", ns::PING)))
    }

    fn late(&self) -> Error {
        let login = self.login.as_ref().filter(|_| !self.transport.is_shaking_hands());
        let awaited = login.map_or("its part of the TLS handshake", Login::awaited);
        Error::new(Kind::Unavailable, format!("the XMPP server did not send {awaited} in time"))
    }

    fn closed(&self) -> Error {
        let awaited = self.login.as_ref().map(Login::awaited);
        let when = awaited.map(|awaited| format!(" instead of sending {awaited}")).unwrap_or_default();
        Error::new(Kind::Unavailable, format!("the XMPP server closed the connection{when}"))
    }
}

fn is_answer(stanza: &Element) -> bool {
    stanza.is("iq", ns::CLIENT) && matches!(stanza.attribute("type"), Some("result" | "error"))
}
