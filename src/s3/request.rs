//! One request to the store: it is signed, sent, and its response is read. A response that refuses is a [`Failure`].

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rusty_s3::signing::sign;
use rusty_s3::{Bucket, Method, UrlStyle};
use ureq::config::Config;
use ureq::http::{self, Response};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector, NextTimeout, TcpConnector};
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::failure::{Failure, Refused};
use super::parts::Unfinished;
use super::reply::Reply;
use super::settings::Settings;
use crate::error::{Error, Kind};
use crate::https::{Authorities, Tls};
use crate::limits;

/// A request without its body.
pub(super) struct Request<'a> {
    method: Method,
    /// Empty for the bucket itself.
    key: &'a str,
    query: Vec<(&'static str, String)>,
    /// Header fields that the signature covers. Stores demand this of names that begin with `x-amz-`.
    signed: Vec<(&'static str, String)>,
    fields: Vec<(&'static str, String)>,
    /// Bytes of the body that the response will have, if it is large.
    expected: u64,
    /// The time that the store itself takes before the response is complete, if that is long.
    work: Duration,
}

impl<'a> Request<'a> {
    pub fn new(method: Method, key: &'a str) -> Self {
        let (expected, work) = (0, Duration::ZERO);
        Self { method, key, query: Vec::new(), signed: Vec::new(), fields: Vec::new(), expected, work }
    }

    /// The same, whose response will have a body of so many bytes.
    pub fn expecting(self, bytes: u64) -> Self {
        Self { expected: bytes, ..self }
    }

    /// The same for an operation that takes the store a long time: it copies bytes or puts parts together.
    pub fn long(self) -> Self {
        Self { work: limits::S3_WORK_TIME, ..self }
    }

    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub fn signed(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.signed.push((name, value.into()));
        self
    }

    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

/// The body of a request. Its length is always known.
pub(super) enum Payload<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Part(FilePart<'a>),
}

impl Payload<'_> {
    /// Its length in bytes.
    fn bytes(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part(part) => part.left.end - part.left.start,
        }
    }
}

/// A part of a file, read without a shared position: the same part may be sent twice.
pub(super) struct FilePart<'a> {
    file: &'a File,
    left: Range<u64>,
    /// Why it could not be read.
    failure: Option<io::Error>,
}

impl<'a> FilePart<'a> {
    pub fn new(file: &'a File, range: Range<u64>) -> Self {
        Self { file, left: range, failure: None }
    }
}

