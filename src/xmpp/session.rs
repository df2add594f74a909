//! One connection from its first byte to its last: log-in, stanzas, keepalive. Runs on the XMPP thread and never blocks
//! it but in [`LinkSession::close`].

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::Jid;
use crate::sys::{Interest, wait};

use super::keepalive::{Keepalive, KeepaliveStep};
use super::login::{LinkResult, Login, LoginFailure, LoginStep, stream_error};
use super::send_buffer::{SendBuffer, lost};
use super::settings::{LinkSettings, Security, Times};
use super::stream::{StreamEvent, StreamParser};
use super::tls::Tls;
use super::transport::Transport;
use super::{Element, LinkEvent, ns};

/// The data that all sessions of a link share.
pub(super) struct LinkPlan {
    /// Where to connect and who we are.
    pub settings: LinkSettings,
    /// Time limits.
    pub times: Times,
    tls: Option<Tls>,
}

impl LinkPlan {
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
pub(super) struct LinkSession {
    transport: Transport,
    tls: Option<Tls>,
    stream: StreamParser,
    content: &'static str,
    /// `None` once we are logged in.
    login: Option<Login>,
    deadline: Instant,
    /// Our address, once we are logged in.
    jid: Option<Jid>,
    unsent: SendBuffer,
    keepalive: Keepalive,
}

impl LinkSession {
    /// Begins the log-in on a connected socket; it must be done by `deadline`.
    pub fn new(socket: TcpStream, plan: &LinkPlan, deadline: Instant, now: Instant) -> Result<Self> {
        let login = Login::new(&plan.settings);
        let content = login.content();
        let (mut unsent, mut transport) = (SendBuffer::default(), Transport::new(socket)?);
        match (&plan.settings, &plan.tls) {
            (LinkSettings::Client(client), Some(tls)) if client.security == Security::Direct => {
                transport.start_tls(tls.clone());
            }
            _ => unsent.push(&login.open())?,
        }
        Ok(Self {
            transport,
            tls: plan.tls.clone(),
            stream: StreamParser::new(content),
            content,
            login: Some(login),
            deadline,
            jid: None,
            unsent,
            keepalive: Keepalive::new(plan.times.keepalive, now),
        })
    }

    /// Our address, once we are logged in.
    pub fn jid(&self) -> Option<&Jid> {
        self.jid.as_ref()
    }

    /// Why the log-in failed, after an error.
    pub fn failure(&self) -> LoginFailure {
        let login = self.login.as_ref();
        if self.transport.is_lost() || login.is_some_and(Login::lacks_tls) {
            LoginFailure::Tls
        } else if login.is_some_and(Login::is_refused) {
            LoginFailure::Refused
        } else {
            LoginFailure::Other
        }
    }

    /// Whether TLS is established.
    pub fn is_encrypted(&self) -> bool {
        self.transport.is_encrypted()
    }

    /// The address of the server.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.transport.peer()
    }

