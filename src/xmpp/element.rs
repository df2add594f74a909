//! XML elements, which stanzas are made of.

use std::fmt::{self, Write};

use super::ns;

/// An element. Only attributes without a namespace are kept. `Debug` shows names, namespace and `type` only: stanzas
/// hold transaction ids.
#[derive(Clone, PartialEq, Eq)]
pub struct Element {
    name: String,
    namespace: String,
    attributes: Vec<(String, String)>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    /// An empty element.
    pub fn new(name: &str, namespace: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            attributes: Vec::new(),
            children: Vec::new(),
            text: String::new(),
        }
    }

    /// A stanza error of this type and condition (RFC 6120 section 8.3).
    pub fn error(kind: &str, condition: &str) -> Self {
        Self::new("error", ns::CLIENT).with("type", kind).with_child(Self::new(condition, ns::STANZAS))
    }

    /// Adds an attribute, or replaces the one of this name.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// Adds a child at the end.
    pub fn with_child(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// Replaces the text.
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// Adds an attribute, or replaces the one of this name.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|(known, _)| known == name) {
            Some(attribute) => attribute.1 = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
    }

    /// Adds a child at the end.
    pub fn push(&mut self, child: Element) {
        self.children.push(child);
    }

    /// Adds text at the end.
    pub fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether it has this name and namespace.
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    /// An attribute's value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The text directly in it, concatenated.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The children, in order.
    pub fn children(&self) -> impl Iterator<Item = &Element> {
        self.children.iter()
    }

    /// The first child of this name and namespace.
    pub fn child(&self, name: &str, namespace: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.is(name, namespace))
    }

    /// The element as XML, within an element whose default namespace is `default`. Characters that XML 1.0 forbids are
    /// left out.
    pub fn to_xml(&self, default: &str) -> String {
        let mut xml = String::new();
        self.write(&mut xml, default);
        xml
    }

    fn write(&self, xml: &mut String, default: &str) {
        xml.push('<');
        xml.push_str(&self.name);
        if self.namespace != default {
            write_attribute(xml, "xmlns", &self.namespace);
        }
        for (name, value) in &self.attributes {
            write_attribute(xml, name, value);
        }
        if self.children.is_empty() && self.text.is_empty() {
            xml.push_str("/>");
            return;
        }
        xml.push('>');
        escape(xml, &self.text);
        for child in &self.children {
            child.write(xml, &self.namespace);
        }
        // Writing to a String can't fail.
        let _ = write!(xml, "</{}>", self.name);
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} xmlns={:?}", self.name, self.namespace)?;
        if let Some(kind) = self.attribute("type") {
            write!(f, " type={kind:?}")?;
        }
        f.write_str(">")?;
        f.debug_list().entries(self.children.iter().map(Element::name)).finish()
    }
}

fn write_attribute(xml: &mut String, name: &str, value: &str) {
    xml.push(' ');
    xml.push_str(name);
    xml.push_str("='");
    escape(xml, value);
    xml.push('\'');
}

fn escape(xml: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '\'' => xml.push_str("&apos;"),
            '"' => xml.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                // As references: within an attribute they would be read as spaces.
                let _ = write!(xml, "&#{};", u32::from(c));
            }
            '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'.. => xml.push(c),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_written_as_xml() {
        let element = Element::new("message", "jabber:client")
            .with("to", "a'b")
            .with("to", "c&d")
            .with_child(Element::new("body", "jabber:client").with_text("<\u{1}é\n>"))
            .with_child(Element::new("confirm", "ns").with_child(Element::new("x", "ns")));
        assert_eq!(
            element.to_xml("jabber:client"),
            "<message to='c&amp;d'><body>&lt;é&#10;&gt;</body><confirm xmlns='ns'><x/></confirm></message>"
        );
        assert!(element.to_xml("jabber:component:accept").starts_with("<message xmlns='jabber:client' to="));
    }

    #[test]
    fn debug_hides_ids_and_texts() {
        let confirm = Element::new("confirm", "ns").with("id", "secret").with_text("secret");
        let message = Element::new("message", "jabber:client")
            .with("type", "error")
            .with("to", "secret")
            .with_child(confirm);
        let shown = format!("{message:?}");
        assert_eq!(shown, r#"<message xmlns="jabber:client" type="error">["confirm"]"#);
    }
}
