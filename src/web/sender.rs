//! The sender of a request: credentials that the user is asked about (XEP-0070), or a ticket, and how it came.

use std::net::IpAddr;

use super::Web;
use super::paid::PaidHead;
use super::route::Action;
use crate::access::{Credentials, credentials};
use crate::http::{Confinement, Exchange, cookie, target};
use crate::limits;
use crate::media::Name;
use crate::model::{BareJid, Channel, Jid, Method, Refusal};
use crate::tickets::{Scope, TicketFault};

/// The cookie with a ticket. Browsers take cookies of this prefix over https only.
pub(super) const COOKIE: &str = "__Secure-media";

/// How a ticket came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// As the parameter `ticket`.
    Query,
    /// As `Authorization: Bearer` (RFC 6750 section 2.1).
    Bearer,
    /// As [`COOKIE`].
    Cookie,
}

/// The proof of its sender that a request carries. It has no `Debug`: it holds a secret.
pub(super) enum Proof {
    Credentials(Result<Credentials, Refusal>),
    Ticket(Carrier, String),
}

impl Proof {
    /// The parameters outrank the header, which outranks the cookie: the header may be a browser's or a proxy's own, and the
    /// cookie comes by itself.
    pub(super) fn of(exchange: &Exchange) -> Self {
        let parameter = |name| target::parameter(exchange.query(), name);
        if let Some(auth) = parameter("auth") {
            return Self::Credentials(credentials::from_request(Some(&auth), None));
        }
        if let Some(ticket) = parameter("ticket") {
            return Self::Ticket(Carrier::Query, ticket);
        }
        match (exchange.header("Authorization"), in_cookie(exchange)) {
            (Some(header), _) => match bearer(header) {
                Some(ticket) => Self::Ticket(Carrier::Bearer, ticket.to_owned()),
                None => Self::Credentials(credentials::from_request(None, Some(header))),
            },
            (None, Some(ticket)) => Self::Ticket(Carrier::Cookie, ticket.to_owned()),
            (None, None) => Self::Credentials(Err(Refusal::NoCredentials)),
        }
    }

    /// How the ticket came, if there is one.
    pub(super) fn carrier(&self) -> Option<Carrier> {
        match self {
            Self::Ticket(carrier, _) => Some(*carrier),
            Self::Credentials(_) => None,
        }
    }

    /// Whether the request names a sender, as far as is known without the database.
    pub(super) fn is_readable(&self) -> bool {
        !matches!(self, Self::Credentials(Err(_)))
    }
}

/// The sender of a request, as far as it is known.
pub(super) struct Sender {
    /// The credentials in the prompt, or the reason why there are none.
    pub credentials: Result<Credentials, Refusal>,
    /// The user who needs no prompt.
    pub known: Option<BareJid>,
    /// The HEAD that pays for a GET once it is confirmed.
    pub head: Option<PaidHead>,
}

impl Sender {
    /// Whether it is known who sends the request, or who is to be asked.
    pub(super) fn is_named(&self) -> bool {
        self.known.is_some() || self.credentials.is_ok()
    }

    /// The address that is named in the access line until it is confirmed.
    pub(super) fn claimed(&self) -> Option<Jid> {
        let known = self.known.clone().map(Jid::from);
        known.or_else(|| self.credentials.as_ref().ok().map(|credentials| credentials.jid().clone()))
    }
}

impl Web {
    /// The sender of this request. May wait for the database where [`Web::must_verify`] says so.
    pub(super) fn sender(
        &self,
        exchange: &Exchange,
        channel: &Channel,
        action: &Action,
        proof: &Proof,
    ) -> Sender {
        match proof {
            Proof::Credentials(credentials) => {
                let key = credentials.as_ref().ok().and_then(|found| paid_head(exchange, action, found));
                let (known, head) = match (exchange.method(), key) {
                    (Method::Get, Some(key)) => (self.heads.spend(&key), None),
                    (Method::Head, key) => (None, key),
                    _ => (None, None),
                };
                Sender { credentials: credentials.clone(), known, head }
            }
            Proof::Ticket(carrier, text) => {
                let (credentials, known) = match self.ticket_user(*carrier, text, channel, action) {
                    Ok(user) => (Err(Refusal::NoCredentials), Some(user)),
                    Err(refusal) => (Err(refusal), None),
                };
                Sender { credentials, known, head: None }
            }
        }
    }

    /// Whether it takes the database to tell who sends the request.
    pub(super) fn must_verify(&self, proof: &Proof) -> bool {
        matches!(proof, Proof::Ticket(_, text) if self.tickets.known(text).is_none())
    }

