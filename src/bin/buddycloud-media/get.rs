//! `get`: a file from a channel. Public files need no account where the URL is given.

use std::io::Read;
use std::path::PathBuf;

use media_server::limits;
use serde_json::json;
use ureq::Body;
use ureq::http::Response;

use crate::address::Target;
use crate::args::Output;
use crate::config::Config;
use crate::console::{Console, Progress};
use crate::exit::{Exit, Failure, Result};
use crate::file_name::{safe_name, told_name};
use crate::http::{Http, Request, Trouble};
use crate::reader::Reader;
use crate::retry::{Attempt, attempts};
use crate::save::{NewFile, Sink, refuse_taken};
use crate::site::judged;

/// The name of a file whose own name and id can't be one.
const NAMELESS: &str = "download";

/// Downloads a media.
pub fn get(
    config: &Config,
    console: &Console,
    http: &Http,
    target: &Target,
    output: &Output,
) -> Result<Exit> {
    if let Output::File(path) = output {
        refuse_taken(path)?;
    }
    let mut reader = Reader::new(config, console, http, &target.channel, target.endpoint.as_ref());
    let url = target.url(&reader.endpoint()?);
    let mut download = Download { output, target, sink: None, progress: None, done: 0, tag: None };
    attempts(&url, console, || {
        let read = download.attempt(&mut reader, console, &url);
        read.unwrap_or_else(Attempt::Failed)
    })?;
    drop(download.progress);
    let path = download.sink.map(Sink::complete).transpose()?.flatten();
    let name = path.map(|path| path.to_string_lossy().into_owned());
    match (console.is_json(), name) {
        // The bytes are there.
        _ if *output == Output::Stdout => {}
        (true, name) => console.print_json(&[json!({"url": url, "id": target.id, "file": name})])?,
        (false, Some(name)) => console.print(&name)?,
        (false, None) => {}
    }
    Ok(Exit::Done)
}

/// A download, over all its attempts.
struct Download<'a> {
    output: &'a Output,
    target: &'a Target,
    sink: Option<Sink>,
    progress: Option<Progress<'a>>,
    /// Bytes that are written.
    done: u64,
    /// The strong entity tag of these bytes.
    tag: Option<String>,
}

impl<'a> Download<'a> {
    fn attempt(&mut self, reader: &mut Reader<'a>, console: &'a Console, url: &str) -> Result<Attempt<()>> {
        let mut fields = Vec::new();
        if let (Some(tag), true) = (&self.tag, self.done > 0) {
            fields = vec![("Range", format!("bytes={}-", self.done)), ("If-Range", tag.clone())];
        }
        let request = Request { method: "GET", url: url.to_owned(), fields };
        let response = match judged(reader.send(request)?) {
            Attempt::Done(response) => response,
            Attempt::Again(failure, after) => return Ok(Attempt::Again(failure, after)),
            Attempt::Unreachable(failure) => return Ok(Attempt::Unreachable(failure)),
            Attempt::Failed(failure) => return Ok(Attempt::Failed(failure)),
        };
        self.begin(&response, console)?;
        self.copy(response)
    }

    /// Opens the sink for the first response, and finds the place in it for a later one.
    fn begin(&mut self, response: &Response<Body>, console: &'a Console) -> Result<()> {
        let field = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let Some(part) = Part::of(response.status().as_u16(), field("content-range"), self.done) else {
            let text = format!("the response is not the file ({})", response.status());
            return Err(Failure::new(Exit::NoService, text));
        };
        if let Some(sink) = &mut self.sink {
            if part == Part::Whole && self.done > 0 {
                if !sink.restart()? {
                    let text = "the connection was lost, and standard output can't be written again";
                    return Err(Failure::new(Exit::NoService, text));
                }
                self.progress.iter().for_each(|progress| progress.take_back(self.done));
                self.done = 0;
            }
        } else {
            let name = self.name(field("content-disposition"));
            self.sink = Some(match self.output {
                Output::Stdout => Sink::stdout()?,
                Output::File(path) => Sink::File(NewFile::create(path)?),
                Output::Named => Sink::File(NewFile::create(&PathBuf::from(&name))?),
            });
            let size = field("content-length").and_then(|size| size.parse().ok());
            self.progress = Some(console.progress(&name, 1, size));
        }
        self.tag = field("etag").filter(|tag| tag.starts_with('"')).map(str::to_owned);
        Ok(())
    }

    fn name(&self, disposition: Option<&str>) -> String {
        let told = disposition.and_then(told_name).and_then(|name| safe_name(&name));
        told.or_else(|| safe_name(&self.target.id)).unwrap_or_else(|| NAMELESS.to_owned())
    }

    fn copy(&mut self, mut response: Response<Body>) -> Result<Attempt<()>> {
        let Some(sink) = &mut self.sink else { return Ok(Attempt::Done(())) };
        let mut buffer = vec![0; limits::CLIENT_READ_BYTES];
        let mut body = response.body_mut().as_reader();
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(Attempt::Done(())),
                Ok(count) => {
                    sink.write(&buffer[..count])?;
                    self.done += count as u64;
                    self.progress.iter().for_each(|progress| progress.add(count as u64));
                }
                Err(error) => return Ok(Attempt::of(Trouble::of_io(&error))),
            }
        }
    }
}

/// The part of a file that a response holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// What is behind the bytes that are written.
    Rest,
}

impl Part {
    /// The part in a response of this status and `Content-Range`, if so many bytes are written; `None` if it has no
    /// place there. Without written bytes, no range was asked for.
    fn of(status: u16, range: Option<&str>, done: u64) -> Option<Self> {
        match status {
            200 => Some(Self::Whole),
            206 if done > 0 && begins_at(range, done) => Some(Self::Rest),
            _ => None,
        }
    }
}

/// Whether a `Content-Range` begins at this byte.
fn begins_at(range: Option<&str>, first: u64) -> bool {
    let begin = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok());
    begin == Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_holds_the_whole_file_or_the_rest() {
        let rest = Some("bytes 10-19/20");
        for (status, range, done, part) in [
            (200, None, 0, Some(Part::Whole)),
            (200, None, 10, Some(Part::Whole)),
            (200, rest, 10, Some(Part::Whole)),
            (206, rest, 10, Some(Part::Rest)),
            (206, Some("bytes 11-19/20"), 10, None),
            (206, Some("bytes */20"), 10, None),
            (206, Some("lines 10-19/20"), 10, None),
            (206, None, 10, None),
            (206, Some("bytes 0-19/20"), 0, None),
            (206, rest, 0, None),
            (202, None, 0, None),
            (204, None, 0, None),
            (205, None, 10, None),
        ] {
            assert_eq!(Part::of(status, range, done), part, "{status} {range:?} after {done}");
        }
    }
}
