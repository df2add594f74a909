//! Bytes to stream events, without I/O. XML that RFC 6120 section 11.1 forbids ends the stream: only the server itself
//! can have sent it. A stanza beyond our limits is dropped before it is parsed: any user can have sent it. The events do
//! not depend on how the bytes were split into reads.

mod scan;
mod source;

use std::io;

use xml::attribute::OwnedAttribute;
use xml::common::{XmlVersion, is_name_start_char};
use xml::name::OwnedName;
use xml::reader::{ErrorKind, EventReader, ParserConfig, XmlEvent};

use crate::error::{Error, Kind, Result};
use crate::limits;

use super::{Element, ns};
use source::ByteWindow;

/// A part of a server's stream.
#[derive(Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The stream header.
    Opened(StreamHeader),
    /// A direct child of the stream. Elements in the stream's content namespace are given [`ns::CLIENT`].
    Stanza(Element),
    /// A stream error; the server closes next.
    Failed(StreamError),
    /// The end of the stream.
    Closed,
}

/// The stream header (RFC 6120 section 4.7), as far as it is used.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StreamHeader {
    /// The stream's id.
    pub id: Option<String>,
    /// The sender's address.
    pub from: Option<String>,
    /// The version of XMPP.
    pub version: Option<String>,
}

/// A stream error (RFC 6120 section 4.9).
#[derive(Debug, PartialEq, Eq)]
pub struct StreamError {
    /// The condition's name.
    pub condition: String,
    /// The server's text, shortened.
    pub text: String,
}

impl StreamError {
    fn new(error: &Element) -> Self {
        let conditions = || error.children().filter(|child| child.namespace() == ns::STREAMS);
        let condition = conditions().map(Element::name).find(|name| *name != "text");
        let text = error.child("text", ns::STREAMS).map_or("", Element::text);
        Self {
            condition: condition.unwrap_or("undefined-condition").to_owned(),
            text: shortened(text).to_owned(),
        }
    }
}

/// A parser of one stream. After STARTTLS and after SASL a new one is needed.
pub struct StreamParser {
    reader: EventReader<ByteWindow>,
    /// The content namespace (RFC 6120 section 4.8.2).
    content: &'static str,
    opened: bool,
    /// The elements that are open below the root.
    open: Vec<Element>,
    /// Whether the parser has bytes of a stanza, or of the stream's end, and has not reported its end.
    parsing: bool,
}

impl StreamParser {
    /// A parser for a stream with this content namespace.
    pub fn new(content: &'static str) -> Self {
        let config = ParserConfig::new()
            .override_encoding(Some(xml::Encoding::Utf8))
            .ignore_end_of_stream(true)
            .ignore_comments(false)
            .whitespace_to_characters(true)
            .allow_multiple_root_elements(false)
            .max_entity_expansion_length(limits::STREAM_HEADER_BYTES)
            .max_entity_expansion_depth(1);
        let reader = EventReader::new_with_config(ByteWindow::default(), config);
        Self { reader, content, opened: false, open: Vec::new(), parsing: false }
    }