    /// The user of a ticket that allows this.
    fn ticket_user(
        &self,
        carrier: Carrier,
        text: &str,
        channel: &Channel,
        action: &Action,
    ) -> Result<BareJid, Refusal> {
        let ticket = self.tickets.verify(text)?.map_err(|fault| match fault {
            TicketFault::Invalid | TicketFault::Revoked => Refusal::TicketInvalid,
            TicketFault::Expired => Refusal::TicketExpired,
        })?;
        if ticket.channel != *channel {
            return Err(Refusal::TicketElsewhere);
        }
        if !allows(carrier, ticket.scope, action) {
            return Err(Refusal::TicketForbids);
        }
        Ok(ticket.user)
    }
}

/// The table of what a ticket allows by its scope and by how it came. Update and delete are of one's own media.
fn allows(carrier: Carrier, scope: Scope, action: &Action) -> bool {
    match action {
        Action::List | Action::Download(_) | Action::Metadata(_) => true,
        Action::Upload | Action::Update(Name::Id(_)) | Action::Delete(Name::Id(_)) => {
            carrier == Carrier::Bearer && scope == Scope::Post
        }
        Action::SetAvatar
        | Action::Update(Name::Avatar)
        | Action::Delete(Name::Avatar)
        | Action::Ticket(_) => false,
    }
}

/// The key of a HEAD that pays for a GET, if this request can be either.
fn paid_head(exchange: &Exchange, action: &Action, credentials: &Credentials) -> Option<PaidHead> {
    let may_pay =
        action.reads() && exchange.client().limited && exchange.path().len() <= limits::HEAD_PATH_BYTES;
    may_pay.then(|| PaidHead {
        credentials: credentials.clone(),
        path: exchange.path().to_owned(),
        network: exchange.client().network(),
    })
}

/// How far the responses to a request must be confined that carries a ticket in any form, whether it counts or not.
pub(super) fn confinement(exchange: &Exchange) -> Option<Confinement> {
    if in_cookie(exchange).is_some() {
        return Some(Confinement::SameSite);
    }
    let is_bearer = exchange.headers("Authorization").iter().any(|header| bearer(header).is_some());
    let carries = is_bearer || target::parameter(exchange.query(), "ticket").is_some();
    carries.then_some(Confinement::Holder)
}

/// The challenge of a 401 (RFC 9110 section 11.6.1), where it must not be `Basic`: to that, a browser asks for a password by
/// itself, also where a script has sent the request.
pub(super) fn bearer_challenge(exchange: &Exchange, refusal: Option<Refusal>) -> Option<&'static str> {
    let mode = exchange.header("Sec-Fetch-Mode");
    let by_script = exchange.header("X-Requested-With").is_some()
        || mode.is_some_and(|mode| !mode.eq_ignore_ascii_case("navigate"));
    match refusal {
        Some(Refusal::TicketInvalid | Refusal::TicketExpired) => {
            Some("Bearer realm=\"xmpp\", error=\"invalid_token\"")
        }
        _ => (by_script || exchange.is_confined()).then_some("Bearer realm=\"xmpp\""),
    }
}

/// The network that limits apply to; a trusted proxy that names no client is not limited.
pub(super) fn limited_client(exchange: &Exchange) -> Option<IpAddr> {
    let client = exchange.client();
    client.limited.then(|| client.network())
}

fn in_cookie(exchange: &Exchange) -> Option<&str> {
    cookie::cookie(&exchange.headers("Cookie"), COOKIE)
}

/// The token of a header value `Bearer TOKEN`, with the scheme in any case.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_scheme_bearer_holds_a_ticket() {
        for (header, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer   abc ", Some("abc")),
            ("BEARER abc def", Some("abc def")),
            ("Bearer", Some("")),
            ("Basic abc", None),
            ("Bearerabc", None),
            ("", None),
        ] {
            assert_eq!(bearer(header), expected, "{header:?}");
        }
    }

    #[test]
    fn a_ticket_allows_what_the_table_says() {
        let id = || Name::Id("X".parse().unwrap());
        let reads = [Action::List, Action::Download(id()), Action::Metadata(Name::Avatar)];
        let writes = [Action::Upload, Action::Update(id()), Action::Delete(id())];
        let never = [
            Action::SetAvatar,
            Action::Update(Name::Avatar),
            Action::Delete(Name::Avatar),
            Action::Ticket(Scope::Read),
            Action::Ticket(Scope::Post),
        ];
        for carrier in [Carrier::Query, Carrier::Bearer, Carrier::Cookie] {
            for scope in [Scope::Read, Scope::Post] {
                let may_write = (carrier, scope) == (Carrier::Bearer, Scope::Post);
                for (actions, expected) in [(&reads[..], true), (&writes, may_write), (&never, false)] {
                    for action in actions {
                        assert_eq!(
                            allows(carrier, scope, action),
                            expected,
                            "{carrier:?} {scope:?} {action:?}"
                        );
                    }
                }
            }
        }
    }
}
