//! The log-in of a client (RFC 6120): STARTTLS, SASL, resource binding. Without I/O.

use std::collections::VecDeque;

use crate::error::{Error, Kind, Result};
use crate::model::{BareJid, Jid};

use super::super::sasl::{Authentication, Mechanism};
use super::super::settings::{ClientSettings, Security, SettingNames};
use super::super::stream::{StreamEvent, StreamHeader, shortened};
use super::super::{Element, ns};
use super::{LoginFailure, LoginStep, stream_error, stream_header, unexpected};
use crate::secret::Secret;

const BIND_ID: &str = "bind";
const SESSION_ID: &str = "session";

/// The conditions of a refusal (RFC 6120 section 6.5) that no other mechanism changes.
const OTHERS_WOULD_FAIL: [&str; 4] =
    ["account-disabled", "credentials-expired", "encryption-required", "temporary-auth-failure"];

pub(in super::super) struct ClientLogin {
    service: BareJid,
    username: String,
    password: Secret,
    resource: String,
    security: Security,
    available: bool,
    names: SettingNames,
    encrypted: bool,
    /// The mechanisms that are still to be tried, best first.
    mechanisms: VecDeque<Mechanism>,
    /// Why the server refused the first one.
    denial: Option<Error>,
    /// Why the log-in has failed, if it has.
    failure: LoginFailure,
    stage: ClientStage,
}

/// The element that the server must send next.
enum ClientStage {
    Header {
        authenticated: bool,
    },
    Features {
        authenticated: bool,
    },
    /// `<proceed/>` (RFC 6120 section 5.4.2.3).
    Proceed,
    /// `<challenge/>`, `<success/>` or `<failure/>`.
    Sasl(Authentication),
    /// The reply to resource binding. The session request of RFC 3921 follows if the server requires it.
    Bind {
        session: bool,
    },
    Session(Jid),
    /// Nothing: the log-in has ended.
    Nothing,
}

impl ClientLogin {
    pub fn new(settings: &ClientSettings) -> Self {
        Self {
            service: settings.service.clone(),
            username: settings.username.clone(),
            password: settings.password.clone(),
            resource: settings.resource.clone(),
            security: settings.security,
            available: settings.available,
            names: settings.names,
            encrypted: false,
            mechanisms: VecDeque::new(),
            denial: None,
            failure: LoginFailure::Other,
            stage: ClientStage::Header { authenticated: false },
        }
    }

    pub fn open(&self) -> String {
        let header = stream_header(ns::CLIENT, &self.service, " version='1.0'");
        format!("<?xml version='1.0'?>{header}")
    }

    pub fn secured(&mut self) -> String {
        self.encrypted = true;
        self.stage = ClientStage::Header { authenticated: false };
        self.open()
    }

    /// Why the log-in has failed, after an error.
    pub fn failure(&self) -> LoginFailure {
        self.failure
    }

