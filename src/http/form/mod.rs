//! Forms as bodies: `multipart/form-data` and `application/x-www-form-urlencoded`, read in one pass. The
//! data goes to a sink as it arrives; the other fields are small and are kept in memory.

mod collector;
mod decode;
mod multipart;
mod part;
mod source;
mod urlencoded;

use std::fmt;
use std::io::{self, Read, Write};

use self::collector::Collector;
use self::source::Source;
use crate::limits;
use crate::media_type::parameters;
use crate::model::Refusal;

pub use crate::http::message::file_name::file_name;

/// The fields of a form. Their names are in lower case; the first field of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    texts: Vec<(String, String)>,
    data: Option<DataPart>,
}

impl Form {
    /// The text of a field; its name is given in lower case.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// The description of the data, if the form has a field `data`.
    pub fn data(&self) -> Option<&DataPart> {
        self.data.as_ref()
    }
}

/// The description of the data that went to the sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataPart {
    /// The part's own file name, as [`file_name()`] leaves it.
    pub file_name: Option<String>,
    /// The part's own media type, if it is a valid one.
    pub content_type: Option<String>,
    /// Bytes that went to the sink.
    pub bytes: u64,
}

/// Why a form was not read.
#[derive(Debug)]
pub enum Failure {
    /// The client must change something, or the reader or the sink refused.
    Refused(Refusal),
    /// The body can't be read.
    Body(io::Error),
    /// The data can't be written.
    Sink(io::Error),
}

impl Failure {
    fn body(error: io::Error) -> Self {
        Refusal::in_io(&error).map_or(Self::Body(error), Self::Refused)
    }

    fn sink(error: io::Error) -> Self {
        Refusal::in_io(&error).map_or(Self::Sink(error), Self::Refused)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Body(error) => write!(f, "can't read the body: {error}"),
            Self::Sink(error) => write!(f, "can't write the data: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Reads a form from `body` to its end, and writes its data to `sink`. The sink may have taken bytes when
/// this fails; they count only if it does not.
pub fn read(content_type: Option<&str>, body: &mut dyn Read, sink: &mut dyn Write) -> Result<Form, Failure> {
    let encoding = Encoding::of(content_type)?;
    let lead = if encoding == Encoding::Url { b"" } else { multipart::LEAD };
    let mut source = Source::new(body, lead);
    if !source.fill()? {
        return Err(Refusal::EmptyBody.into());
    }
    let mut collector = Collector::new(sink);
    match encoding {
        Encoding::Multipart(boundary) => multipart::read(&mut source, &boundary, &mut collector)?,
        Encoding::Url => urlencoded::read(&mut source, &mut collector)?,
    }
    Ok(collector.finish())
}

/// The two encodings of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `multipart/form-data` with this boundary.
    Multipart(String),
    /// `application/x-www-form-urlencoded`; also a body without a type, as in the original.
    Url,
}

impl Encoding {
    /// The encoding that a Content-Type names.
    pub fn of(content_type: Option<&str>) -> Result<Self, Refusal> {
        let (essence, parameters) = parameters::split(content_type.unwrap_or_default());
        match essence.to_ascii_lowercase().as_str() {
            "" | "application/x-www-form-urlencoded" => Ok(Self::Url),
            "multipart/form-data" => match parameters.get("boundary") {
                Ok(Some(boundary)) if is_boundary(&boundary) => Ok(Self::Multipart(boundary.into_owned())),
                _ => Err(Refusal::BadForm),
            },
            _ => Err(Refusal::UnsupportedMediaType),
        }
    }
}

/// RFC 2046 section 5.1.1, but with every visible character, because senders use them.
fn is_boundary(text: &str) -> bool {
    (1..=limits::BOUNDARY_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && !text.ends_with(' ')
}

#[cfg(test)]
mod tests;
