//! The log-in of a client (RFC 6120): STARTTLS, SASL, resource binding.

use crate::error::{Error, Kind, Result};
use crate::model::{BareJid, Jid};

use super::super::sasl::{Exchange, Mechanism};
use super::super::settings::{ClientSettings, Security};
use super::super::stream::{Event, Header, shortened};
use super::super::{Element, ns};
use super::{Step, stream_error, stream_header, unexpected};
use crate::secret::Secret;

const BIND_ID: &str = "bind";
const SESSION_ID: &str = "session";

/// The machine.
pub(in super::super) struct Client {
    service: BareJid,
    username: String,
    password: Secret,
    resource: String,
    security: Security,
    encrypted: bool,
    stage: Stage,
}

/// What the server owes us.
enum Stage {
    /// A stream header, then features.
    Header {
        authenticated: bool,
    },
    Features {
        authenticated: bool,
    },
    /// Leave to begin TLS.
    Proceed,
    /// A challenge, success or failure.
    Sasl(Exchange),
    /// Our address; the session request of RFC 3921 follows where the server insists on it.
    Bind {
        session: bool,
    },
    Session(Jid),
    /// Nothing: the machine is at its end.
    Nothing,
}

impl Client {
    pub fn new(settings: &ClientSettings) -> Self {
        Self {
            service: settings.service.clone(),
            username: settings.username.clone(),
            password: settings.password.clone(),
            resource: settings.resource.clone(),
            security: settings.security,
            encrypted: false,
            stage: Stage::Header { authenticated: false },
        }
    }

    pub fn open(&self) -> String {
        let header = stream_header(ns::CLIENT, &self.service, " version='1.0'");
        format!("<?xml version='1.0'?>{header}")
    }

    pub fn secured(&mut self) -> String {
        self.encrypted = true;
        self.stage = Stage::Header { authenticated: false };
        self.open()
    }

