//! The log-in of a component (XEP-0114), without I/O.

use sha1::{Digest, Sha1};

use crate::error::{Error, Kind, Result};
use crate::hex;
use crate::model::{BareJid, Jid};

use super::super::settings::ComponentSettings;
use super::super::stream::{StreamError, StreamEvent, StreamHeader};
use super::super::{Element, ns};
use super::{LinkError, LinkResult, LoginStep, stream_error, stream_header, unexpected};
use crate::secret::Secret;

pub(in super::super) struct ComponentLogin {
    jid: BareJid,
    secret: Secret,
    stage: ComponentStage,
}

/// The element that the server must send next.
enum ComponentStage {
    Header,
    /// A stream error: its header had no id.
    Reason,
    /// The reply to our handshake. Then this is our address.
    Handshake(Jid),
}

impl ComponentLogin {
    pub fn new(settings: &ComponentSettings) -> Self {
        Self { jid: settings.jid.clone(), secret: settings.secret.clone(), stage: ComponentStage::Header }
    }

    pub fn open(&self) -> String {
        stream_header(ns::COMPONENT, &self.jid, "")
    }

    pub fn awaited(&self) -> &'static str {
        match self.stage {
            ComponentStage::Header => "a stream header",
            ComponentStage::Reason => "the id of its stream",
            ComponentStage::Handshake(_) => "the reply to our handshake",
        }
    }

    pub fn event(&mut self, event: StreamEvent) -> LinkResult<LoginStep> {
        match (event, &self.stage) {
            (StreamEvent::Opened(header), ComponentStage::Header) => {
                Ok(LoginStep::Send(self.opened(header)?))
            }
            (StreamEvent::Stanza(stanza), ComponentStage::Handshake(jid))
                if stanza.is("handshake", ns::CLIENT) =>
            {
                Ok(LoginStep::Ready(jid.clone(), String::new()))
            }
            (StreamEvent::Failed(error), _) => Err(refused(&error)),
            (event, _) => Err(unexpected(&event, self.awaited()).into()),
        }
    }

    fn opened(&mut self, header: StreamHeader) -> Result<String> {
        let Some(id) = header.id.filter(|id| !id.is_empty()) else {
            self.stage = ComponentStage::Reason;
            return Ok(String::new());
        };
        self.stage = ComponentStage::Handshake(match header.from {
            None => self.jid.clone().into(),
            Some(from) => from.parse().map_err(|error| {
                Error::caused(
                    Kind::Corrupt,
                    "the XMPP server's stream header holds no valid address of the component",
                    error,
                )
            })?,
        });
        let digest = Sha1::new().chain_update(&id).chain_update(self.secret.expose()).finalize();
        Ok(Element::new("handshake", ns::CLIENT).with_text(hex::encode(&digest)).to_xml(ns::CLIENT))
    }
}

fn refused(error: &StreamError) -> LinkError {
    let hint = match error.condition.as_str() {
        "conflict" => return LinkError::AlreadyConnected,
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

    fn machine() -> ComponentLogin {
        ComponentLogin::new(&ComponentSettings {
            host: String::new(),
            port: 0,
            jid: "media.example.com".parse().unwrap(),
            secret: Secret::new("s3cret"),
        })
    }

    fn header(id: &str, from: Option<&str>) -> StreamEvent {
        StreamEvent::Opened(StreamHeader {
            id: Some(id.to_owned()),
            from: from.map(str::to_owned),
            version: None,
        })
    }

    fn failed(condition: &str) -> StreamEvent {
        StreamEvent::Failed(StreamError { condition: condition.to_owned(), text: String::new() })
    }

    #[test]
    fn the_handshake_is_the_digest_of_id_and_secret() {
        let mut machine = machine();
        assert_eq!(
            machine.open(),
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' \
             to='media.example.com'>"
        );
        // printf 3BF96D32s3cret | sha1sum
        let digest = "<handshake>a984b871214a298f0f743fcd25f99b10838ba12b</handshake>";
        let step = machine.event(header("3BF96D32", None)).unwrap();
        assert_eq!(step, LoginStep::Send(digest.to_owned()));
        let step = machine.event(StreamEvent::Stanza(Element::new("handshake", ns::CLIENT))).unwrap();
        assert_eq!(step, LoginStep::Ready("media.example.com".parse().unwrap(), String::new()));
    }

    #[test]
    fn the_server_may_assign_the_address() {
        let mut named = machine();
        named.event(header("1", Some("Other.example.com"))).unwrap();
        let step = named.event(StreamEvent::Stanza(Element::new("handshake", ns::CLIENT))).unwrap();
        assert_eq!(step, LoginStep::Ready("other.example.com".parse().unwrap(), String::new()));
        assert!(machine().event(header("1", Some("no address"))).is_err());
    }

    #[test]
    fn the_error_of_a_refusal_names_the_setting() {
        let refused = |condition| {
            let mut machine = machine();
            machine.event(header("1", None)).unwrap();
            machine.event(failed(condition)).unwrap_err()
        };
        assert!(matches!(refused("conflict"), LinkError::AlreadyConnected));
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
    fn only_the_handshake_reply_is_success() {
        let mut nameless = machine();
        assert_eq!(nameless.event(header("", None)).unwrap(), LoginStep::Send(String::new()));
        assert!(nameless.event(StreamEvent::Stanza(Element::new("handshake", ns::CLIENT))).is_err());
        let error = Error::from(nameless.event(failed("host-unknown")).unwrap_err());
        assert!(error.to_string().contains("knows no component of this name"), "{error}");
        assert!(machine().event(StreamEvent::Stanza(Element::new("handshake", ns::CLIENT))).is_err());
        for event in [
            StreamEvent::Stanza(Element::new("handshake", "other")),
            StreamEvent::Stanza(Element::new("message", ns::CLIENT)),
            StreamEvent::Closed,
            header("2", None),
        ] {
            let mut machine = machine();
            machine.event(header("1", None)).unwrap();
            let error = Error::from(machine.event(event).unwrap_err());
            assert!(error.to_string().contains("instead of the reply to our handshake"), "{error}");
        }
    }
}
