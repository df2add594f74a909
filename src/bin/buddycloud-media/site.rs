//! The media server of a channel, with the user's account: requests with credentials, and what their responses mean.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use media_server::limits;
use media_server::model::Jid;
use ureq::Body;
use ureq::http::Response;

use crate::account::Account;
use crate::address::{Endpoint, Target};
use crate::config::Config;
use crate::confirm::Expected;
use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::http::{Http, Payload, Request, Trouble};
use crate::login;
use crate::retry::Attempt;
use crate::service::{self, MediaService};

/// How a request names its sender.
#[derive(Clone, Copy, Debug)]
pub enum Credentials<'a> {
    /// The user, who is asked by XMPP and confirms.
    Confirmed,
    /// The user, by a ticket.
    Ticket(&'a str),
}

/// A media server and the account that uses it.
pub struct Site<'a> {
    /// The terminal of the user.
    pub console: &'a Console,
    http: &'a Http,
    account: Account,
    service: MediaService,
}

impl<'a> Site<'a> {
    /// Logs in, and finds the server of channels of this domain.
    pub fn find(config: &Config, console: &'a Console, http: &'a Http, domain: &str) -> Result<Self> {
        let account = Account::start(login::log_in(config, console, http)?)?;
        let own = account.jid().bare().domain().to_owned();
        let domains: &[&str] = if own == domain { &[domain] } else { &[domain, &own] };
        let service = service::find_media(&account, config.service.as_ref(), domains)?;
        console
            .detail(format!("the media server is {}, its HTTP interface {}", service.jid, service.endpoint));
        Ok(Self { console, http, account, service })
    }

    /// The HTTP interface.
    pub fn endpoint(&self) -> &Endpoint {
        &self.service.endpoint
    }

    /// Fails if a URL was given that is another server's: what is not the server of the channel must not be told who the
    /// user is.
    pub fn check(&self, given: Option<&Endpoint>) -> Result<()> {
        match given {
            Some(given) if given != self.endpoint() => {
                let text = format!("the media of this channel are at {}, not at {given}", self.endpoint());
                Err(Failure::new(Exit::NoService, text))
            }
            _ => Ok(()),
        }
    }

    /// The URL of a media of this server.
    pub fn url(&self, target: &Target) -> Result<String> {
        self.check(target.endpoint.as_ref()).map_err(|failure| failure.of(target))?;
        Ok(target.url(self.endpoint()))
    }

    /// Sends a request once, and reads the head of its response.
    pub fn send(
        &self,
        mut request: Request,
        payload: Payload<'_>,
        credentials: Credentials<'_>,
    ) -> std::result::Result<Response<Body>, Trouble> {
        self.console.detail(format!("{} {}", request.method, request.url));
        match credentials {
            Credentials::Ticket(ticket) => {
                request.fields.push(("Authorization", format!("Bearer {ticket}")));
                self.http.send(&request, payload)
            }
            Credentials::Confirmed => {
                let transaction = transaction()?;
                request.fields.push(("Authorization", basic(self.account.jid(), &transaction)));
                let url = request.url.split('?').next().unwrap_or_default().to_owned();
                let service = self.service.jid.bare().clone();
                let _promise =
                    self.account.expect(Expected { service, transaction, method: request.method, url });
                let response = self.http.send(&request, payload);
                match (&response, self.account.ended()) {
                    (Ok(response), Some(why)) if response.status() == 403 => {
                        Err(Trouble::Fatal(format!("the XMPP connection was lost: {why}")))
                    }
                    _ => response,
                }
            }
        }
    }
}

/// Sixteen random bytes in hexadecimal.
fn transaction() -> std::result::Result<String, Trouble> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Trouble::Fatal(format!("no random bytes: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn basic(jid: &Jid, transaction: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{jid}:{transaction}")))
}

/// The meaning of a response for the attempt.
pub fn judged(response: std::result::Result<Response<Body>, Trouble>) -> Attempt<Response<Body>> {
    match response {
        Ok(response) if response.status().is_success() => Attempt::Done(response),
        Ok(response) => refused(response),
        Err(trouble) => Attempt::of(trouble),
    }
}

fn refused<T>(mut response: Response<Body>) -> Attempt<T> {
    let status = response.status().as_u16();
    let after = retry_after(&response);
    let failure = Failure::new(exit_of(status), reason(&mut response));
    match (status, after) {
        (429 | 503, Some(after)) => Attempt::Again(failure, Some(after)),
        _ => Attempt::Failed(failure),
    }
}