    /// Takes bytes from the server. Call [`StreamParser::next_event`] until it returns `None` before the next call.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.reader.source_mut().push(bytes);
    }

    /// Whether no byte, not even white space, was fed after the last event.
    pub fn is_drained(&self) -> bool {
        let source = self.reader.source();
        source.is_between() && source.is_drained()
    }

    /// Whether the last byte fed is outside of stanzas.
    pub fn is_between(&self) -> bool {
        self.reader.source().is_between()
    }

    /// The next event; `None` until more bytes are fed. After an error the parser can't be used any more.
    pub fn next_event(&mut self) -> Result<Option<StreamEvent>> {
        loop {
            match self.reader.next() {
                Ok(event) => {
                    if let Some(event) = self.take(event)? {
                        return Ok(Some(event));
                    }
                }
                Err(error) if is_dry(&error) => {
                    if !self.feed_parser()? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(wrong(shortened(&error.msg()).to_owned())),
            }
        }
    }

    /// Gives the parser the next stanza; false if none is complete yet.
    fn feed_parser(&mut self) -> Result<bool> {
        if !self.opened {
            return Ok(false);
        }
        if self.parsing {
            return Err(wrong("the end of a stanza is not where its tags say"));
        }
        self.parsing = self.reader.source_mut().next_stanza().map_err(wrong)?;
        Ok(self.parsing)
    }

    fn take(&mut self, event: XmlEvent) -> Result<Option<StreamEvent>> {
        match event {
            XmlEvent::StartDocument { version: XmlVersion::Version10, .. } => Ok(None),
            XmlEvent::StartElement { name, attributes, .. } => self.start(&name, attributes),
            XmlEvent::EndElement { .. } => Ok(self.end()),
            XmlEvent::Characters(text) | XmlEvent::CData(text) | XmlEvent::Whitespace(text) => {
                if let Some(element) = self.open.last_mut() {
                    element.push_text(&text);
                }
                Ok(None)
            }
            XmlEvent::StartDocument { .. } => Err(wrong("its XML version is not 1.0")),
            XmlEvent::Doctype { .. } => Err(wrong("it holds a document type declaration")),
            XmlEvent::ProcessingInstruction { .. } => Err(wrong("it holds a processing instruction")),
            XmlEvent::Comment(_) => Err(wrong("it holds a comment")),
            XmlEvent::EndDocument => Err(wrong("the document ended without </stream:stream>")),
        }
    }

    fn start(&mut self, name: &OwnedName, attributes: Vec<OwnedAttribute>) -> Result<Option<StreamEvent>> {
        let attributes = attributes.into_iter().filter(|attribute| attribute.name.prefix.is_none()).map(pair);
        if !self.opened {
            self.opened = true;
            self.reader.source_mut().end_header();
            return header(name, attributes).map(StreamEvent::Opened).map(Some);
        }
        // The parser checks the beginning of the prefix only (Namespaces in XML, section 4).
        if !name.local_name.starts_with(is_name_start_char) {
            return Err(wrong("an element has an invalid name"));
        }
        let mut element = Element::new(&name.local_name, self.translate(name.namespace.as_deref()));
        for (name, value) in attributes {
            element.set(&name, value);
        }
        self.open.push(element);
        Ok(None)
    }

    /// The namespace as the rest of the program knows it.
    fn translate<'a>(&self, namespace: Option<&'a str>) -> &'a str {
        match namespace {
            Some(namespace) if namespace == self.content => ns::CLIENT,
            namespace => namespace.unwrap_or_default(),
        }
    }

    fn end(&mut self) -> Option<StreamEvent> {
        let Some(element) = self.open.pop() else {
            self.parsing = false;
            return Some(StreamEvent::Closed);
        };
        if let Some(parent) = self.open.last_mut() {
            parent.push(element);
            return None;
        }
        self.parsing = false;
        if element.is("error", ns::STREAM) {
            return Some(StreamEvent::Failed(StreamError::new(&element)));
        }
        Some(StreamEvent::Stanza(element))
    }
}

/// The beginning of a server's text: at most [`limits::PEER_TEXT_BYTES`].
pub(super) fn shortened(text: &str) -> &str {
    let mut end = text.len().min(limits::PEER_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn header(name: &OwnedName, attributes: impl Iterator<Item = (String, String)>) -> Result<StreamHeader> {
    if name.local_name != "stream" || name.namespace.as_deref() != Some(ns::STREAM) {
        return Err(wrong("the root element is not <stream:stream>"));
    }
    let mut header = StreamHeader::default();
    for (name, value) in attributes {
        match name.as_str() {
            "id" => header.id = Some(value),
            "from" => header.from = Some(value),
            "version" => header.version = Some(value),
            _ => {}
        }
    }
    Ok(header)
}

fn pair(attribute: OwnedAttribute) -> (String, String) {
    (attribute.name.local_name, attribute.value)
}

fn is_dry(error: &xml::reader::Error) -> bool {
    matches!(error.kind(), ErrorKind::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn wrong(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::caused(Kind::Corrupt, "the XMPP server sent an invalid stream", what)
}

#[cfg(test)]
mod tests;
