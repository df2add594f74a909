//! The channel services as the account sees them. `check` asks the questions that the server will ask. Runs on the main
//! thread and blocks it.

use super::check::CheckedPart;
use crate::access::DomainRule;
use crate::access::survey::{self, Reply};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{AccessModel, Affiliation, BareJid, Channel, Jid, Need, may};
use crate::xmpp::Conversation;

/// Finds the channel services of the domains that are served, and tries whether they tell the account the affiliations of
/// their channels.
pub(super) fn channels(conversation: &mut Conversation, config: &Config) -> Result<CheckedPart> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for domain in domains(config) {
        match service(conversation, &domain)? {
            Some(service) => found.push(services_channels(conversation, config, &domain, &service)?),
            None => missing.push(domain.to_string()),
        }
    }
    let missing = missing.join(" and ");
    match (found.is_empty(), missing.is_empty()) {
        (true, true) => Ok(CheckedPart::Good("media.domains names none to look for".to_owned())),
        (true, false) => Err(no_service(&missing)),
        (false, true) => Ok(CheckedPart::Good(found.join("; "))),
        (false, false) => {
            Ok(CheckedPart::Doubtful(format!("{}; {}", found.join("; "), no_service(&missing))))
        }
    }
}

/// Explains what a user may do in a channel, and why.
pub(super) fn right(
    conversation: &mut Conversation,
    config: &Config,
    channel: &Channel,
    user: &BareJid,
) -> Result<CheckedPart> {
    serves(config, channel)?;
    let service = service_of(conversation, channel)?;
    let account = conversation.jid().bare().clone();
    let node = config.access.nodes.node(channel);
    let mut ask = |kind: &'static str, to: &Jid, payload| conversation.ask(kind, to, payload);
    let told = match survey::access_model(&mut ask, &service, &node)? {
        Reply::Told(model) => model,
        Reply::Refused(condition) => return Err(refused(&service, &account, (channel, &node), &condition)),
    };
    let read = match told {
        AccessModel::Open => "open, so everybody may read",
        AccessModel::Private => "private",
    };
    let place = format!("{channel} at {service} is {read}");
    if user == channel.jid() {
        return Ok(CheckedPart::Good(format!("{place}; {user} is its own address and may do everything")));
    }
    match survey::affiliation(&mut ask, &service, &node, user)? {
        Reply::Told(affiliation) => {
            Ok(CheckedPart::Good(format!("{place}; {user} is {}", explained(affiliation))))
        }
        Reply::Refused(condition) => Err(refused(&service, &account, (channel, &node), &condition)),
    }
}

/// Fails unless the channel's media are served.
pub(super) fn serves(config: &Config, channel: &Channel) -> Result<()> {
    let domain = channel.domain();
    if config.access.domains.iter().any(|rule| rule.covers(domain)) {
        return Ok(());
    }
    Err(Error::new(Kind::Config, format!("the channels of {domain} are not served: add it to media.domains")))
}

/// The channel service of a channel's domain.
pub(super) fn service_of(conversation: &mut Conversation, channel: &Channel) -> Result<Jid> {
    let domain: Jid =
        channel.domain().parse().map_err(|error| Error::caused(Kind::Config, channel.to_string(), error))?;
    service(conversation, &domain)?.ok_or_else(|| no_service(channel.domain()))
}

fn service(conversation: &mut Conversation, domain: &Jid) -> Result<Option<Jid>> {
    survey::channel_service(&mut |kind, to, payload| conversation.ask(kind, to, payload), domain)
}

/// The account's domain, if it is served, and the domains of `media.domains`, each once.
fn domains(config: &Config) -> Vec<Jid> {
    let own = config.access.service_name.domain();
    let is_served = config.access.domains.iter().any(|rule| rule.covers(own));
    let named = config.access.domains.iter().filter_map(|rule| match rule {
        DomainRule::Below(domain) => Some(domain.as_str()),
        DomainRule::Any => None,
    });
    let mut domains: Vec<Jid> = Vec::new();
    for domain in is_served.then_some(own).into_iter().chain(named).filter_map(|domain| domain.parse().ok()) {
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    domains
}

/// Tries a few channels of a service. On ejabberd each has owners of its own, so one may be readable and another not.
fn services_channels(
    conversation: &mut Conversation,
    config: &Config,
    domain: &Jid,
    service: &Jid,
) -> Result<String> {
    let nodes = &config.access.nodes;
    let account = conversation.jid().bare().clone();
    let mut ask = |kind: &'static str, to: &Jid, payload| conversation.ask(kind, to, payload);
    let found = format!("the channel service of {domain} is {service}");
    let channels = survey::channels(&mut ask, service, domain.bare().domain(), nodes)?;
    for channel in channels.iter().take(limits::CHECKED_CHANNELS) {
        let node = nodes.node(channel);
        match survey::affiliation(&mut ask, service, &node, &account)? {
            Reply::Told(_) => {}
            Reply::Refused(condition) => {
                return Err(refused(service, &account, (channel, &node), &condition));
            }
        }
    }
    Ok(match channels.first() {
        Some(channel) => format!("{found}, which gives {account} the affiliations of {channel}"),
        None => format!("{found}, which lists no channel to check"),
    })
}

fn no_service(domains: &str) -> Error {
    let text = format!(
        "the channel service of {domains} was not found: the XMPP server needs a pubsub service, and must list it in the service \
         discovery of the domain"
    );
    Error::new(Kind::Failure, text)
}

/// The error of a service that does not answer the account.
fn refused(service: &Jid, account: &BareJid, (channel, node): (&Channel, &str), condition: &str) -> Error {
    let text = if condition == "item-not-found" {
        format!("{service} has no channel {channel}; `buddycloud-media-server channel create` makes channels")
    } else {
        format!(
            "{service} does not give {account} the affiliations of {channel} ({condition}): make {account} an owner of the node \
             {node}, or in Prosody an admin of {service}"
        )
    };
    Error::new(Kind::Failure, text)
}

/// The affiliation, and what follows from it.
fn explained(affiliation: Affiliation) -> String {
    let word = format!("{affiliation:?}").to_ascii_lowercase();
    let answer = |need: &Need, what: &str| {
        format!("{} {what}", if may(affiliation, need) { "may" } else { "may not" })
    };
    format!(
        "{word}: {}, {}, {}",
        answer(&Need::Read, "read private media"),
        answer(&Need::Publish, "upload"),
        answer(&Need::Modify { author: None }, "change or delete what others uploaded")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_explained_from_the_table_of_permissions() {
        assert_eq!(
            explained(Affiliation::Publisher),
            "publisher: may read private media, may upload, may not change or delete what others uploaded"
        );
        assert!(explained(Affiliation::None).starts_with("none: may not read"));
    }

    #[test]
    fn a_missing_channel_and_a_missing_right_are_told_apart() {
        let (service, account) = ("channels.example.com".parse().unwrap(), "m@example.com".parse().unwrap());
        let channel = ("room@example.com".parse().unwrap(), "/user/room@example.com/posts");
        let told = |condition| refused(&service, &account, (&channel.0, channel.1), condition).to_string();
        assert!(told("item-not-found").contains("has no channel room@example.com"));
        assert!(
            told("forbidden")
                .contains("make m@example.com an owner of the node /user/room@example.com/posts")
        );
    }
}
