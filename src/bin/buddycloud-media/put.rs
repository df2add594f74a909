//! `put` and `avatar`: files to a channel.

use std::path::{Path, PathBuf};

use media_server::limits;
use media_server::model::Channel;
use serde_json::{Value, json};

use crate::body::FileBody;
use crate::config::Config;
use crate::console::{Console, Progress};
use crate::exit::{Exit, Failure, Result};
use crate::files::{self, Found, Upload};
use crate::http::{Http, Payload, Request};
use crate::parallel::in_order;
use crate::retry::{Attempt, attempts};
use crate::site::{Credentials, Site, judged, small_text};
use crate::ticket::Tickets;

/// Uploads all files of these paths. A failure is reported, and the others go on; gives the worst status.
pub fn put(
    config: &Config,
    console: &Console,
    http: &Http,
    channel: &Channel,
    paths: &[PathBuf],
) -> Result<Exit> {
    let found = files::find(paths);
    let uploads: Vec<&Upload> = found.iter().flatten().collect();
    if uploads.is_empty() {
        return tell_results(console, &found, |_| unreachable!("there is no file"));
    }
    let site = Site::find(config, console, http, channel.domain())?;
    let tickets =
        if uploads.len() > 1 { Tickets::ask(&site, channel)? } else { Tickets::none(&site, channel) };
    let workers = if tickets.current().is_some() { limits::CLIENT_UPLOADS } else { limits::CLIENT_CONFIRMED };
    let bytes = uploads.iter().map(|upload| upload.size).sum();
    let progress = console.progress(&uploads[0].name, uploads.len(), Some(bytes));
    let url = site.endpoint().url(&[channel.as_str()]);
    let work = |upload: &Upload| {
        let form = Form { method: "POST", url: &url, path: &upload.path, name: &upload.name };
        let stored = form.send(&site, &tickets, &progress)?;
        progress.file_done();
        let id = id_of(&stored)?;
        Ok(
            json!({"url": site.endpoint().url(&[channel.as_str(), &id]), "id": id, "file": upload.path.to_string_lossy()}),
        )
    };
    tell_as_they_come(console, &found, workers, work)
}

/// Sets the picture of a channel.
pub fn avatar(
    config: &Config,
    console: &Console,
    http: &Http,
    channel: &Channel,
    path: &Path,
) -> Result<Exit> {
    let found = files::find(&[path.to_owned()]);
    let [Ok(upload)] = &found[..] else {
        let failure = found.into_iter().find_map(std::result::Result::err);
        return Err(
            failure.unwrap_or_else(|| Failure::new(Exit::NoFile, "it is not a file").of(path.display()))
        );
    };
    let site = Site::find(config, console, http, channel.domain())?;
    let progress = console.progress(&upload.name, 1, Some(upload.size));
    let url = site.endpoint().url(&[channel.as_str(), "avatar"]);
    let form = Form { method: "PUT", url: &url, path: &upload.path, name: &upload.name };
    let stored = form.send(&site, &Tickets::none(&site, channel), &progress)?;
    drop(progress);
    let result = json!({"url": url, "id": id_of(&stored)?});
    if console.is_json() {
        console.print_json(&[result])?;
    } else {
        console.print(&url)?;
    }
    Ok(Exit::Done)
}

/// A file on its way to an address.
struct Form<'a> {
    method: &'static str,
    url: &'a str,
    path: &'a Path,
    name: &'a str,
}