    pub fn awaited(&self) -> &'static str {
        match self.stage {
            Stage::Header { .. } => "a stream header",
            Stage::Features { .. } => "stream features",
            Stage::Proceed => "the answer to STARTTLS",
            Stage::Sasl(_) => "the answer to our authentication",
            Stage::Bind { .. } => "the answer to resource binding",
            Stage::Session(_) => "the answer to the session request",
            Stage::Nothing => "nothing",
        }
    }

    pub fn event(&mut self, event: Event) -> Result<Step> {
        let awaited = self.awaited();
        match (std::mem::replace(&mut self.stage, Stage::Nothing), event) {
            (Stage::Header { authenticated }, Event::Opened(header)) => {
                self.stage = Stage::Features { authenticated };
                versioned(&header)
            }
            (Stage::Features { authenticated }, Event::Stanza(features))
                if features.is("features", ns::STREAM) =>
            {
                self.features(&features, authenticated)
            }
            (Stage::Proceed, Event::Stanza(answer)) if answer.namespace() == ns::TLS => proceed(&answer),
            (Stage::Sasl(exchange), Event::Stanza(answer)) if answer.namespace() == ns::SASL => {
                self.sasl(exchange, &answer)
            }
            (Stage::Bind { session }, Event::Stanza(answer)) if is_answer(&answer, BIND_ID) => {
                self.bound(&answer, session)
            }
            (Stage::Session(jid), Event::Stanza(answer)) if is_answer(&answer, SESSION_ID) => {
                succeeded(&answer, "a session")?;
                Ok(ready(jid))
            }
            // Stanzas may come as soon as a resource is bound.
            (stage @ (Stage::Bind { .. } | Stage::Session(_)), Event::Stanza(_)) => {
                self.stage = stage;
                Ok(Step::Send(String::new()))
            }
            (_, Event::Failed(error)) if error.condition == "host-unknown" => {
                let what = "the XMPP server is not that of xmpp.connection.servicename, or .port is not its client port";
                Err(stream_error(Kind::Config, what, &error))
            }
            (_, event) => Err(unexpected(&event, awaited)),
        }
    }

    fn features(&mut self, features: &Element, authenticated: bool) -> Result<Step> {
        if authenticated {
            return self.bind(features);
        }
        let starttls = features.child("starttls", ns::TLS);
        match (self.encrypted, self.security, starttls) {
            (false, Security::Required, None) => Err(Error::new(
                Kind::Config,
                "the XMPP server offers no TLS, but xmpp.connection.securitymode is required",
            )),
            (false, Security::Disabled, Some(offer)) if offer.child("required", ns::TLS).is_some() => {
                let what = "the XMPP server insists on TLS, but xmpp.connection.securitymode is disabled";
                Err(Error::new(Kind::Config, what))
            }
            (false, Security::Enabled | Security::Required, Some(_)) => {
                self.stage = Stage::Proceed;
                Ok(Step::Send(Element::new("starttls", ns::TLS).to_xml(ns::CLIENT)))
            }
            _ => self.authenticate(features),
        }
    }

    fn authenticate(&mut self, features: &Element) -> Result<Step> {
        let offer = features.child("mechanisms", ns::SASL);
        let offered: Vec<_> = offer.into_iter().flat_map(Element::children).map(Element::text).collect();
        let plain_allowed = self.encrypted || self.security == Security::Disabled;
        let Some(mechanism) = Mechanism::choose(&offered, plain_allowed) else {
            return Err(no_mechanism(&offered, plain_allowed));
        };
        let exchange = Exchange::new(mechanism, &self.username, &self.password)?;
        let auth = Element::new("auth", ns::SASL).with("mechanism", exchange.name());
        let step = Step::Send(auth.with_text(exchange.initial()).to_xml(ns::CLIENT));
        self.stage = Stage::Sasl(exchange);
        Ok(step)
    }

    fn sasl(&mut self, mut exchange: Exchange, answer: &Element) -> Result<Step> {
        match answer.name() {
            "challenge" => {
                let response = exchange.challenge(answer.text())?;
                self.stage = Stage::Sasl(exchange);
                Ok(Step::Send(Element::new("response", ns::SASL).with_text(response).to_xml(ns::CLIENT)))
            }
            "success" => {
                exchange.success(answer.text())?;
                self.stage = Stage::Header { authenticated: true };
                Ok(Step::Restart(self.open()))
            }
            _ => Err(denied(answer)),
        }
    }

    fn bind(&mut self, features: &Element) -> Result<Step> {
        if features.child("bind", ns::BIND).is_none() {
            return Err(Error::new(Kind::Corrupt, "the XMPP server offers no resource binding"));
        }
        let session = features.child("session", ns::SESSION);
        let session = session.is_some_and(|offer| offer.child("optional", ns::SESSION).is_none());
        self.stage = Stage::Bind { session };
        let resource = Element::new("resource", ns::BIND).with_text(&self.resource);
        Ok(request(BIND_ID, Element::new("bind", ns::BIND).with_child(resource)))
    }

    fn bound(&mut self, answer: &Element, session: bool) -> Result<Step> {
        succeeded(answer, "a resource")?;
        let jid = answer.child("bind", ns::BIND).and_then(|bind| bind.child("jid", ns::BIND));
        let Some(jid) = jid.and_then(|jid| jid.text().parse().ok()) else {
            return Err(Error::new(Kind::Corrupt, "the XMPP server bound no address"));
        };
        if !session {
            return Ok(ready(jid));
        }
        self.stage = Stage::Session(jid);
        Ok(request(SESSION_ID, Element::new("session", ns::SESSION)))
    }
}

fn versioned(header: &Header) -> Result<Step> {
    let major = header.version.as_deref().and_then(|version| version.split('.').next());
    if major.and_then(|major| major.parse().ok()).is_some_and(|major: u32| major >= 1) {
        return Ok(Step::Send(String::new()));
    }
    let what = "the XMPP server does not speak XMPP 1.0 (RFC 6120): is xmpp.connection.port its client port?";
    Err(Error::new(Kind::Config, what))
}

fn proceed(answer: &Element) -> Result<Step> {
    if answer.name() == "proceed" {
        return Ok(Step::StartTls);
    }
    Err(Error::new(Kind::Unavailable, "the XMPP server offered TLS and now refuses it"))
}

fn request(id: &str, payload: Element) -> Step {
    let iq = Element::new("iq", ns::CLIENT).with("type", "set").with("id", id).with_child(payload);
    Step::Send(iq.to_xml(ns::CLIENT))
}

fn ready(jid: Jid) -> Step {
    Step::Ready(jid, Element::new("presence", ns::CLIENT).to_xml(ns::CLIENT))
}

fn is_answer(stanza: &Element, id: &str) -> bool {
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
    let hint = if plain_allowed { "" } else { ", and PLAIN is not for connections without TLS" };
    let what = format!(
        "the XMPP server offers none of SCRAM-SHA-256, SCRAM-SHA-1 and PLAIN (but: {}{hint})",
        shortened(&offered)
    );
    Error::new(Kind::Config, what)
}