    pub fn awaited(&self) -> &'static str {
        match self.stage {
            ClientStage::Header { .. } => "a stream header",
            ClientStage::Features { .. } => "stream features",
            ClientStage::Proceed => "the reply to STARTTLS",
            ClientStage::Sasl(_) => "the reply to our authentication",
            ClientStage::Bind { .. } => "the reply to resource binding",
            ClientStage::Session(_) => "the reply to the session request",
            ClientStage::Nothing => "nothing",
        }
    }

    pub fn event(&mut self, event: StreamEvent) -> Result<LoginStep> {
        let awaited = self.awaited();
        match (std::mem::replace(&mut self.stage, ClientStage::Nothing), event) {
            (ClientStage::Header { authenticated }, StreamEvent::Opened(header)) => {
                self.stage = ClientStage::Features { authenticated };
                versioned(&header, self.names)
            }
            (ClientStage::Features { authenticated }, StreamEvent::Stanza(features))
                if features.is("features", ns::STREAM) =>
            {
                self.features(&features, authenticated)
            }
            (ClientStage::Proceed, StreamEvent::Stanza(answer)) if answer.namespace() == ns::TLS => {
                proceed(&answer)
            }
            (ClientStage::Sasl(exchange), StreamEvent::Stanza(answer)) if answer.namespace() == ns::SASL => {
                self.sasl(exchange, &answer)
            }
            (ClientStage::Bind { session }, StreamEvent::Stanza(answer)) if is_reply_to(&answer, BIND_ID) => {
                self.bound(&answer, session)
            }
            (ClientStage::Session(jid), StreamEvent::Stanza(answer)) if is_reply_to(&answer, SESSION_ID) => {
                succeeded(&answer, "a session")?;
                Ok(self.ready(jid))
            }
            // Stanzas may come as soon as a resource is bound.
            (stage @ (ClientStage::Bind { .. } | ClientStage::Session(_)), StreamEvent::Stanza(_)) => {
                self.stage = stage;
                Ok(LoginStep::Send(String::new()))
            }
            (_, StreamEvent::Failed(error)) if error.condition == "host-unknown" => {
                let SettingNames { service, port, .. } = self.names;
                let what =
                    format!("the XMPP server does not serve {service}, or {port} is not its client port");
                Err(stream_error(Kind::Config, what, &error))
            }
            // A server may end the stream after a refusal.
            (_, event) => Err(self.denial.take().unwrap_or_else(|| unexpected(&event, awaited))),
        }
    }

    fn features(&mut self, features: &Element, authenticated: bool) -> Result<LoginStep> {
        if authenticated {
            return self.bind(features);
        }
        let starttls = features.child("starttls", ns::TLS);
        match (self.encrypted, self.security, starttls) {
            (false, Security::Required | Security::Direct, None) => {
                self.failure = LoginFailure::Tls;
                let what = format!("the XMPP server offers no TLS, but {}", self.names.security);
                Err(Error::new(Kind::Config, what))
            }
            (false, Security::Disabled, Some(offer)) if offer.child("required", ns::TLS).is_some() => {
                let what = "the XMPP server requires TLS, but xmpp.connection.securitymode is disabled";
                Err(Error::new(Kind::Config, what))
            }
            (false, Security::Enabled | Security::Required | Security::Direct, Some(_)) => {
                self.stage = ClientStage::Proceed;
                Ok(LoginStep::Send(Element::new("starttls", ns::TLS).to_xml(ns::CLIENT)))
            }
            _ => self.authenticate(features),
        }
    }

    fn authenticate(&mut self, features: &Element) -> Result<LoginStep> {
        let offer = features.child("mechanisms", ns::SASL);
        let offered: Vec<_> = offer.into_iter().flat_map(Element::children).map(Element::text).collect();
        let plain_allowed = self.encrypted || self.security == Security::Disabled;
        self.mechanisms = Mechanism::usable(&offered, plain_allowed).into();
        self.try_mechanism().unwrap_or_else(|| Err(no_mechanism(&offered, plain_allowed)))
    }

    /// Begins the authentication by the next mechanism, if there is one.
    fn try_mechanism(&mut self) -> Option<Result<LoginStep>> {
        let mechanism = self.mechanisms.pop_front()?;
        Some(self.begin(mechanism))
    }

    fn begin(&mut self, mechanism: Mechanism) -> Result<LoginStep> {
        let exchange = Authentication::new(mechanism, &self.username, &self.password)?;
        let auth = Element::new("auth", ns::SASL).with("mechanism", exchange.name());
        let step = LoginStep::Send(auth.with_text(exchange.initial()).to_xml(ns::CLIENT));
        self.stage = ClientStage::Sasl(exchange);
        Ok(step)
    }

    fn sasl(&mut self, mut exchange: Authentication, answer: &Element) -> Result<LoginStep> {
        match answer.name() {
            "challenge" => {
                let response = exchange.challenge(answer.text())?;
                self.stage = ClientStage::Sasl(exchange);
                Ok(LoginStep::Send(Element::new("response", ns::SASL).with_text(response).to_xml(ns::CLIENT)))
            }
            "success" => {
                exchange.success(answer.text())?;
                self.denial = None;
                self.stage = ClientStage::Header { authenticated: true };
                Ok(LoginStep::Restart(self.open()))
            }
            _ => self.refused(answer),
        }
    }

    /// Tries the next mechanism on the same stream (RFC 6120 section 6.4.5): servers offer some for which they have no
    /// key of this account. If all are refused, the first refusal is the error.
    fn refused(&mut self, answer: &Element) -> Result<LoginStep> {
        let (condition, denial) = denied(answer, self.names);
        let denial = self.denial.take().unwrap_or(denial);
        let next = if OTHERS_WOULD_FAIL.contains(&condition) { None } else { self.try_mechanism() };
        match next {
            Some(step) => {
                self.denial = Some(denial);
                step
            }
            None => {
                if denial.kind() == Kind::Config {
                    self.failure = LoginFailure::Refused;
                }
                Err(denial)
            }
        }
    }

    fn bind(&mut self, features: &Element) -> Result<LoginStep> {
        if features.child("bind", ns::BIND).is_none() {
            return Err(Error::new(Kind::Corrupt, "the XMPP server offers no resource binding"));
        }
        let session = features.child("session", ns::SESSION);
        let session = session.is_some_and(|offer| offer.child("optional", ns::SESSION).is_none());
        self.stage = ClientStage::Bind { session };
        let resource = Element::new("resource", ns::BIND).with_text(&self.resource);
        Ok(request(BIND_ID, Element::new("bind", ns::BIND).with_child(resource)))
    }

    fn bound(&mut self, answer: &Element, session: bool) -> Result<LoginStep> {
        succeeded(answer, "a resource")?;
        let jid = answer.child("bind", ns::BIND).and_then(|bind| bind.child("jid", ns::BIND));
        let Some(jid) = jid.and_then(|jid| jid.text().parse().ok()) else {
            return Err(Error::new(
                Kind::Corrupt,
                "the XMPP server's reply to resource binding holds no valid address",
            ));
        };
        if !session {
            return Ok(self.ready(jid));
        }
        self.stage = ClientStage::Session(jid);
        Ok(request(SESSION_ID, Element::new("session", ns::SESSION)))
    }

    fn ready(&self, jid: Jid) -> LoginStep {
        let presence = Element::new("presence", ns::CLIENT).to_xml(ns::CLIENT);
        LoginStep::Ready(jid, if self.available { presence } else { String::new() })
    }
}

