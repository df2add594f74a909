//! `POST /{channel}/ticket/read` and `/ticket/post`: a ticket for a user who confirms it.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::Web;
use super::sender::COOKIE;
use crate::access::Intent;
use crate::http::{BodyLength, Exchange, Response, target};
use crate::limits;
use crate::media_type;
use crate::model::{BareJid, Channel, Refusal};
use crate::tickets::{Scope, Ticket, expiry};

/// The terms of a ticket besides its scope.
pub(super) struct TicketTerms {
    /// How long the ticket is to count.
    life: Duration,
    /// The path of the cookie that is to hold it, if one is.
    cookie_path: Option<String>,
}

impl TicketTerms {
    /// The intent for the prompt. The grid may make the time longer.
    pub(super) fn intent_of(terms: Option<&Self>, scope: Scope) -> Intent {
        let life = terms.map_or(limits::TICKET_LIFE, |terms| terms.life);
        let longest = (life + limits::TICKET_GRID).min(limits::TICKET_LIFE);
        let time = Duration::from_secs(longest.as_secs().div_ceil(60) * 60);
        Intent::Ticket { posts: scope == Scope::Post, time }
    }
}

/// A ticket as clients read it.
#[derive(Serialize)]
struct TicketJson<'a> {
    ticket: &'a str,
    scope: &'static str,
    expires: String,
}

impl Web {
    /// Reads the parameters, and refuses a request that can't succeed. Reads the body, so it may wait for the client.
    pub(super) fn ticket_terms(&self, exchange: &mut Exchange) -> Result<TicketTerms, Refusal> {
        self.check_origin(exchange.header("Origin"))?;
        let form = form(exchange, &self.forms)?;
        let parameter = |name| {
            let in_query = target::parameter(exchange.query(), name);
            in_query.or_else(|| target::parameter(Some(&form), name))
        };
        let life = match parameter("seconds") {
            None => limits::TICKET_USUAL,
            Some(text) => seconds(&text)?,
        };
        let cookie_path = match parameter("cookie").as_deref() {
            Some("1") => Some(cookie_path(self.settings().endpoint.as_deref(), exchange.path())?),
            _ => None,
        };
        Ok(TicketTerms { life, cookie_path })
    }

    /// Issues the ticket that this user has confirmed.
    pub(super) fn ticket(
        &self,
        channel: &Channel,
        user: &BareJid,
        scope: Scope,
        terms: &TicketTerms,
    ) -> Result<Response, Refusal> {
        let expires = expiry(self.tickets.now(), terms.life);
        let ticket = Ticket { expires, scope, channel: channel.clone(), user: user.clone() };
        let text = self.issued(&ticket)?;
        let json = TicketJson { ticket: &text, scope: scope.name(), expires: expires.to_string() };
        let response = Response::json(201, &json).header("Cache-Control", "no-store");
        let Some(path) = &terms.cookie_path else { return Ok(response) };
        Ok(response.header("Set-Cookie", self.cookie(ticket, path)?))
    }

    /// The value of `Set-Cookie` for the cookie that holds this ticket and ends with it. A cookie only reads, so the ticket
    /// in it must do no more when it is taken out of the browser.
    fn cookie(&self, ticket: Ticket, path: &str) -> Result<String, Refusal> {
        let life = (ticket.expires.as_micros() - self.tickets.now().as_micros()) / 1_000_000;
        cookie(&self.issued(&Ticket { scope: Scope::Read, ..ticket })?, path, life)
    }

    /// The same for a ticket that came in the query; `None` if it does not count, or if the endpoint takes no cookie.
    pub(super) fn cookie_of(&self, text: &str, exchange: &Exchange) -> Result<Option<String>, Refusal> {
        let path = cookie_path(self.settings().endpoint.as_deref(), exchange.path());
        match (path, self.tickets.verify(text)?) {
            (Ok(path), Ok(ticket)) => self.cookie(ticket, &path).map(Some),
            _ => Ok(None),
        }
    }

    fn issued(&self, ticket: &Ticket) -> Result<String, Refusal> {
        self.tickets.issue(ticket)?.ok_or(Refusal::TicketTooLong)
    }

    /// Pages of the endpoint's own origin and of named origins get tickets; requests of programs have no origin.
    fn check_origin(&self, origin: Option<&str>) -> Result<(), Refusal> {
        let Some(origin) = origin else { return Ok(()) };
        let settings = self.settings();
        let is_own = settings.endpoint.as_deref().is_some_and(|endpoint| is_origin_of(origin, endpoint));
        if is_own || settings.cors.names(origin) { Ok(()) } else { Err(Refusal::OriginRefused) }
    }
}

