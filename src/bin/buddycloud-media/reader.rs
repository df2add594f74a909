//! Reading from a channel: without credentials while the server takes that, which it does in public channels.

use media_server::model::Channel;
use ureq::Body;
use ureq::http::Response;

use crate::address::Endpoint;
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
