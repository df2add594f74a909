//! Reading from a channel: without credentials while the server takes that, which it does in public channels.

use media_server::model::Channel;
use ureq::Body;
use ureq::http::Response;

use crate::address::{Endpoint, PlainHttp, check_url};
use crate::config::Config;
use crate::console::Console;
use crate::exit::Result;
use crate::http::{Http, Payload, Request, Trouble};
use crate::site::{Credentials, Site};

/// A reader of one channel.
pub struct Reader<'a> {
    config: &'a Config,
    console: &'a Console,
    http: &'a Http,
    channel: &'a Channel,
    /// The HTTP interface that a URL named.
    given: Option<&'a Endpoint>,
    site: Option<Site<'a>>,
    /// Whether the server wants to know who reads.
    confirmed: bool,
}

impl<'a> Reader<'a> {
    /// A reader of this channel, at the HTTP interface that a URL named, if one did.
    pub fn new(
        config: &'a Config,
        console: &'a Console,
        http: &'a Http,
        channel: &'a Channel,
        given: Option<&'a Endpoint>,
    ) -> Self {
        Self { config, console, http, channel, given, site: None, confirmed: false }
    }

    /// The HTTP interface. Where no URL named it, the user logs in, to find it.
    pub fn endpoint(&mut self) -> Result<Endpoint> {
        match self.given {
            Some(given) => Ok(given.clone()),
            None => Ok(self.site()?.endpoint().clone()),
        }
    }

    /// Sends a request; the user confirms it if the server asks who it is.
    pub fn send(&mut self, request: Request) -> Result<std::result::Result<Response<Body>, Trouble>> {
        if !self.confirmed {
            self.console.detail(format!("{} {}", request.method, request.url));
            let response = self.http.send(&request, Payload::Nothing);
            if let Some(elsewhere) = response.as_ref().ok().and_then(|response| redirect(response, &request))
            {
                self.console.detail(format!("redirected to {}", host_of(&elsewhere.url)));
                return Ok(self.http.send(&elsewhere, Payload::Nothing));
            }
            if !response.as_ref().is_ok_and(|response| response.status() == 401) {
                return Ok(response);
            }
            self.confirmed = true;
        }
        let given = self.given;
        let site = self.site()?;
        site.check(given)?;
        Ok(site.send(request, Payload::Nothing, Credentials::Confirmed))
    }

    fn site(&mut self) -> Result<&Site<'a>> {
        if self.site.is_none() {
            self.site = Some(Site::find(self.config, self.console, self.http, self.channel.domain())?);
        }
        Ok(self.site.as_ref().expect("it has just been found"))
    }
}

/// The request to which a response leads: a server may leave large files to a store (RFC 9110 section 15.4). It is sent
/// without any of the fields, and leads no further. One that was sent over TLS leads to no address without it.
fn redirect(response: &Response<Body>, request: &Request) -> Option<Request> {
    let location = response.headers().get("location")?.to_str().ok()?;
    let plain = if request.url.starts_with("http://") { PlainHttp::Loopback } else { PlainHttp::Never };
    let leads = matches!(response.status().as_u16(), 302 | 303 | 307) && request.method == "GET";
    (leads && check_url(location, plain).is_ok()).then(|| Request {
        method: "GET",
        url: location.to_owned(),
        fields: Vec::new(),
    })
}

/// The scheme and the authority of a URL: the rest of a store's URL is a key to the file.
fn host_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |colon| colon + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |end| start + end);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_over_tls_only_and_without_the_fields() {
        let led = |from: &str, status: u16, to: &str| {
            let response = Response::builder().status(status).header("location", to);
            let response = response.body(Body::builder().data("")).unwrap();
            let fields = vec![("If-Range", "\"x\"".to_owned())];
            redirect(&response, &Request { method: "GET", url: from.to_owned(), fields })
        };
        let (from, to) = ("https://m.example.com/room@example.com/x", "https://s3.example.com/b/x?sig=1");
        for status in [302, 303, 307] {
            let led = led(from, status, to).unwrap();
            assert_eq!((led.method, &*led.url, led.fields.len()), ("GET", to, 0));
        }
        for (from, status, to) in [
            (from, 200, to),
            (from, 304, to),
            (from, 302, "http://s3.example.com/b/x"),
            (from, 302, "http://127.0.0.1:8500/v1/agent/leave"),
            (from, 302, "/room@example.com/y"),
            (from, 302, "file:///etc/passwd"),
        ] {
            assert!(led(from, status, to).is_none(), "{from} {status} {to}");
        }
        assert!(led("http://127.0.0.1:8080/room@example.com/x", 302, "http://127.0.0.1:8333/b/x").is_some());
        assert_eq!(host_of(to), "https://s3.example.com");
        assert_eq!(host_of("https://s3.example.com"), "https://s3.example.com");
    }
}