/// A permit to read a form. There are few, and none is waited for, so that slow senders take nothing from uploads.
struct FormPermit<'a>(&'a AtomicUsize);

impl<'a> FormPermit<'a> {
    fn take(held: &'a AtomicUsize) -> Result<Self, Refusal> {
        // Dropped where there are too many, it is given back.
        let permit = Self(held);
        if held.fetch_add(1, Ordering::Relaxed) < limits::TICKET_FORMS {
            Ok(permit)
        } else {
            Err(Refusal::Overloaded)
        }
    }
}

impl Drop for FormPermit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The form in the body; nothing without a body.
fn form(exchange: &mut Exchange, held: &AtomicUsize) -> Result<String, Refusal> {
    match exchange.body_length() {
        BodyLength::None | BodyLength::Sized(0) => return Ok(String::new()),
        BodyLength::Sized(length) if length > limits::TICKET_FORM_BYTES => return Err(Refusal::TooLarge),
        BodyLength::Sized(_) | BodyLength::Chunked => {}
    }
    let content_type = exchange.header("Content-Type").unwrap_or_default();
    if !media_type::essence(content_type).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Refusal::UnsupportedMediaType);
    }
    let _permit = FormPermit::take(held)?;
    let mut form = Vec::new();
    let read = exchange.body()?.take(limits::TICKET_FORM_BYTES + 1).read_to_end(&mut form);
    read.map_err(|error| Refusal::in_io(&error).unwrap_or(Refusal::BodyCut))?;
    if form.len() as u64 > limits::TICKET_FORM_BYTES {
        return Err(Refusal::TooLarge);
    }
    // The user may take half a minute to confirm, and others want to upload meanwhile.
    exchange.end_body();
    String::from_utf8(form).map_err(|_| Refusal::NotUtf8)
}

fn seconds(text: &str) -> Result<Duration, Refusal> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number that is too large for u64 is more than is granted.
    let seconds = if is_number { text.parse().unwrap_or(u64::MAX) } else { 0 };
    match seconds {
        0 => Err(Refusal::BadSeconds),
        seconds => Ok(Duration::from_secs(seconds).min(limits::TICKET_LIFE)),
    }
}

/// The path of the cookie: that of the endpoint, and the channel as it was requested.
fn cookie_path(endpoint: Option<&str>, path: &str) -> Result<String, Refusal> {
    let host = endpoint.and_then(|endpoint| endpoint.strip_prefix("https://")).ok_or(Refusal::NoCookie)?;
    let prefix = host.find('/').map_or("", |at| &host[at..]);
    let channel = path.split('/').nth(1).unwrap_or_default();
    let path = format!("{prefix}/{channel}");
    if path.len() > limits::COOKIE_PATH_BYTES || !is_plain(&path) {
        return Err(Refusal::NoCookie);
    }
    Ok(path)
}

/// Whether a path holds nothing that browsers or proxies read in different ways: unreserved characters (RFC 3986 section
/// 2.3), `@`, `+`, and percent-encodings.
fn is_plain(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()];
                digits.iter().all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()))
            }
            b'/' | b'-' | b'.' | b'_' | b'~' | b'@' | b'+' => true,
            other => other.is_ascii_alphanumeric(),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// The value of `Set-Cookie` (RFC 6265 section 4.1.1).
fn cookie(ticket: &str, path: &str, life: i64) -> Result<String, Refusal> {
    if COOKIE.len() + ticket.len() > limits::COOKIE_BYTES {
        return Err(Refusal::NoCookie);
    }
    Ok(format!("{COOKIE}={ticket}; Path={path}; Max-Age={life}; Secure; HttpOnly; SameSite=Lax"))
}

