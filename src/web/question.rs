//! The question to the gate: what a request wants to do, who sends it, and what the user is told of it.

use super::sender::{Sender, limited_client};
use super::ticket::{TicketTerms, is_origin_of};
use super::{Action, Parked, Web};
use crate::access::{Intent, Item, Request};
use crate::http::Exchange;
use crate::media::Name;
use crate::model::{BareJid, Media, MediaId, Need, Refusal};
use crate::tickets::Scope;

impl Web {
    /// The question to the gate; `None` if everybody may do this.
    pub(super) fn need(&self, parked: &mut Parked) -> Result<Option<Request>, Refusal> {
        let Parked { exchange, channel, action, proof, meant, terms, head } = parked;
        if action.reads() && self.door.is_public(channel) {
            return Ok(None);
        }
        // Before anything else is said of the request or its channel.
        if !self.door.serves(channel) {
            return Err(Refusal::NotServed);
        }
        if matches!(action, Action::Download(Name::Avatar) | Action::Metadata(Name::Avatar)) {
            return Ok(None);
        }
        let sender = self.sender(exchange, channel, action, proof);
        if let Some(jid) = sender.claimed() {
            exchange.note_claimed(&jid);
        }
        let need = match action {
            Action::List | Action::Download(_) | Action::Metadata(_) | Action::Ticket(Scope::Read) => {
                Need::Read
            }
            Action::Upload | Action::SetAvatar | Action::Ticket(Scope::Post) => Need::Publish,
            Action::Update(name) | Action::Delete(name) => {
                // A request without credentials is refused, whatever the author.
                let media = if sender.is_named() { self.library.find(channel, name)? } else { None };
                *meant = media.as_ref().map(|media| media.id.clone());
                need_to_modify(&sender, media.as_ref())?
            }
        };
        // A request that can't succeed causes no prompt.
        match action {
            Action::Upload | Action::SetAvatar | Action::Update(_) if sender.is_named() => {
                self.check_form(exchange)?;
            }
            Action::Ticket(_) if sender.is_named() => *terms = Some(self.ticket_terms(exchange)?),
            _ => {}
        }
        *head = sender.head;
        let url = self.confirmed_url(exchange);
        Ok(Some(Request {
            channel: channel.clone(),
            need,
            credentials: sender.credentials,
            known: sender.known,
            needs_user: matches!(action, Action::Ticket(_)),
            client: limited_client(exchange),
            method: exchange.method(),
            intent: intent(action, meant.as_ref(), terms.as_ref()),
            address: exchange.client().limited.then(|| exchange.client().address),
            origin: foreign_origin(exchange.header("Origin"), &url),
            url,
        }))
    }

    /// The URL that the sender is asked to confirm: never with the query, which may hold credentials.
    fn confirmed_url(&self, exchange: &Exchange) -> String {
        let path = exchange.path();
        match &self.settings().endpoint {
            Some(endpoint) => format!("{endpoint}{path}"),
            None => format!("{}://{}{path}", exchange.scheme(), exchange.host().unwrap_or("localhost")),
        }
    }
}

/// The right to change or delete this media. By a ticket a user changes their own, as long as they may upload.
fn need_to_modify(sender: &Sender, media: Option<&Media>) -> Result<Need, Refusal> {
    let author: Option<BareJid> = media.and_then(|media| media.author.parse().ok());
    match &sender.known {
        Some(user) if media.is_some() && author.as_ref() != Some(user) => Err(Refusal::NotYours),
        Some(_) => Ok(Need::Publish),
        None => Ok(Need::Modify { author }),
    }
}

/// The intent of the request in words for the user.
fn intent(action: &Action, media: Option<&MediaId>, terms: Option<&TicketTerms>) -> Intent {
    let item = |name: &Name| match (name, media) {
        (Name::Avatar, _) => Item::Avatar,
        (Name::Id(_), Some(id)) => Item::Media(id.clone()),
        (Name::Id(_), None) => Item::Unknown,
    };
    match action {
        Action::List => Intent::List,
        Action::Download(_) | Action::Metadata(_) => Intent::Read,
        Action::Upload => Intent::Upload,
        Action::SetAvatar => Intent::SetAvatar,
        Action::Update(name) => Intent::Update(item(name)),
        Action::Delete(name) => Intent::Delete(item(name)),
        Action::Ticket(scope) => TicketTerms::intent_of(terms, *scope),
    }
}

/// The origin of the page that sends a request (RFC 6454), unless it is the one of this URL.
fn foreign_origin(origin: Option<&str>, url: &str) -> Option<String> {
    origin.filter(|origin| !is_origin_of(origin, url)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_the_endpoint_is_not_foreign() {
        let url = "https://media.example.com:8443/files/room@example.com";
        for (origin, foreign) in [
            (None, false),
            (Some("https://media.example.com:8443"), false),
            (Some("HTTPS://Media.example.com:8443"), false),
            (Some("https://media.example.com"), true),
            (Some("http://media.example.com:8443"), true),
            (Some("https://media.example.com:84"), true),
            (Some("https://evil.example"), true),
            (Some("null"), true),
            (Some(""), true),
        ] {
            assert_eq!(foreign_origin(origin, url).as_deref(), origin.filter(|_| foreign), "{origin:?}");
        }
        let with_port = "https://media.example.com:443/room@example.com";
        assert_eq!(foreign_origin(Some("https://media.example.com"), with_port), None);
    }
}