    /// The descriptor to wait for, and what for.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        let writes = !self.unsent.is_empty() && !self.transport.is_shaking_hands();
        Some((self.transport.fd()?, if writes { Interest::Both } else { Interest::Read }))
    }

    /// When [`LinkSession::turn`] is due though no bytes come.
    pub fn deadline(&self) -> Instant {
        if self.login.is_some() { self.deadline } else { self.keepalive.deadline() }
    }

    /// Reads and writes without waiting; returns whether more can be read at once.
    pub fn turn(&mut self, now: Instant, sink: &mut dyn FnMut(LinkEvent)) -> LinkResult<bool> {
        let more = self.receive(now, sink)?;
        if self.transport.handshake()? {
            let opened = self.login.as_mut().map(Login::secured).unwrap_or_default();
            self.unsent.push(&opened)?;
        }
        self.check_clocks(now)?;
        self.unsent.flush(&mut self.transport)?;
        Ok(more)
    }

    /// Queues a stanza. A component's needs `from`; a client's server adds it. While the server does not take what is
    /// queued, replies are dropped: strangers can ask any number of questions.
    pub fn send(&mut self, mut stanza: Element) -> Result<()> {
        let Some(jid) = &self.jid else { return Ok(()) };
        if self.unsent.is_crowded() && is_reply(&stanza) {
            return Ok(());
        }
        if self.content == ns::COMPONENT && stanza.attribute("from").is_none() {
            stanza.set("from", jid.to_string());
        }
        // On a component's stream, too: without a prefix or declaration, a stanza is in the stream's namespace.
        self.unsent.push(&stanza.to_xml(ns::CLIENT))
    }

    /// Ends the stream and waits up to `within` for the server to end its own (RFC 6120 section 4.4). Blocks.
    pub fn close(mut self, within: Duration) {
        let deadline = Instant::now() + within;
        let ended = self.unsent.push("</stream:stream>");
        if ended.is_ok() && !self.transport.is_shaking_hands() {
            // The session is over, whatever this returns.
            let _ = self.linger(deadline);
        }
        self.transport.shutdown();
    }

    /// Ends the stream without waiting for the server.
    pub fn end(mut self) {
        let ended = self.unsent.push("</stream:stream>");
        if ended.is_ok() && !self.transport.is_shaking_hands() {
            // The session is over, whether the server takes it or not.
            let _ = self.unsent.flush(&mut self.transport);
        }
        self.transport.shutdown();
    }

    fn linger(&mut self, deadline: Instant) -> Result<()> {
        let mut buffer = [0; 1024];
        while Instant::now() < deadline {
            self.unsent.flush(&mut self.transport)?;
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

    fn receive(&mut self, now: Instant, sink: &mut dyn FnMut(LinkEvent)) -> LinkResult<bool> {
        let mut buffer = [0; limits::XMPP_READ_BYTES];
        for _ in 0..limits::XMPP_READS {
            match self.transport.read(&mut buffer) {
                Ok(0) => return Err(self.closed().into()),
                Ok(count) => self.stream.feed(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error).into()),
            }
            // A stanza that never ends must not keep the link alive.
            let mut progress = self.stream.is_between();
            while let Some(event) = self.stream.next_event()? {
                progress = true;
                self.event(event, sink)?;
            }
            if progress {
                self.keepalive.heard(now);
            }
        }
        Ok(true)
    }

    fn event(&mut self, event: StreamEvent, sink: &mut dyn FnMut(LinkEvent)) -> LinkResult<()> {
        if let Some(login) = &mut self.login {
            let step = login.event(event)?;
            return Ok(self.step(step, sink)?);
        }
        match event {
            StreamEvent::Stanza(stanza) if self.keepalive.is_ours(&stanza) => {}
            StreamEvent::Stanza(stanza) => sink(LinkEvent::Stanza(stanza)),
            StreamEvent::Failed(error) => {
                return Err(stream_error(Kind::Unavailable, "the XMPP server ends the stream", &error).into());
            }
            StreamEvent::Closed | StreamEvent::Opened(_) => return Err(self.closed().into()),
        }
        Ok(())
    }

    fn step(&mut self, step: LoginStep, sink: &mut dyn FnMut(LinkEvent)) -> Result<()> {
        match step {
            LoginStep::Send(text) => self.unsent.push(&text),
            LoginStep::Restart(text) => {
                self.restart()?;
                self.unsent.push(&text)
            }
            LoginStep::StartTls => {
                self.restart()?;
                if let Some(tls) = self.tls.clone() {
                    self.transport.start_tls(tls);
                }
                Ok(())
            }
            LoginStep::Ready(jid, text) => {
                self.login = None;
                self.jid = Some(jid.clone());
                sink(LinkEvent::Up(jid));
                self.unsent.push(&text)
            }
        }
    }

    /// A new parser for a new stream (RFC 6120 section 4.3.3). Bytes after the last element of the old one did not come
    /// from the server that TLS or SASL is about to authenticate.
    fn restart(&mut self) -> Result<()> {
        if !self.stream.is_drained() {
            let what =
                "the XMPP server sent more where a new stream had to begin: someone may have injected bytes";
            return Err(Error::new(Kind::Corrupt, what));
        }
        self.stream = StreamParser::new(self.content);
        Ok(())
    }

    fn check_clocks(&mut self, now: Instant) -> Result<()> {
        if self.login.is_some() {
            return if now < self.deadline { Ok(()) } else { Err(self.late()) };
        }
        match self.keepalive.check(now) {
            KeepaliveStep::Wait => Ok(()),
            KeepaliveStep::Ping(id) => self.ping(&id),
            KeepaliveStep::GiveUp => {
                Err(Error::new(Kind::Unavailable, "the XMPP server sends nothing and does not answer a ping"))
            }
        }
    }

    /// A client pings its server. A component does not know its server's name, so it pings itself through the server.
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

fn is_reply(stanza: &Element) -> bool {
    stanza.is("iq", ns::CLIENT) && matches!(stanza.attribute("type"), Some("result" | "error"))
}
