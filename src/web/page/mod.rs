//! A channel for people and feed readers: its page and its Atom feed, and the files of the page.
//!
//! Files of users have the same origin as the page, so its policy lets no script run by its origin, only by a nonce. Texts
//! of users reach the documents by [`markup::Markup`] alone. A page or feed is rendered on a thread without a turn, as a
//! list is; the files of the page are sent on a turn.

mod feed;
pub(super) mod files;
mod html;
pub(super) mod markup;
pub(super) mod negotiate;
#[cfg(test)]
mod testing;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Web;
use super::list::{Listed, Parameters};
use super::sender::{Carrier, Proof};
use crate::access::Granted;
use crate::http::{Exchange, Response, target};
use crate::limits;
use crate::model::{Channel, Refusal};
use feed::Feed;
use html::{Page, PageContent, SigningIn};
use negotiate::Representation;

impl Web {
    /// `GET /{channel}` in the representation that the request wants.
    pub(super) fn channel(
        &self,
        exchange: &Exchange,
        channel: &Channel,
        granted: &Granted,
        proof: &Proof,
    ) -> Result<Response, Refusal> {
        let response = match negotiate::representation(exchange) {
            Representation::Json => self.list(channel, exchange.query(), granted)?,
            Representation::Page => match self.without_ticket(exchange, granted, proof)? {
                Some(response) => response,
                None => self.page(exchange, channel, granted)?,
            },
            // A feed reader keeps the address, with the ticket in it, and may show private files to other people.
            Representation::Atom if is_private(granted) && is_foreign(proof) => {
                return Err(Refusal::NoCredentials);
            }
            Representation::Atom => self.feed(exchange, channel, granted)?,
        };
        Ok(response.header("Vary", "Accept"))
    }

    /// The redirect of a browser whose address holds a ticket: the ticket goes into a cookie, with which the page's
    /// pictures can be read, and out of the address, which the browser keeps. `None` where there is no cookie.
    fn without_ticket(
        &self,
        exchange: &Exchange,
        granted: &Granted,
        proof: &Proof,
    ) -> Result<Option<Response>, Refusal> {
        let Proof::Ticket(Carrier::Query, ticket) = proof else { return Ok(None) };
        let response =
            Response::new(303).header("Location", address_without_ticket(exchange.path(), exchange.query()));
        if !is_private(granted) {
            return Ok(Some(response));
        }
        let cookie = self.cookie_of(ticket, exchange)?;
        Ok(cookie.map(|cookie| response.header("Set-Cookie", cookie)))
    }

    fn page(&self, exchange: &Exchange, channel: &Channel, granted: &Granted) -> Result<Response, Refusal> {
        let parameters = Parameters::read(exchange.query(), limits::PAGE_ENTRIES)?;
        let Listed { entries, next } = self.listed(channel, &parameters)?;
        let next = next.map(|last| parameters.next("", &last));
        let content = PageContent::Gallery { entries: &entries, next, later: parameters.is_later() };
        let response = self.document(exchange, channel, !is_private(granted), content);
        Ok(response.header("Cache-Control", cache_control(granted)))
    }

    fn feed(&self, exchange: &Exchange, channel: &Channel, granted: &Granted) -> Result<Response, Refusal> {
        let parameters = Parameters::read(exchange.query(), limits::PAGE_ENTRIES)?;
        let Listed { entries, next } = self.listed(channel, &parameters)?;
        let base =
            self.settings().endpoint.as_ref().map_or("./".to_owned(), |endpoint| format!("{endpoint}/"));
        let feed = Feed {
            channel,
            base: &base,
            entries: &entries,
            query: &parameters.query("format=atom"),
            next: next.map(|last| parameters.next("format=atom", &last)),
        };
        let response = Response::bytes(200, "application/atom+xml; charset=utf-8", feed.render());
        let response = response.header("X-Content-Type-Options", "nosniff");
        Ok(self.for_robots(response).header("Cache-Control", cache_control(granted)))
    }

    /// The page in the place of a refusal, if the request wants a page: where credentials are missing, a page that is the
    /// same for each channel that is not public, whether it exists or not; else one that tells the reason.
    pub(super) fn refusal_page(
        &self,
        exchange: &Exchange,
        channel: &Channel,
        refusal: Refusal,
    ) -> Result<Response, Refusal> {
        if negotiate::representation(exchange) != Representation::Page {
            return Err(refusal);
        }
        let row = refusal.row();
        let detail = row.detail.replace("{component}", self.settings().component.as_str());
        let (status, content) = match row.status {
            401 => (200, PageContent::SignIn),
            status => {
                let may_help = status == 403 || status == 429 || status >= 500;
                (status, PageContent::Refusal { title: row.title, detail: &detail, may_help })
            }
        };
        let mut response = self.document(exchange, channel, false, content).with_status(status);
        if let Some(seconds) = row.retry_after {
            response = response.header("Retry-After", seconds.to_string());
        }
        let caching = if status == 200 { "no-cache" } else { "no-store" };
        Ok(response.header("Cache-Control", caching).header("Vary", "Accept"))
    }