fn versioned(header: &StreamHeader, names: SettingNames) -> Result<LoginStep> {
    let major = header.version.as_deref().and_then(|version| version.split('.').next());
    if major.and_then(|major| major.parse().ok()).is_some_and(|major: u32| major >= 1) {
        return Ok(LoginStep::Send(String::new()));
    }
    let port = names.port;
    let what = format!("the XMPP server does not speak XMPP 1.0 (RFC 6120): is {port} its client port?");
    Err(Error::new(Kind::Config, what))
}

fn proceed(answer: &Element) -> Result<LoginStep> {
    if answer.name() == "proceed" {
        return Ok(LoginStep::StartTls);
    }
    Err(Error::new(Kind::Unavailable, "the XMPP server offered TLS and refuses it"))
}

fn request(id: &str, payload: Element) -> LoginStep {
    let iq = Element::new("iq", ns::CLIENT).with("type", "set").with("id", id).with_child(payload);
    LoginStep::Send(iq.to_xml(ns::CLIENT))
}

fn is_reply_to(stanza: &Element, id: &str) -> bool {
    let answers = matches!(stanza.attribute("type"), Some("result" | "error"));
    answers && stanza.is("iq", ns::CLIENT) && stanza.attribute("id") == Some(id)
}

fn succeeded(answer: &Element, what: &str) -> Result<()> {
    if answer.attribute("type") == Some("result") {
        return Ok(());
    }
    let error = answer.child("error", ns::CLIENT);
    let condition = error.and_then(|error| error.children().find(|child| child.namespace() == ns::STANZAS));
    let condition = condition.map_or("no reason given", Element::name).to_owned();
    Err(Error::caused(Kind::Unavailable, format!("the XMPP server refuses us {what}"), condition))
}

fn no_mechanism(offered: &[&str], plain_allowed: bool) -> Error {
    let offered = offered.join(" ");
    let known = Mechanism::ALL.map(Mechanism::name).join(", ");
    let hint = if plain_allowed { "" } else { ", and PLAIN is not for connections without TLS" };
    let what = format!("the XMPP server offers none of {known} (but: {}{hint})", shortened(&offered));
    Error::new(Kind::Config, what)
}

/// The condition of a refusal, and the error that it is.
fn denied(answer: &Element, names: SettingNames) -> (&str, Error) {
    let condition = answer.children().map(Element::name).find(|name| *name != "text");
    let condition = condition.unwrap_or("no reason given");
    let kind = if condition == "temporary-auth-failure" { Kind::Unavailable } else { Kind::Config };
    let what = format!("the XMPP server refuses the account: check {}", names.account);
    (condition, Error::caused(kind, what, condition.to_owned()))
}

#[cfg(test)]
mod tests;
