//! The command `channel create`: makes the pubsub node of a channel. Runs on the main thread and blocks it.

use std::io::Write;

use super::{say, sight};
use crate::access::survey::{self, Reply};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Affiliation, BareJid, Channel, Jid};
use crate::secret::Secret;
use crate::xmpp::{ClientSettings, Conversation, Element, SettingNames, Times, ns};

/// A channel that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewChannel {
    /// Its address.
    pub channel: Channel,
    /// The user who owns it.
    pub owner: BareJid,
    /// Whether only those with an affiliation may read it.
    pub private: bool,
    /// The account that makes it and its password, instead of the server's own.
    pub creator: Option<(BareJid, Secret)>,
}

/// Makes a channel at the channel service of its domain, over TLS as the settings say. The server's account becomes one of
/// its owners, for some services tell affiliations to owners only.
///
/// # Errors
/// If the channel is not made: it does not exist, or has not changed.
pub fn create_channel(config: &Config, new: &NewChannel, out: &mut dyn Write) -> Result<()> {
    sight::serves(config, &new.channel)?;
    let mut conversation = Conversation::log_in(account(config, new), Times::default())?;
    let made = sight::service_of(&mut conversation, &new.channel).and_then(|service| {
        let node = config.access.nodes.node(&new.channel);
        Making { conversation: &mut conversation, service, node, new }.make(&own(config))
    });
    conversation.close();
    say(out, &made?);
    Ok(())
}

/// How the account logs in that makes the channel.
fn account(config: &Config, new: &NewChannel) -> ClientSettings {
    let own = ClientSettings {
        // So that the running server keeps its session.
        resource: format!("{}-channel", limits::XMPP_RESOURCE),
        available: true,
        names: SettingNames::SERVER,
        ..config.xmpp.client.clone()
    };
    let Some((jid, password)) = &new.creator else { return own };
    ClientSettings {
        username: jid.local().unwrap_or_default().to_owned(),
        service: jid.domain().parse().unwrap_or(own.service),
        password: password.clone(),
        ..own
    }
}

/// The address of the server's own account.
fn own(config: &Config) -> String {
    format!("{}@{}", config.xmpp.client.username, config.xmpp.client.service)
}

struct Making<'a> {
    conversation: &'a mut Conversation,
    service: Jid,
    /// The node of the channel.
    node: String,
    new: &'a NewChannel,
}

impl Making<'_> {
    /// Makes the node and gives it its owners; what was done, in words.
    fn make(mut self, account: &str) -> Result<String> {
        let (channel, owner, service) = (&self.new.channel, &self.new.owner, self.service.clone());
        let creator = self.conversation.jid().bare().to_string();
        if let Some(condition) = self.set(create(&self.node, self.new.private))? {
            return Err(not_made(channel, &service, &creator, &condition));
        }
        let mut owners = vec![owner.to_string()];
        owners.extend((owner.as_str() != account).then(|| account.to_owned()));
        if let Err(error) = self.give_to(&owners, &creator) {
            // If this fails, the message of the first failure helps more.
            let _ = self.set(delete(&self.node));
            return Err(error);
        }
        let access = if self.new.private { "private" } else { "open" };
        Ok(format!("{channel} is made at {service}: {access}, owned by {}", owners.join(" and ")))
    }

    /// Makes these addresses owners, and asks whether they are. The creator is one already.
    fn give_to(&mut self, owners: &[String], creator: &str) -> Result<()> {
        let (channel, service) = (&self.new.channel, self.service.clone());
        let others: Vec<_> = owners.iter().filter(|owner| *owner != creator).collect();
        let refused = |why: &str| {
            let text = format!("{service} does not make {} the owner of {channel}: {why}", self.new.owner);
            Err(Error::new(Kind::Failure, text))
        };
        if !others.is_empty()
            && let Some(condition) = self.set(affiliations(&self.node, &others))?
        {
            return refused(&condition);
        }
        let (owner, node) = (&self.new.owner, self.node.clone());
        let mut ask = |kind: &'static str, to: &Jid, payload| self.conversation.ask(kind, to, payload);
        match survey::affiliation(&mut ask, &self.service, &node, owner)? {
            Reply::Told(Affiliation::Owner) => Ok(()),
            Reply::Told(other) => refused(&format!("it is {other:?} afterwards")),
            Reply::Refused(condition) => refused(&condition),
        }
    }

    /// Sends an IQ of type `set`; the condition of the error, if the service refuses.
    fn set(&mut self, payload: Element) -> Result<Option<String>> {
        let reply = self.conversation.ask("set", &self.service, payload)?;
        let silence = || Error::new(Kind::Unavailable, format!("{} did not reply in time", self.service));
        Ok(survey::error_condition(&reply.ok_or_else(silence)?))
    }
}

