//! XML stanzas as small trees, and the reader that takes them off a stream. Independent of the server's own.

use std::fmt::Write;
use std::io::{BufReader, Read};

use xml::reader::{EventReader, ParserConfig, XmlEvent};

/// An element with all that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stanza {
    /// Its name without a prefix.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its attributes; `xml:lang` keeps its prefix, others have none.
    pub attributes: Vec<(String, String)>,
    /// The elements in it.
    pub children: Vec<Stanza>,
    /// All its text.
    pub text: String,
}

impl Stanza {
    /// An attribute's value, empty if it is absent.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: &str) {
        self.attributes.retain(|(known, _)| known != name);
        self.attributes.push((name.to_owned(), value.to_owned()));
    }

    /// The first child of this name in this namespace.
    pub fn child(&self, name: &str, namespace: &str) -> Option<&Stanza> {
        self.children.iter().find(|child| child.name == name && child.namespace == namespace)
    }

    /// All elements of this name below this one, at any depth.
    pub fn all(&self, name: &str) -> Vec<&Stanza> {
        let below = self.children.iter();
        below
            .flat_map(|child| {
                let own = (child.name == name).then_some(child);
                own.into_iter().chain(child.all(name))
            })
            .collect()
    }

    /// As text, to be sent on a stream whose default namespace is `around`.
    pub fn to_xml(&self, around: &str) -> String {
        let mut xml = String::new();
        self.write(&mut xml, around);
        xml
    }

    fn write(&self, xml: &mut String, around: &str) {
        let _ = write!(xml, "<{}", self.name);
        if self.namespace != around {
            let _ = write!(xml, " xmlns='{}'", escape(&self.namespace));
        }
        for (name, value) in &self.attributes {
            let _ = write!(xml, " {name}='{}'", escape(value));
        }
        let _ = write!(xml, ">{}", escape(&self.text));
        for child in &self.children {
            child.write(xml, &self.namespace);
        }
        let _ = write!(xml, "</{}>", self.name);
    }
}

/// Text that is safe in content and in attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '\'' => safe.push_str("&apos;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Reads one XMPP stream after the other (they begin anew after a login) from one connection.
pub struct StreamReader<R: Read> {
    events: EventReader<BufReader<R>>,
}

impl<R: Read> StreamReader<R> {
    /// A reader at the start of a stream.
    pub fn new(connection: R) -> Self {
        Self::over(BufReader::new(connection))
    }

    /// The same connection at the start of another stream.
    pub fn restarted(self) -> Self {
        Self::over(self.events.into_inner())
    }

    fn over(connection: BufReader<R>) -> Self {
        Self { events: EventReader::new_with_config(connection, ParserConfig::new()) }
    }

    /// The opening tag of the stream, without children.
    pub fn header(&mut self) -> Result<Stanza, String> {
        loop {
            match self.event()? {
                XmlEvent::StartElement { name, attributes, .. } => return Ok(opened(name, attributes)),
                XmlEvent::EndDocument => return Err("the connection ended before the stream began".into()),
                _ => {}
            }
        }
    }

    /// The next stanza; `None` when the stream is closed.
    pub fn stanza(&mut self) -> Result<Option<Stanza>, String> {
        let mut open: Vec<Stanza> = Vec::new();
        loop {
            match self.event()? {
                XmlEvent::StartElement { name, attributes, .. } => open.push(opened(name, attributes)),
                XmlEvent::EndElement { .. } => {
                    let Some(done) = open.pop() else { return Ok(None) };
                    match open.last_mut() {
                        Some(parent) => parent.children.push(done),
                        None => return Ok(Some(done)),
                    }
                }
                XmlEvent::Characters(text) | XmlEvent::CData(text) | XmlEvent::Whitespace(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text);
                    }
                }
                XmlEvent::EndDocument => return Ok(None),
                _ => {}
            }
        }
    }

    fn event(&mut self) -> Result<XmlEvent, String> {
        self.events.next().map_err(|error| format!("the stream broke: {error}"))
    }
}

fn opened(name: xml::name::OwnedName, attributes: Vec<xml::attribute::OwnedAttribute>) -> Stanza {
    let attributes = attributes.into_iter().map(|attribute| {
        let name = match attribute.name.prefix.as_deref() {
            Some("xml") => format!("xml:{}", attribute.name.local_name),
            _ => attribute.name.local_name,
        };
        (name, attribute.value)
    });
    Stanza {
        name: name.local_name,
        namespace: name.namespace.unwrap_or_default(),
        attributes: attributes.collect(),
        ..Stanza::default()
    }
}