    fn document(
        &self,
        exchange: &Exchange,
        channel: &Channel,
        public: bool,
        content: PageContent<'_>,
    ) -> Response {
        let (nonce, signing_in) = (nonce(), self.settings().endpoint.as_deref().and_then(signing_in));
        let segment = last_segment(exchange.path());
        let page = Page { channel, segment, nonce: &nonce, public, signing_in, content };
        let response = Response::bytes(200, "text/html; charset=utf-8", page.render());
        self.for_robots(response)
            .header("Content-Security-Policy", policy(&nonce, signing_in))
            .header("Referrer-Policy", "no-referrer")
            .header("X-Content-Type-Options", "nosniff")
    }

    fn for_robots(&self, response: Response) -> Response {
        if self.settings().page_indexed { response } else { response.header("X-Robots-Tag", "noindex") }
    }
}

fn is_private(granted: &Granted) -> bool {
    matches!(granted, Granted::Owned(_))
}

/// Whether the ticket came otherwise than as `Authorization: Bearer`.
fn is_foreign(proof: &Proof) -> bool {
    proof.carrier().is_some_and(|carrier| carrier != Carrier::Bearer)
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The address of a request without its tickets, relative to itself.
fn address_without_ticket(path: &str, query: Option<&str>) -> String {
    let pairs = query.unwrap_or_default().split('&');
    let others: Vec<_> = pairs.filter(|pair| target::parameter(Some(pair), "ticket").is_none()).collect();
    let query = others.join("&");
    let separator = if query.is_empty() { "" } else { "?" };
    format!("./{}{separator}{query}", last_segment(path))
}

/// The value of `Cache-Control`. A page may change at any moment, so caches must revalidate it.
fn cache_control(granted: &Granted) -> &'static str {
    match granted {
        Granted::Public => "no-cache",
        Granted::Owned(_) => "private, no-cache",
    }
}

/// A nonce for one page.
///
/// # Panics
/// If the kernel gives no random numbers. Then the request fails, and the daemon goes on.
fn nonce() -> String {
    let mut random = [0; limits::PAGE_NONCE_BYTES];
    getrandom::fill(&mut random).expect("the kernel gives random numbers");
    URL_SAFE_NO_PAD.encode(random)
}

/// How people sign in at this endpoint. Pages of other origins get no tickets.
fn signing_in(endpoint: &str) -> Option<SigningIn> {
    if endpoint.starts_with("https://") {
        Some(SigningIn::Cookie)
    } else {
        target::is_loopback(endpoint).then_some(SigningIn::Objects)
    }
}

/// The content security policy of a page: scripts and styles by their nonce alone, for files of users have this origin.
fn policy(nonce: &str, signing_in: Option<SigningIn>) -> String {
    let blob = if signing_in == Some(SigningIn::Objects) { " blob:" } else { "" };
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'{blob}; \
         media-src 'self'{blob}; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_unlike_and_fit_into_a_policy() {
        let nonces: std::collections::HashSet<_> = (0..1000).map(|_| nonce()).collect();
        assert_eq!(nonces.len(), 1000);
        let fits =
            |nonce: &String| nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        assert!(nonces.iter().all(|nonce| nonce.len() == 22 && fits(nonce)));
    }

    #[test]
    fn people_sign_in_over_https_and_on_this_machine() {
        for (endpoint, expected) in [
            ("https://media.example.com", Some(SigningIn::Cookie)),
            ("https://localhost:8443/files", Some(SigningIn::Cookie)),
            ("http://127.0.0.1:8080", Some(SigningIn::Objects)),
            ("http://media.example.com", None),
        ] {
            assert_eq!(signing_in(endpoint), expected, "{endpoint}");
        }
    }

    #[test]
    fn an_address_loses_its_tickets_and_nothing_else() {
        for (path, query, expected) in [
            ("/room@example.com", Some("ticket=T"), "./room@example.com"),
            ("/files/a%20b@example.com", Some("ticket=T&max=4"), "./a%20b@example.com?max=4"),
            ("/r@example.com", Some("max=4&ticket=T&before=x&ticket=U"), "./r@example.com?max=4&before=x"),
            (
                "/r@example.com",
                Some("tick%65t=T&tickets=1&format=%26"),
                "./r@example.com?tickets=1&format=%26",
            ),
            ("/r@example.com", Some("ticket"), "./r@example.com"),
            ("/r@example.com", None, "./r@example.com"),
        ] {
            assert_eq!(address_without_ticket(path, query), expected, "{path} {query:?}");
        }
    }

    #[test]
    fn scripts_run_by_their_nonce_alone() {
        let plain = policy("N", Some(SigningIn::Cookie));
        assert!(
            plain.contains("script-src 'nonce-N';") && !plain.contains("unsafe") && !plain.contains("blob")
        );
        assert_eq!(policy("N", Some(SigningIn::Objects)).matches(" blob:;").count(), 2);
    }
}