fn not_made(channel: &Channel, service: &Jid, creator: &str, condition: &str) -> Error {
    let text = match condition {
        "conflict" => format!("{service} has the channel {channel} already; nothing is changed"),
        "forbidden" | "not-allowed" | "not-authorized" => format!(
            "{service} does not let {creator} make channels ({condition}): in Prosody name the account in the admins of {service}, \
             in ejabberd in access_createnode; or use an account that may, with --as"
        ),
        _ => format!("{service} does not make the channel {channel}: {condition}"),
    };
    Error::new(Kind::Failure, text)
}

/// The request to create a node and to configure it (XEP-0060 section 8.1.3).
fn create(node: &str, private: bool) -> Element {
    let field = |name: &str, value: &str| {
        let value = Element::new("value", ns::DATA_FORMS).with_text(value);
        Element::new("field", ns::DATA_FORMS).with("var", name).with_child(value)
    };
    let form = Element::new("x", ns::DATA_FORMS)
        .with("type", "submit")
        .with_child(field("FORM_TYPE", NODE_CONFIG).with("type", "hidden"))
        .with_child(field("pubsub#access_model", if private { "whitelist" } else { "open" }))
        .with_child(field("pubsub#publish_model", "publishers"))
        .with_child(field("pubsub#persist_items", "1"));
    Element::new("pubsub", ns::PUBSUB)
        .with_child(Element::new("create", ns::PUBSUB).with("node", node))
        .with_child(Element::new("configure", ns::PUBSUB).with_child(form))
}

/// The form of a node's configuration (XEP-0060 section 8.2).
const NODE_CONFIG: &str = "http://jabber.org/protocol/pubsub#node_config";

/// The request to make these addresses owners (XEP-0060 section 8.9.2).
fn affiliations(node: &str, owners: &[&String]) -> Element {
    let mut list = Element::new("affiliations", ns::PUBSUB_OWNER).with("node", node);
    for owner in owners {
        let entry = Element::new("affiliation", ns::PUBSUB_OWNER);
        list.push(entry.with("jid", owner.as_str()).with("affiliation", "owner"));
    }
    Element::new("pubsub", ns::PUBSUB_OWNER).with_child(list)
}

/// The request to delete a node (XEP-0060 section 8.4).
fn delete(node: &str) -> Element {
    let delete = Element::new("delete", ns::PUBSUB_OWNER).with("node", node);
    Element::new("pubsub", ns::PUBSUB_OWNER).with_child(delete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_made_with_its_configuration() {
        let node = "/user/room@example.com/posts";
        let xml = create(node, true).to_xml(ns::PUBSUB);
        for part in [
            "<pubsub><create node='/user/room@example.com/posts'/>",
            "<field var='pubsub#access_model'><value>whitelist</value></field>",
            "<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#node_config</value></field>",
        ] {
            assert!(xml.contains(part), "{xml}");
        }
        assert!(create(node, false).to_xml(ns::PUBSUB).contains("<value>open</value>"));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let told = |condition| {
            let (channel, service) =
                ("room@example.com".parse().unwrap(), "pubsub.example.com".parse().unwrap());
            not_made(&channel, &service, "m@example.com", condition).to_string()
        };
        assert!(told("conflict").contains("already"));
        assert!(told("forbidden").contains("access_createnode") && told("forbidden").contains("--as"));
        assert!(told("bad-request").ends_with(": bad-request"));
    }
}
