//! Tickets: one confirmation for many requests. A server that has none answers 404 or 405; each request is confirmed then.

use std::sync::{Mutex, PoisonError};

use media_server::model::Channel;
use serde_json::Value;

use crate::exit::{Exit, Failure, Result};
use crate::http::{Payload, Request};
use crate::retry::{Attempt, attempts};
use crate::site::{Credentials, Site, judged, small_text};

/// The rights that a ticket gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Reading.
    Read,
    /// Reading, uploading, and changing and deleting one's own media.
    Post,
}

impl Scope {
    /// The name in the path.
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Post => "post",
        }
    }
}

/// The ticket of some requests to one channel; threads share it.
pub struct Tickets<'a> {
    site: &'a Site<'a>,
    channel: &'a Channel,
    /// `None`: the server has none.
    current: Mutex<Option<String>>,
}

impl<'a> Tickets<'a> {
    /// Asks for a ticket to post.
    pub fn ask(site: &'a Site<'a>, channel: &'a Channel) -> Result<Self> {
        let ticket = obtain(site, channel, Scope::Post)?;
        let ticket = ticket.map(|ticket| text_of(&ticket)).transpose()?;
        match &ticket {
            Some(_) => site.console.detail("one ticket stands for all confirmations"),
            None => site.console.detail("the server has no tickets: each request is confirmed"),
        }
        Ok(Self { site, channel, current: Mutex::new(ticket) })
    }

    /// No ticket: each request is confirmed.
    pub fn none(site: &'a Site<'a>, channel: &'a Channel) -> Self {
        Self { site, channel, current: Mutex::new(None) }
    }

    /// The ticket, if there is one.
    pub fn current(&self) -> Option<String> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for another ticket if this one is still the current one: it has expired.
    pub fn renew(&self, old: &str) -> Result<()> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_deref() == Some(old) {
            self.site.console.detail("the ticket has expired, asking for another");
            let ticket = obtain(self.site, self.channel, Scope::Post)?;
            *current = ticket.map(|ticket| text_of(&ticket)).transpose()?;
        }
        Ok(())
    }
}

/// Asks for a ticket; `None` from a server that has none. The JSON has `ticket`, `scope` and `expires`.
pub fn obtain(site: &Site<'_>, channel: &Channel, scope: Scope) -> Result<Option<Value>> {
    let url = site.endpoint().url(&[channel.as_str(), "ticket", scope.name()]);
    let what = format!("a ticket for {channel}");
    let found = attempts(&what, site.console, || {
        let fields = vec![("Content-Type", "application/x-www-form-urlencoded".to_owned())];
        let request = Request { method: "POST", url: url.clone(), fields };
        match site.send(request, Payload::Bytes(b""), Credentials::Confirmed) {
            Ok(response) if matches!(response.status().as_u16(), 404 | 405) => Attempt::Done(None),
            response => match judged(response) {
                Attempt::Done(response) => Attempt::Done(Some(response)),
                Attempt::Again(failure, after) => Attempt::Again(failure, after),
                Attempt::Unreachable(failure) => Attempt::Unreachable(failure),
                Attempt::Failed(failure) => Attempt::Failed(failure),
            },
        }
    })?;
    let Some(mut response) = found else { return Ok(None) };
    let json = small_text(&mut response).and_then(|text| serde_json::from_str(&text).ok());
    json.map(Some).ok_or_else(|| strange(&what))
}

/// The ticket in that JSON. It goes into a header field.
pub fn text_of(json: &Value) -> Result<String> {
    let ticket = json.get("ticket").and_then(Value::as_str);
    let is_token = |ticket: &&str| !ticket.is_empty() && ticket.bytes().all(|byte| byte.is_ascii_graphic());
    ticket.filter(is_token).map(str::to_owned).ok_or_else(|| strange("a ticket"))
}

fn strange(what: &str) -> Failure {
    Failure::new(Exit::NoService, "the server's response can't be understood").of(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_one_word() {
        let of = |json: &str| text_of(&serde_json::from_str(json).unwrap()).ok();
        assert_eq!(of("{\"ticket\":\"a.b-c_d\",\"scope\":\"post\"}").as_deref(), Some("a.b-c_d"));
        for json in ["{}", "{\"ticket\":\"\"}", "{\"ticket\":\"a\\r\\nX: y\"}", "{\"ticket\":1}", "[]"] {
            assert_eq!(of(json), None, "{json}");
        }
    }
}
