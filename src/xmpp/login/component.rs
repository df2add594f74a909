//! The log-in of a component (XEP-0114).

use sha1::{Digest, Sha1};

use crate::error::{Error, Kind, Result};
use crate::model::{BareJid, Jid};

use super::super::settings::ComponentSettings;
use super::super::stream::{Event, Header, StreamError};
use super::super::{Element, ns};
use super::{Broken, Outcome, Step, stream_error, stream_header, unexpected};
use crate::secret::Secret;

/// The machine: header, handshake, done.
pub(in super::super) struct Component {
    jid: BareJid,
    secret: Secret,
    stage: Stage,
}

/// What the server owes us.
enum Stage {
    Header,
    /// Its stream has no id: the reason follows.
    Reason,
    /// The answer to our handshake, and then this is our address.
    Handshake(Jid),
}

impl Component {
    pub fn new(settings: &ComponentSettings) -> Self {
        Self { jid: settings.jid.clone(), secret: settings.secret.clone(), stage: Stage::Header }
    }

    pub fn open(&self) -> String {
        stream_header(ns::COMPONENT, &self.jid, "")
    }

    pub fn awaited(&self) -> &'static str {
        match self.stage {
            Stage::Header => "a stream header",
            Stage::Reason => "the id of its stream",
            Stage::Handshake(_) => "the answer to our handshake",
        }
    }

    pub fn event(&mut self, event: Event) -> Outcome<Step> {
        match (event, &self.stage) {
            (Event::Opened(header), Stage::Header) => Ok(Step::Send(self.opened(header)?)),
            (Event::Stanza(stanza), Stage::Handshake(jid)) if stanza.is("handshake", ns::CLIENT) => {
                Ok(Step::Ready(jid.clone(), String::new()))
            }
            (Event::Failed(error), _) => Err(refused(&error)),
            (event, _) => Err(unexpected(&event, self.awaited()).into()),
        }
    }

    fn opened(&mut self, header: Header) -> Result<String> {
        let Some(id) = header.id.filter(|id| !id.is_empty()) else {
            self.stage = Stage::Reason;
            return Ok(String::new());
        };
        self.stage = Stage::Handshake(match header.from {
            None => self.jid.clone().into(),
            Some(from) => from.parse().map_err(|error| {
                Error::caused(
                    Kind::Corrupt,
                    "the XMPP server's stream to the component names no address",
                    error,
                )
            })?,
        });
        let digest = Sha1::new().chain_update(&id).chain_update(self.secret.expose()).finalize();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Element::new("handshake", ns::CLIENT).with_text(hex).to_xml(ns::CLIENT))
    }
}

fn refused(error: &StreamError) -> Broken {
    let hint = match error.condition.as_str() {
        "conflict" => return Broken::AlreadyConnected,
        "not-authorized" => {
            "the XMPP server refuses the component's secret: xmpp.component.secretkey must equal its own (in \
             Prosody component_secret below the Component)"
        }
        "host-unknown" => {
            "the XMPP server knows no component of this name: it needs one (in Prosody Component \"NAME\" with \
             component_secret), or xmpp.component.subdomain, .servername or .port are wrong"
        }
        "invalid-namespace" => {
            "the XMPP server takes no components on this port: xmpp.component.port must be its component port"
        }
        _ => {
            let hint = "the XMPP server ends the component's stream";
            return stream_error(Kind::Unavailable, hint, error).into();
        }
    };
    stream_error(Kind::Config, hint, error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Component {
        Component::new(&ComponentSettings {
            host: String::new(),
            port: 0,
            jid: "media.example.com".parse().unwrap(),
            secret: Secret::new("s3cret"),
        })
    }

    fn header(id: &str, from: Option<&str>) -> Event {
        Event::Opened(Header { id: Some(id.to_owned()), from: from.map(str::to_owned), version: None })
    }

    fn failed(condition: &str) -> Event {
        Event::Failed(StreamError { condition: condition.to_owned(), text: String::new() })
    }

    #[test]
    fn the_secret_is_proved_by_its_digest() {
        let mut machine = machine();
        assert_eq!(
            machine.open(),
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' \
             to='media.example.com'>"
        );
        // printf 3BF96D32s3cret | sha1sum
        let digest = "<handshake>a984b871214a298f0f743fcd25f99b10838ba12b</handshake>";
        let step = machine.event(header("3BF96D32", None)).unwrap();
        assert_eq!(step, Step::Send(digest.to_owned()));
        let step = machine.event(Event::Stanza(Element::new("handshake", ns::CLIENT))).unwrap();
        assert_eq!(step, Step::Ready("media.example.com".parse().unwrap(), String::new()));
    }

    #[test]
    fn the_server_may_name_us() {
        let mut named = machine();
        named.event(header("1", Some("Other.example.com"))).unwrap();
        let step = named.event(Event::Stanza(Element::new("handshake", ns::CLIENT))).unwrap();
        assert_eq!(step, Step::Ready("other.example.com".parse().unwrap(), String::new()));
        assert!(machine().event(header("1", Some("no address"))).is_err());
    }

    #[test]
    fn a_refusal_says_what_to_check() {
        let refused = |condition| {
            let mut machine = machine();
            machine.event(header("1", None)).unwrap();
            machine.event(failed(condition)).unwrap_err()
        };
        assert!(matches!(refused("conflict"), Broken::AlreadyConnected));
        for (condition, word) in [
            ("not-authorized", "xmpp.component.secretkey"),
            ("host-unknown", "xmpp.component.subdomain"),
            ("invalid-namespace", "xmpp.component.port"),
        ] {
            let error = Error::from(refused(condition));
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains(word), "{error}");
        }
        assert_eq!(Error::from(refused("system-shutdown")).kind(), Kind::Unavailable);
    }

    #[test]
    fn nothing_else_counts_as_success() {
        let mut nameless = machine();
        assert_eq!(nameless.event(header("", None)).unwrap(), Step::Send(String::new()));
        assert!(nameless.event(Event::Stanza(Element::new("handshake", ns::CLIENT))).is_err());
        let error = Error::from(nameless.event(failed("host-unknown")).unwrap_err());
        assert!(error.to_string().contains("knows no component of this name"), "{error}");
        assert!(machine().event(Event::Stanza(Element::new("handshake", ns::CLIENT))).is_err());
        for event in [
            Event::Stanza(Element::new("handshake", "other")),
            Event::Stanza(Element::new("message", ns::CLIENT)),
            Event::Closed,
            header("2", None),
        ] {
            let mut machine = machine();
            machine.event(header("1", None)).unwrap();
            let error = Error::from(machine.event(event).unwrap_err());
            assert!(error.to_string().contains("instead of the answer to our handshake"), "{error}");
        }
    }
}