/// The seconds of `Retry-After`; a date is not understood.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// The exit status for a status of HTTP.
fn exit_of(status: u16) -> Exit {
    match status {
        404 | 410 => Exit::NoFile,
        409 => Exit::Exists,
        507 => Exit::Refused,
        400..=499 => Exit::Refused,
        _ => Exit::NoService,
    }
}

/// The server's words for people: the `detail` of a problem (RFC 9457), a sentence of plain text, or the status.
fn reason(response: &mut Response<Body>) -> String {
    let status = response.status();
    let told = status
        .canonical_reason()
        .map_or_else(|| status.to_string(), |name| format!("{} {name}", status.as_u16()));
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let (is_problem, is_text) =
        (kind.starts_with("application/problem+json"), kind.starts_with("text/plain"));
    let Some(text) = small_text(response) else { return told };
    let detail = if is_problem {
        serde_json::from_str(&text)
            .ok()
            .and_then(|problem: serde_json::Value| Some(problem.get("detail")?.as_str()?.to_owned()))
    } else {
        Some(text.trim().to_owned()).filter(|text| is_text && !text.is_empty() && text.len() < 1000)
    };
    detail.map_or(told.clone(), |detail| format!("{} ({told})", detail.trim_end_matches('.')))
}

/// The text of a response that is small.
pub fn small_text(response: &mut Response<Body>) -> Option<String> {
    text(response, limits::CLIENT_TEXT_BYTES).ok()
}

/// The text of a response of up to so many bytes.
pub fn text(response: &mut Response<Body>, max: u64) -> std::result::Result<String, Trouble> {
    let mut bytes = Vec::new();
    let read = response.body_mut().as_reader().take(max + 1).read_to_end(&mut bytes);
    read.map_err(|error| Trouble::of_io(&error))?;
    if bytes.len() as u64 > max {
        return Err(Trouble::Fatal("the response is too long".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| Trouble::Fatal("the response is not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&str, &str)], body: &str) -> Response<Body> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(Body::builder().data(body)).unwrap()
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_server() {
        let problem = [("content-type", "application/problem+json")];
        for (status, fields, body, expected) in [
            (403, &problem[..], "{\"detail\":\"You may not.\"}", "You may not (403 Forbidden)"),
            (403, &problem[..], "{", "403 Forbidden"),
            (
                413,
                &[("content-type", "text/plain; charset=utf-8")][..],
                "Too large.\n",
                "Too large (413 Payload Too Large)",
            ),
            (502, &[("content-type", "text/html")][..], "<html>", "502 Bad Gateway"),
            (404, &[][..], "", "404 Not Found"),
        ] {
            assert_eq!(reason(&mut response(status, fields, body)), expected);
        }
    }

    #[test]
    fn each_status_has_its_exit() {
        for (status, exit) in [
            (400, Exit::Refused),
            (403, Exit::Refused),
            (404, Exit::NoFile),
            (409, Exit::Exists),
            (413, Exit::Refused),
            (500, Exit::NoService),
            (503, Exit::NoService),
            (507, Exit::Refused),
            (302, Exit::NoService),
        ] {
            assert_eq!(exit_of(status), exit, "{status}");
        }
    }

    #[test]
    fn only_a_server_that_names_a_time_is_asked_again() {
        let again = |status, fields: &[(&str, &str)]| match judged(Ok(response(status, fields, ""))) {
            Attempt::Again(_, after) => Some(after),
            _ => None,
        };
        assert_eq!(again(503, &[("retry-after", "2")]), Some(Some(Duration::from_secs(2))));
        assert_eq!(again(429, &[("retry-after", "1")]), Some(Some(Duration::from_secs(1))));
        assert_eq!(again(503, &[]), None);
        assert_eq!(again(403, &[("retry-after", "2")]), None);
    }

    #[test]
    fn credentials_name_the_resource_and_the_transaction() {
        let jid = "alice@example.com/laptop".parse().unwrap();
        assert_eq!(basic(&jid, "t1"), format!("Basic {}", STANDARD.encode("alice@example.com/laptop:t1")));
        assert_ne!(transaction().unwrap(), transaction().unwrap());
    }
}