impl Form<'_> {
    /// Sends it, and again where that may help; gives the metadata that the server stored.
    fn send(&self, site: &Site<'_>, tickets: &Tickets<'_>, progress: &Progress<'_>) -> Result<Value> {
        let what = self.path.display().to_string();
        attempts(&what, site.console, || {
            self.attempt(site, tickets, progress).unwrap_or_else(Attempt::Failed)
        })
    }

    fn attempt(
        &self,
        site: &Site<'_>,
        tickets: &Tickets<'_>,
        progress: &Progress<'_>,
    ) -> Result<Attempt<Value>> {
        let boundary = boundary()?;
        let mut body = FileBody::form(self.path, self.name, &boundary, progress)?;
        let mut fields = vec![("Content-Type", format!("multipart/form-data; boundary={boundary}"))];
        if body.size() > limits::CLIENT_EXPECT_BYTES {
            fields.push(("Expect", "100-continue".to_owned()));
        }
        let request = Request { method: self.method, url: self.url.to_owned(), fields };
        let ticket = tickets.current();
        let credentials = ticket.as_deref().map_or(Credentials::Confirmed, Credentials::Ticket);
        let length = body.length();
        let response = site.send(request, Payload::Reader(&mut body, length), credentials);
        if let Some(failure) = body.failure() {
            return Err(failure);
        }
        if let (Some(ticket), Ok(401)) =
            (&ticket, response.as_ref().map(|response| response.status().as_u16()))
        {
            tickets.renew(ticket)?;
            let expired = Failure::new(Exit::Refused, "the server does not accept its ticket");
            return Ok(Attempt::Again(expired, Some(std::time::Duration::ZERO)));
        }
        let mut response = match judged(response) {
            Attempt::Done(response) => response,
            Attempt::Again(failure, after) => return Ok(Attempt::Again(failure, after)),
            Attempt::Unreachable(failure) => return Ok(Attempt::Unreachable(failure)),
            Attempt::Failed(failure) => return Ok(Attempt::Failed(failure)),
        };
        body.keep();
        let stored = small_text(&mut response).and_then(|text| serde_json::from_str(&text).ok());
        stored.map(Attempt::Done).ok_or_else(strange)
    }
}

/// Tells the results of the files in their order, each as soon as those before it are told. A path that can't be read has
/// its place in it.
pub fn tell_as_they_come(
    console: &Console,
    found: &[Found],
    workers: usize,
    work: impl Fn(&Upload) -> Result<Value> + Sync,
) -> Result<Exit> {
    let mut told = Told::new(console);
    in_order(
        found,
        workers,
        |file| file.as_ref().map_err(Failure::clone).and_then(&work),
        |_, result| told.take(result),
    );
    told.end()
}

fn tell_results(
    console: &Console,
    found: &[Found],
    work: impl Fn(&Upload) -> Result<Value> + Sync,
) -> Result<Exit> {
    tell_as_they_come(console, found, 1, work)
}

/// Results as they are told: a URL for each, or all together as JSON; and the worst status.
pub struct Told<'a> {
    console: &'a Console,
    results: Vec<Value>,
    worst: Exit,
    unwritten: Option<Failure>,
}

impl<'a> Told<'a> {
    /// Before the first result.
    pub fn new(console: &'a Console) -> Self {
        Self { console, results: Vec::new(), worst: Exit::Done, unwritten: None }
    }

    /// Tells one result. Without its member `url`, it is told as JSON only.
    pub fn take(&mut self, result: Result<Value>) {
        match result {
            Ok(value) if self.console.is_json() => self.results.push(value),
            Ok(value) => {
                if let Some(url) = value.get("url").and_then(Value::as_str) {
                    self.unwritten = self.unwritten.take().or(self.console.print(url).err());
                }
            }
            Err(failure) => {
                self.console.failure(&failure);
                self.worst = self.worst.max(failure.exit);
            }
        }
    }

    /// The status of all of them.
    pub fn end(self) -> Result<Exit> {
        if self.console.is_json() {
            self.console.print_json(&self.results)?;
        }
        self.unwritten.map_or(Ok(self.worst), Err)
    }
}

fn id_of(stored: &Value) -> Result<String> {
    let id = stored.get("id").and_then(Value::as_str);
    let is_id = |id: &&str| {
        (1..=limits::CLIENT_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    id.filter(is_id).map(str::to_owned).ok_or_else(strange)
}

fn strange() -> Failure {
    Failure::new(Exit::NoService, "the server's response can't be understood")
}

/// A boundary that no file holds.
fn boundary() -> Result<String> {
    let random = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
    let (high, low) = random.map_err(|error| Failure::new(Exit::Io, format!("no random bytes: {error}")))?;
    Ok(format!("buddycloud-media-{high:016x}{low:016x}"))
}