/// Whether this is the origin of a URL (RFC 6454): browsers leave out the usual port.
pub(super) fn is_origin_of(origin: &str, url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let usual = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let authority = authority.strip_suffix(usual).unwrap_or(authority);
    origin.eq_ignore_ascii_case(&format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_takes_https_and_a_plain_path() {
        let endpoint = Some("https://media.example.com");
        for (endpoint, path, expected) in [
            (endpoint, "/room@example.com/ticket/read", Ok("/room@example.com")),
            (endpoint, "/room%40example.com/ticket/post", Ok("/room%40example.com")),
            (endpoint, "/a+b-c.d_e~f@example.com/ticket/read", Ok("/a+b-c.d_e~f@example.com")),
            (
                Some("https://example.com:8443/files/x"),
                "/room@example.com/ticket/read",
                Ok("/files/x/room@example.com"),
            ),
            (endpoint, "/room;@example.com/ticket/read", Err(Refusal::NoCookie)),
            (endpoint, "/room,@example.com/ticket/read", Err(Refusal::NoCookie)),
            (endpoint, "/room=@example.com/ticket/read", Err(Refusal::NoCookie)),
            (endpoint, "/room\"@example.com/ticket/read", Err(Refusal::NoCookie)),
            (endpoint, "/room%4@example.com/ticket/read", Err(Refusal::NoCookie)),
            (endpoint, "/room%", Err(Refusal::NoCookie)),
            (Some("https://example.com/a;b"), "/room@example.com/ticket/read", Err(Refusal::NoCookie)),
            (Some("http://media.example.com"), "/room@example.com/ticket/read", Err(Refusal::NoCookie)),
            (None, "/room@example.com/ticket/read", Err(Refusal::NoCookie)),
        ] {
            let expected = expected.map(str::to_owned);
            assert_eq!(cookie_path(endpoint, path), expected, "{endpoint:?} {path}");
        }
        let path = |length: usize| format!("/{}", "%61".repeat(length / 3));
        assert!(cookie_path(endpoint, &path(999)).is_ok());
        assert_eq!(cookie_path(endpoint, &path(1002)), Err(Refusal::NoCookie));
    }

    #[test]
    fn a_cookie_has_all_its_attributes_and_a_limit() {
        assert_eq!(
            cookie("abc", "/room@example.com", 900).unwrap(),
            "__Secure-media=abc; Path=/room@example.com; Max-Age=900; Secure; HttpOnly; SameSite=Lax"
        );
        let longest = limits::COOKIE_BYTES - COOKIE.len();
        assert!(cookie(&"x".repeat(longest), "/", 1).is_ok());
        assert_eq!(cookie(&"x".repeat(longest + 1), "/", 1), Err(Refusal::NoCookie));
        // A signed ticket always fits.
        assert!(limits::SIGNED_TOKEN_CHARS < longest);
    }

    #[test]
    fn few_forms_are_read_at_a_time() {
        let held = AtomicUsize::new(0);
        let mut permits: Vec<_> =
            (0..limits::TICKET_FORMS).map(|_| FormPermit::take(&held).unwrap()).collect();
        for _ in 0..2 {
            assert_eq!(FormPermit::take(&held).err(), Some(Refusal::Overloaded));
        }
        permits.pop();
        assert!(FormPermit::take(&held).is_ok());
    }

    #[test]
    fn the_time_is_a_number_of_seconds_up_to_an_hour() {
        for (text, expected) in [
            ("1", Ok(1)),
            ("900", Ok(900)),
            ("3600", Ok(3600)),
            ("3601", Ok(3600)),
            ("99999999999999999999999999", Ok(3600)),
            ("0", Err(Refusal::BadSeconds)),
            ("", Err(Refusal::BadSeconds)),
            ("-1", Err(Refusal::BadSeconds)),
            ("+1", Err(Refusal::BadSeconds)),
            ("1.5", Err(Refusal::BadSeconds)),
            ("15m", Err(Refusal::BadSeconds)),
        ] {
            assert_eq!(seconds(text), expected.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn the_user_is_told_no_less_time_than_is_granted() {
        for (seconds, minutes) in [(1, 6), (60, 6), (900, 20), (901, 21), (3300, 60), (3600, 60)] {
            let terms = TicketTerms { life: Duration::from_secs(seconds), cookie_path: None };
            let Intent::Ticket { posts: true, time } = TicketTerms::intent_of(Some(&terms), Scope::Post)
            else {
                panic!("{seconds}")
            };
            assert_eq!(time, Duration::from_secs(minutes * 60), "{seconds}");
        }
    }

    #[test]
    fn an_origin_is_compared_without_the_usual_port() {
        for (origin, url, expected) in [
            ("https://media.example.com", "https://media.example.com", true),
            ("HTTPS://Media.example.com", "https://media.example.com/files", true),
            ("https://media.example.com", "https://media.example.com:443/files", true),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", true),
            ("http://localhost", "http://localhost:80", true),
            ("https://media.example.com:8443", "https://media.example.com", false),
            ("http://media.example.com", "https://media.example.com", false),
            ("https://media.example.com.evil.example", "https://media.example.com", false),
            ("https://evil.example", "https://media.example.com", false),
            ("null", "https://media.example.com", false),
            ("", "https://media.example.com", false),
        ] {
            assert_eq!(is_origin_of(origin, url), expected, "{origin} {url}");
        }
    }
}