fn denied(answer: &Element) -> Error {
    let condition = answer.children().map(Element::name).find(|name| *name != "text");
    let condition = condition.unwrap_or("no reason given").to_owned();
    let kind = if condition == "temporary-auth-failure" { Kind::Unavailable } else { Kind::Config };
    let what =
        "the XMPP server refuses the account: check xmpp.connection.username, .password and .servicename";
    Error::caused(kind, what, condition)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::super::super::stream::{Stream, StreamError};
    use super::*;

    const SCRAM: &str = "<mechanism>PLAIN</mechanism><mechanism>SCRAM-SHA-1</mechanism>";
    const PLAIN: &str = "<mechanism>PLAIN</mechanism>";

    fn machine(security: Security) -> Client {
        Client::new(&ClientSettings {
            host: String::new(),
            port: 0,
            service: "example.com".parse().unwrap(),
            username: "media".to_owned(),
            password: Secret::new("pencil"),
            security,
            ca: None,
            resource: "here".to_owned(),
        })
    }

    /// What the machine makes of this XML from the server.
    fn take(machine: &mut Client, xml: &str) -> Result<Step> {
        let mut stream = Stream::new(ns::CLIENT);
        stream.feed(format!("<s:stream xmlns:s='{}' xmlns='{}'>{xml}", ns::STREAM, ns::CLIENT).as_bytes());
        stream.next_event().unwrap();
        machine.event(stream.next_event().unwrap().expect("a stanza"))
    }

    fn header() -> Event {
        Event::Opened(Header { version: Some("1.0".to_owned()), ..Header::default() })
    }

    /// The machine's answer to these features on a fresh stream.
    fn features(machine: &mut Client, features: &str) -> Result<Step> {
        assert_eq!(machine.event(header()).unwrap(), Step::Send(String::new()));
        take(machine, &format!("<s:features>{features}</s:features>"))
    }

    fn mechanisms(list: &str) -> String {
        format!("<mechanisms xmlns='{}'>{list}</mechanisms>", ns::SASL)
    }

    fn starttls(inside: &str) -> String {
        format!("<starttls xmlns='{}'>{inside}</starttls>", ns::TLS)
    }

    fn sasl(name: &str, text: &str) -> String {
        format!("<{name} xmlns='{}'>{text}</{name}>", ns::SASL)
    }

    fn sent(step: Result<Step>) -> String {
        match step {
            Ok(Step::Send(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    /// A machine that has authenticated itself.
    fn authenticated() -> Client {
        let mut machine = machine(Security::Disabled);
        features(&mut machine, &mechanisms(PLAIN)).unwrap();
        let step = take(&mut machine, &sasl("success", "")).unwrap();
        assert_eq!(step, Step::Restart(machine.open()));
        machine
    }

    #[test]
    fn tls_comes_before_authentication() {
        for security in [Security::Enabled, Security::Required] {
            let mut machine = machine(security);
            let offer = starttls("") + &mechanisms(SCRAM);
            let answer = sent(features(&mut machine, &offer));
            assert_eq!(answer, format!("<starttls xmlns='{}'/>", ns::TLS));
            assert_eq!(
                take(&mut machine, &format!("<proceed xmlns='{}'/>", ns::TLS)).unwrap(),
                Step::StartTls
            );
            assert!(machine.secured().starts_with("<?xml version='1.0'?><stream:stream "));
            assert!(sent(features(&mut machine, &mechanisms(SCRAM))).contains("mechanism='SCRAM-SHA-1'"));
        }
    }

    #[test]
    fn required_tls_that_is_not_offered_ends_it() {
        let error = features(&mut machine(Security::Required), &mechanisms(SCRAM)).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        let insists = starttls("<required/>") + &mechanisms(SCRAM);
        assert!(features(&mut machine(Security::Disabled), &insists).is_err());
        let offers = starttls("") + &mechanisms(SCRAM);
        assert!(sent(features(&mut machine(Security::Disabled), &offers)).contains("SCRAM-SHA-1"));
    }

    #[test]
    fn refused_tls_ends_it() {
        let mut machine = machine(Security::Enabled);
        features(&mut machine, &starttls("")).unwrap();
        assert!(take(&mut machine, &format!("<failure xmlns='{}'/>", ns::TLS)).is_err());
    }

    #[test]
    fn the_password_is_not_sent_in_the_clear_unless_that_is_asked_for() {
        assert!(features(&mut machine(Security::Enabled), &mechanisms(PLAIN)).is_err());
        assert!(sent(features(&mut machine(Security::Disabled), &mechanisms(PLAIN))).contains("'PLAIN'"));
        assert!(
            sent(features(&mut machine(Security::Enabled), &mechanisms(SCRAM))).contains("'SCRAM-SHA-1'")
        );
    }

    #[test]
    fn the_exchange_goes_to_its_end() {
        let mut machine = machine(Security::Enabled);
        let auth = sent(features(&mut machine, &mechanisms(SCRAM)));
        let initial = auth.split('>').nth(1).unwrap().split('<').next().unwrap();
        let first = String::from_utf8(STANDARD.decode(initial).unwrap()).unwrap();
        let nonce = first.rsplit("r=").next().unwrap();
        let challenge = STANDARD.encode(format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i=4096"));
        assert!(sent(take(&mut machine, &sasl("challenge", &challenge))).starts_with("<response "));
        let forged = STANDARD.encode("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
        let error = take(&mut machine, &sasl("success", &forged)).unwrap_err();
        assert!(error.to_string().contains("wrong signature"), "{error}");
    }

    #[test]
    fn success_out_of_the_blue_is_refused() {
        let mut machine = machine(Security::Enabled);
        features(&mut machine, &mechanisms(SCRAM)).unwrap();
        assert!(take(&mut machine, &sasl("success", "")).is_err());
    }

    #[test]
    fn a_wrong_password_is_the_operators_to_mend() {
        for (condition, kind) in [
            ("<not-authorized/>", Kind::Config),
            ("<text>x</text><account-disabled/>", Kind::Config),
            ("<temporary-auth-failure/>", Kind::Unavailable),
        ] {
            let mut machine = machine(Security::Enabled);
            features(&mut machine, &mechanisms(SCRAM)).unwrap();
            let error = take(&mut machine, &sasl("failure", condition)).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!error.to_string().contains("pencil"));
        }
    }

    #[test]
    fn a_resource_is_bound_and_presence_sent() {
        let mut machine = authenticated();
        let bind = sent(features(&mut machine, &format!("<bind xmlns='{}'/>", ns::BIND)));
        assert_eq!(
            bind,
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>here</resource></bind></iq>"
        );
        assert_eq!(sent(take(&mut machine, "<message/>")), "");
        let jid = "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                   <jid>media@example.com/other</jid></bind></iq>";
        let ready = Step::Ready("media@example.com/other".parse().unwrap(), "<presence/>".to_owned());
        assert_eq!(take(&mut machine, jid).unwrap(), ready);
    }

    #[test]
    fn a_session_is_asked_for_only_where_it_must_be() {
        let jid = "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                   <jid>media@example.com/other</jid></bind></iq>";
        let offer = |inside: &str| {
            format!("<bind xmlns='{}'/><session xmlns='{}'>{inside}</session>", ns::BIND, ns::SESSION)
        };
        let mut modern = authenticated();
        features(&mut modern, &offer("<optional/>")).unwrap();
        assert!(matches!(take(&mut modern, jid), Ok(Step::Ready(..))));
        let mut old = authenticated();
        features(&mut old, &offer("")).unwrap();
        assert!(sent(take(&mut old, jid)).contains(ns::SESSION));
        assert!(matches!(take(&mut old, "<iq type='result' id='session'/>"), Ok(Step::Ready(..))));
    }

    #[test]
    fn a_refused_resource_ends_it() {
        let mut machine = authenticated();
        features(&mut machine, &format!("<bind xmlns='{}'/>", ns::BIND)).unwrap();
        let refusal =
            format!("<iq type='error' id='bind'><error><conflict xmlns='{}'/></error></iq>", ns::STANZAS);
        let error = take(&mut machine, &refusal).unwrap_err();
        assert!(error.to_string().ends_with("refuses us a resource: conflict"), "{error}");
        assert!(features(&mut authenticated(), "").is_err());
    }

    #[test]
    fn what_is_out_of_order_ends_it() {
        let old = Event::Opened(Header::default());
        assert!(machine(Security::Enabled).event(old).is_err());
        assert!(take(&mut machine(Security::Enabled), "<s:features/>").is_err());
        assert!(machine(Security::Enabled).event(Event::Closed).is_err());
        let mut machine = machine(Security::Enabled);
        features(&mut machine, &starttls("")).unwrap();
        assert!(take(&mut machine, &sasl("success", "")).is_err());
        let unknown = StreamError { condition: "host-unknown".to_owned(), text: "x".to_owned() };
        let error = machine.event(Event::Failed(unknown)).unwrap_err();
        assert!(error.to_string().ends_with("client port: host-unknown (x)"), "{error}");
    }
}
