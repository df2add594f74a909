//! A scanner that finds where stanzas begin and end, and which of them are beyond our limits, without parsing them. The
//! parser's work at an element grows with the elements around it and the namespaces in scope. Any user can send a stanza
//! that takes it seconds, so it must not see one. The scanner's work is the same for every byte, and it keeps none.
//!
//! It expects well-formed XML, which a server makes of its users' stanzas. Other bytes are left to the parser, which
//! refuses them; the scanner refuses those that the parser would read in another way.

use crate::limits;

/// The unit that a byte has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanEnd {
    /// A stanza within the limits.
    Stanza,
    /// A stanza beyond the limits.
    Oversized,
    /// The stream, by its end tag.
    Stream,
}

/// The scanner of one stream, from behind its header.
#[derive(Default)]
pub(super) struct StanzaScanner {
    state: ScanState,
    /// Bytes of the stanza so far.
    bytes: usize,
    /// Elements of the stanza so far.
    elements: usize,
    /// Elements that are open.
    depth: usize,
    /// For each of them, the bytes of all namespace declarations in scope; not kept of a stanza beyond the limits.
    scopes: Vec<usize>,
    /// Bytes of declarations that the elements so far copy; see [`limits::STANZA_COPIES`].
    copies: usize,
    tag: Tag,
    excess: bool,
}

#[derive(Clone, Copy, Default)]
enum ScanState {
    /// In text, or between stanzas.
    #[default]
    Text,
    /// Behind `<`.
    Open,
    /// In the name of a start tag.
    Name,
    /// In a start tag, between its attributes.
    Inside,
    /// In the name of an attribute.
    Attribute,
    /// In a value, until this quotation mark.
    Value(u8),
    /// Behind a `/` in a start tag.
    Slash,
    /// In an end tag.
    EndTag,
    /// Behind `<!` and so many bytes of [`CDATA`].
    Declaration(usize),
    /// In a CDATA section, behind so many of the `]]` that end it.
    CData(usize),
}

const CDATA: &[u8] = b"[CDATA[";

/// The counts of a start tag.
#[derive(Default)]
struct Tag {
    /// Bytes of the name that is being read.
    name: usize,
    attributes: usize,
    /// Attributes with a prefix: each has a copy of its namespace.
    prefixed: usize,
    /// Bytes of the namespaces that it declares.
    declared: usize,
    /// Whether the attribute at hand declares a namespace.
    declares: bool,
}

impl StanzaScanner {
    /// Whether no stanza has begun that has not ended.
    pub fn is_between(&self) -> bool {
        self.depth == 0 && matches!(self.state, ScanState::Text)
    }

    /// Whether the bytes so far are of no use to a parser.
    pub fn is_discarding(&self) -> bool {
        self.excess || self.is_between()
    }