impl Read for FilePart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX));
        match self.file.read_at(&mut buffer[..wanted], self.left.start) {
            Ok(0) if wanted > 0 => {
                self.failure = Some(io::ErrorKind::UnexpectedEof.into());
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(read) => {
                self.left.start += read as u64;
                Ok(read)
            }
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// Signs requests to the bucket and sends them.
pub(super) struct Sender {
    agent: Agent,
    bucket: Bucket,
    pub(super) settings: Settings,
    /// The minimum size of a part, in bytes.
    pub(super) part_bytes: u64,
    /// Bytes per second that the body of a request must reach.
    pub(super) send_rate: u64,
    /// Bytes per second that the body of a response must reach.
    pub(super) receive_rate: u64,
    /// Whether requests that change the bucket are sent.
    pub(super) may_change: AtomicBool,
    /// Uploads in parts that failed and could not be aborted.
    pub(super) failed: Mutex<Vec<Unfinished>>,
    /// The ids of the uploads in parts that run.
    pub(super) running: Mutex<HashSet<String>>,
}

impl Sender {
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let wrong =
            || Error::new(Kind::Config, "media.storage.s3.endpoint is not an http or https URL of a server");
        let endpoint = settings.endpoint.parse().map_err(|_| wrong())?;
        let (name, region) = (settings.bucket.clone(), settings.region.clone());
        let bucket = Bucket::new(endpoint, UrlStyle::Path, name, region).map_err(|_| wrong())?;
        Ok(Self {
            agent: agent(settings),
            bucket,
            settings: settings.clone(),
            part_bytes: limits::S3_PART_BYTES,
            send_rate: limits::S3_SEND_RATE,
            receive_rate: limits::S3_RECEIVE_RATE,
            may_change: AtomicBool::new(true),
            failed: Mutex::default(),
            running: Mutex::default(),
        })
    }

    /// The signed address of a request.
    pub fn address(&self, request: &Request<'_>, seconds: u64) -> String {
        let url = match request.key {
            "" => self.bucket.base_url().clone(),
            key => self.bucket.object_url(key),
        };
        let Settings { access_key, secret_key, region, .. } = &self.settings;
        let sorted = |pairs: &[(&'static str, String)]| {
            let mut pairs: Vec<_> = pairs.to_vec();
            pairs.sort();
            pairs
        };
        let (query, signed) = (sorted(&request.query), sorted(&request.signed));
        let query = query.iter().map(|(name, value)| (*name, value.as_str()));
        let signed = signed.iter().map(|(name, value)| (*name, value.as_str()));
        let (now, secret) = (Timestamp::now(), secret_key.expose());
        sign(&now, request.method, url, access_key, secret, None, region, seconds, query, signed).into()
    }

    /// The time from the beginning of a request to the end of its response.
    fn time(&self, request: &Request<'_>, payload: &Payload<'_>) -> Duration {
        let bodies = payload.bytes() / self.send_rate + request.expected / self.receive_rate;
        self.settings.timeout * limits::S3_TIMEOUTS + Duration::from_secs(bodies) + request.work
    }

    /// Sends a request; the body of the response is unread. Whatever the store does, the request ends in bounded time, and
    /// so does the reading of the response.
    pub fn send(&self, request: &Request<'_>, payload: Payload<'_>) -> Result<Response<Body>, Failure> {
        let is_reading = matches!(request.method, Method::Get | Method::Head);
        if !is_reading && !self.may_change.load(Ordering::Acquire) {
            let text = "nothing is changed in the bucket, for it was not compared with the database yet";
            return Err(Failure::Own(Error::new(Kind::Unavailable, text)));
        }
        let mut builder = http::Request::builder()
            .method(request.method.to_str())
            .uri(self.address(request, limits::S3_SIGNED_SECONDS));
        for (name, value) in request.signed.iter().chain(&request.fields) {
            builder = builder.header(*name, value);
        }
        let wrong = |error: http::Error| Failure::Wrong(format!("the request can't be sent: {error}"));
        let (timeout, time, length) = (self.settings.timeout, self.time(request, &payload), payload.bytes());
        let sent = match payload {
            Payload::Nothing => self.run(builder.body(()).map_err(wrong)?, time),
            Payload::Bytes(bytes) => self.run(builder.body(bytes).map_err(wrong)?, time),
            Payload::Part(mut part) => {
                let body = SendBody::from_reader(&mut part);
                let sent =
                    self.run(builder.header("content-length", length).body(body).map_err(wrong)?, time);
                if let Some(cause) = part.failure {
                    return Err(Failure::Own(Error::io("can't read the bytes to store", cause)));
                }
                sent
            }
        };
        let response = sent.map_err(|error| Failure::of(&error, timeout))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response)) }
    }

    fn run(
        &self,
        request: http::Request<impl AsSendBody>,
        time: Duration,
    ) -> Result<Response<Body>, ureq::Error> {
        self.agent.run(self.agent.configure_request(request).timeout_global(Some(time)).build())
    }

    /// Sends a request, and reads its response, a document with this root element.
    pub fn ask(&self, request: &Request<'_>, payload: Payload<'_>, root: &str) -> Result<Reply, Failure> {
        let response = self.send(request, payload)?;
        let status = response.status().as_u16();
        let bytes = self.read(response, limits::S3_REPLY_BYTES)?;
        match Reply::parse(&bytes) {
            Some(reply) if reply.root == root => Ok(reply),
            // Stores answer a long operation with 200 before it is done.
            Some(reply) if reply.root == "Error" => {
                Err(Failure::Refused(Box::new(refused(500.max(status), &reply))))
            }
            _ => Err(Failure::Wrong(
                "its response is not that of an S3 store: check media.storage.s3.endpoint".to_owned(),
            )),
        }
    }

    /// The whole body of a response.
    pub fn read(&self, mut response: Response<Body>, max: u64) -> Result<Vec<u8>, Failure> {
        let expected = length(&response);
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(max + 1).read_to_end(&mut bytes);
        read.map_err(|error| Failure::of_io(&error, self.settings.timeout))?;
        if bytes.len() as u64 > max {
            return Err(Failure::Wrong("its response is too long".to_owned()));
        }
        if expected.is_some_and(|expected| expected != bytes.len() as u64) {
            return Err(Failure::Wrong("its response is shorter than it says".to_owned()));
        }
        Ok(bytes)
    }

    /// Writes the body of a response to `sink`, and adds its bytes to `count`, up to `max`. It is read to its end: only then
    /// does the agent use the connection again.
    pub fn copy(
        &self,
        mut response: Response<Body>,
        max: u64,
        sink: &mut dyn Write,
        count: &mut u64,
    ) -> Result<(), Failure> {
        let mut reader = response.body_mut().as_reader();
        let mut buffer = vec![0; limits::S3_BUFFER_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) if read as u64 > max - *count => {
                    return Err(Failure::Wrong("its response is too long".to_owned()));
                }
                Ok(read) => {
                    let written = sink.write_all(&buffer[..read]);
                    written.map_err(|cause| {
                        Failure::Own(Error::io("can't keep the bytes that the store sends", cause))
                    })?;
                    *count += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::of_io(&error, self.settings.timeout)),
            }
        }
    }

    /// Reads a response that refuses, as far as it can be read.
    fn refusal(&self, mut response: Response<Body>) -> Failure {
        let status = response.status().as_u16();
        let date = field(&response, "date").map(str::to_owned);
        let mut bytes = Vec::new();
        let _ = response.body_mut().as_reader().take(limits::S3_REFUSAL_BYTES).read_to_end(&mut bytes);
        let reply = Reply::parse(&bytes).filter(|reply| reply.root == "Error").unwrap_or_default();
        let mut refused = refused(status, &reply);
        refused.compare_clocks(date.as_deref());
        Failure::Refused(Box::new(refused))
    }
}

fn refused(status: u16, reply: &Reply) -> Refused {
    let text = |name| reply.fields.get(name).to_owned();
    Refused { status, code: text("Code"), message: text("Message"), region: text("Region"), ahead: 0 }
}

/// The value of a header field of a response.
pub(super) fn field<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The value of `Content-Length` of a response.
pub(super) fn length(response: &Response<Body>) -> Option<u64> {
    field(response, "content-length")?.trim().parse().ok()
}

fn agent(settings: &Settings) -> Agent {
    let (timeout, authorities) =
        (Some(settings.timeout), Authorities::new(Vec::new(), "that the system trusts"));
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("buddycloud-media-server/", env!("CARGO_PKG_VERSION")))
        .max_idle_connections(limits::S3_IDLE)
        .max_idle_connections_per_host(limits::S3_IDLE)
        .input_buffer_size(limits::S3_BUFFER_BYTES)
        .output_buffer_size(limits::S3_BUFFER_BYTES)
        .timeout_connect(timeout)
        .timeout_per_read(timeout)
        .timeout_per_write(timeout)
        .build();
    let connector = TcpConnector::default().chain(Tls::new(Arc::new(authorities)));
    Agent::with_parts(config, connector, DirectResolver(DefaultResolver::default()))
}

/// Looks up the address of the store on the calling thread; resolv.conf(5) bounds the time. With a time limit
/// [`DefaultResolver`] starts a thread for each request, and panics where there is none.
#[derive(Debug)]
struct DirectResolver(DefaultResolver);

impl Resolver for DirectResolver {
    fn resolve(
        &self,
        uri: &http::Uri,
        config: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.0.resolve(uri, config, NextTimeout::default())
    }
}