    /// Takes the next byte. Fails on what a stream must not hold (RFC 6120 section 11.1), and on a stanza without end.
    pub fn step(&mut self, byte: u8) -> Result<Option<ScanEnd>, &'static str> {
        if !self.is_between() || byte == b'<' {
            self.count_byte()?;
        }
        match (self.state, byte) {
            (ScanState::Text, b'<') => self.state = ScanState::Open,
            (ScanState::Text, b' ' | b'\t' | b'\r' | b'\n') => {}
            (ScanState::Text, _) if self.depth == 0 => return Err("it holds text between stanzas"),
            (ScanState::Open, b'/') => self.state = ScanState::EndTag,
            (ScanState::Open, b'?') => return Err("it holds a processing instruction"),
            (ScanState::Open, b'!') if self.depth == 0 => {
                return Err("it holds a declaration between stanzas");
            }
            (ScanState::Open, b'!') => self.state = ScanState::Declaration(0),
            (ScanState::Open, _) => self.begin_tag(),
            // The parser takes this for a section of CDATA, whose end may hide that of the value.
            (ScanState::Value(_), b'<') => return Err("an attribute holds <"),
            (
                ScanState::Name
                | ScanState::Inside
                | ScanState::Attribute
                | ScanState::Value(_)
                | ScanState::Slash,
                _,
            ) => {
                return Ok(self.in_tag(byte));
            }
            (ScanState::EndTag, b'>') => return Ok(self.end()),
            (ScanState::Declaration(read), _) => self.state = declaration(read, byte)?,
            (ScanState::CData(brackets), _) => self.state = in_cdata(brackets, byte),
            (ScanState::Text | ScanState::EndTag, _) => {}
        }
        Ok(None)
    }

    fn count_byte(&mut self) -> Result<(), &'static str> {
        self.bytes += 1;
        self.excess |= self.bytes > limits::STANZA_BYTES;
        if self.bytes > limits::STANZA_SKIP_BYTES { Err("a stanza is too large") } else { Ok(()) }
    }

    fn begin_tag(&mut self) {
        self.state = ScanState::Name;
        self.tag = Tag { name: 1, ..Tag::default() };
    }

    fn in_tag(&mut self, byte: u8) -> Option<ScanEnd> {
        self.state = match (self.state, byte) {
            (ScanState::Value(mark), _) => self.in_value(mark, byte),
            (ScanState::Slash, b'>') => return self.start(true),
            (_, b'>') => return self.start(false),
            (_, b'/') => ScanState::Slash,
            (_, b'\'' | b'"') => ScanState::Value(byte),
            (_, b'=' | b' ' | b'\t' | b'\r' | b'\n') => ScanState::Inside,
            (ScanState::Inside | ScanState::Slash, _) => self.begin_attribute(byte),
            (ScanState::Attribute, _) => self.in_attribute(byte),
            (state, _) => {
                self.count_name();
                state
            }
        };
        None
    }

    fn begin_attribute(&mut self, byte: u8) -> ScanState {
        self.tag.attributes += 1;
        self.tag.name = 0;
        self.tag.declares = true;
        self.in_attribute(byte)
    }

    fn in_attribute(&mut self, byte: u8) -> ScanState {
        // Names that only begin like a declaration are taken for one: that errs on the safe side.
        self.tag.declares &= b"xmlns".get(self.tag.name).is_none_or(|expected| *expected == byte);
        self.tag.prefixed += usize::from(byte == b':');
        self.count_name();
        ScanState::Attribute
    }

    fn count_name(&mut self) {
        self.tag.name += 1;
        self.excess |= self.tag.name > limits::XML_NAME_BYTES;
    }

    fn in_value(&mut self, mark: u8, byte: u8) -> ScanState {
        if self.tag.declares {
            self.tag.declared += 1;
        }
        if byte != mark {
            return ScanState::Value(mark);
        }
        if self.tag.declares {
            self.tag.declared += self.tag.name + limits::DECLARATION_BYTES;
        }
        ScanState::Inside
    }

    /// At the end of a start tag.
    fn start(&mut self, empty: bool) -> Option<ScanEnd> {
        self.state = ScanState::Text;
        self.elements += 1;
        self.depth += 1;
        let scope = self.scopes.last().unwrap_or(&0).saturating_add(self.tag.declared);
        self.copies = self.copies.saturating_add(scope.saturating_mul(1 + self.tag.prefixed));
        self.excess |= self.elements > limits::STANZA_ELEMENTS
            || self.depth > limits::STANZA_DEPTH
            || self.tag.attributes > limits::ELEMENT_ATTRIBUTES
            || self.copies > limits::STANZA_COPIES;
        if !self.excess {
            self.scopes.push(scope);
        }
        if empty { self.close() } else { None }
    }

    fn end(&mut self) -> Option<ScanEnd> {
        self.state = ScanState::Text;
        if self.depth == 0 { Some(ScanEnd::Stream) } else { self.close() }
    }

    /// At the end of an element.
    fn close(&mut self) -> Option<ScanEnd> {
        self.depth -= 1;
        self.scopes.pop();
        if self.depth > 0 {
            return None;
        }
        let found = if self.excess { ScanEnd::Oversized } else { ScanEnd::Stanza };
        *self = Self::default();
        Some(found)
    }
}

/// The only markup beginning with `<!` that a stream may hold (RFC 6120 section 11.1).
fn declaration(read: usize, byte: u8) -> Result<ScanState, &'static str> {
    match CDATA.get(read) {
        Some(expected) if *expected != byte => Err("it holds a comment or declaration"),
        _ if read + 1 == CDATA.len() => Ok(ScanState::CData(0)),
        _ => Ok(ScanState::Declaration(read + 1)),
    }
}

fn in_cdata(brackets: usize, byte: u8) -> ScanState {
    match (brackets, byte) {
        (2, b'>') => ScanState::Text,
        (_, b']') => ScanState::CData(2.min(brackets + 1)),
        _ => ScanState::CData(0),
    }
}
