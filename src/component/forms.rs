//! Data forms (XEP-0004): how they are written, and how a submitted one is read. Pure functions.

use crate::limits;
use crate::xmpp::{Element, ns};

/// A form that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    kind: &'static str,
    title: String,
    instructions: Option<String>,
    fields: Vec<Field>,
}

impl Form {
    /// A form to be filled in.
    pub(super) fn to_fill_in(title: &str) -> Self {
        Self { kind: "form", title: title.to_owned(), instructions: None, fields: Vec::new() }
    }

    /// A form that tells something.
    pub(super) fn result(title: &str) -> Self {
        Self { kind: "result", ..Self::to_fill_in(title) }
    }

    pub(super) fn instructions(self, text: impl Into<String>) -> Self {
        Self { instructions: Some(text.into()), ..self }
    }

    pub(super) fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    pub(super) fn into_element(self) -> Element {
        let text = |name: &str, text: String| Element::new(name, ns::DATA_FORMS).with_text(text);
        let mut form = Element::new("x", ns::DATA_FORMS).with("type", self.kind);
        form.push(text("title", self.title));
        self.instructions.into_iter().for_each(|words| form.push(text("instructions", words)));
        self.fields.into_iter().for_each(|field| form.push(field.into_element()));
        form
    }
}

/// A field of a form that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    name: String,
    kind: &'static str,
    label: String,
    value: Option<String>,
    is_required: bool,
    /// Labels and values.
    options: Vec<(String, String)>,
}

impl Field {
    /// A field of this type (XEP-0004 section 3.3).
    pub(super) fn new(name: impl Into<String>, kind: &'static str, label: impl Into<String>) -> Self {
        let (name, label) = (name.into(), label.into());
        Self { name, kind, label, value: None, is_required: false, options: Vec::new() }
    }

    pub(super) fn value(self, value: impl Into<String>) -> Self {
        Self { value: Some(value.into()), ..self }
    }

    pub(super) fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// Labels and values to choose from.
    pub(super) fn options(self, options: Vec<(String, String)>) -> Self {
        Self { options, ..self }
    }

    fn into_element(self) -> Element {
        let value = |value: String| Element::new("value", ns::DATA_FORMS).with_text(value);
        let mut field = Element::new("field", ns::DATA_FORMS)
            .with("var", self.name)
            .with("type", self.kind)
            .with("label", self.label);
        if self.is_required {
            field.push(Element::new("required", ns::DATA_FORMS));
        }
        self.value.into_iter().for_each(|text| field.push(value(text)));
        for (label, text) in self.options {
            let option = Element::new("option", ns::DATA_FORMS).with("label", label);
            field.push(option.with_child(value(text)));
        }
        field
    }
}

/// A form that a user has filled in: names of fields, and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Submission(Vec<(String, Vec<String>)>);

/// A form that holds more than any form of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Submission {
    /// The form of type `submit` in an element; `None` if there is none.
    pub(super) fn read(parent: &Element) -> Result<Option<Self>, TooLarge> {
        let mut forms = parent.children().filter(|child| child.is("x", ns::DATA_FORMS));
        let Some(form) = forms.find(|form| form.attribute("type") == Some("submit")) else { return Ok(None) };
        let mut fields = Vec::new();
        for field in form.children().filter(|child| child.is("field", ns::DATA_FORMS)) {
            let Some(name) = field.attribute("var").filter(|name| *name != "FORM_TYPE") else { continue };
            let values = field.children().filter(|child| child.is("value", ns::DATA_FORMS));
            let values: Vec<_> = values
                .map(|value| value.text().trim().to_owned())
                .filter(|value| !value.is_empty())
                .collect();
            if fields.len() == limits::FORM_FIELDS || values.len() > limits::COMMAND_FILES {
                return Err(TooLarge);
            }
            fields.push((name.to_owned(), values));
        }
        Ok(Some(Self(fields)))
    }

    /// Whether no field has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, values)| values.is_empty())
    }

    /// The values of a field.
    pub(super) fn all(&self, name: &str) -> &[String] {
        self.0.iter().find(|(known, _)| known == name).map_or(&[], |(_, values)| values)
    }

    /// The value of a field that has one.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        match self.all(name) {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Whether a boolean field is true (XEP-0004 section 3.3).
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.one(name), Some("true" | "1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_written() {
        let options = vec![("One <1>".to_owned(), "1".to_owned()), ("Two".to_owned(), "2".to_owned())];
        let form = Form::to_fill_in("My files")
            .instructions("Choose.")
            .field(Field::new("files", "list-multi", "Files").options(options))
            .field(Field::new("sure", "boolean", "Sure").value("false").required());
        assert_eq!(
            form.into_element().to_xml(ns::DATA_FORMS),
            "<x type='form'><title>My files</title><instructions>Choose.</instructions>\
             <field var='files' type='list-multi' label='Files'>\
             <option label='One &lt;1&gt;'><value>1</value></option>\
             <option label='Two'><value>2</value></option></field>\
             <field var='sure' type='boolean' label='Sure'><required/><value>false</value></field></x>"
        );
        let result = Form::result("Usage").into_element();
        assert_eq!(result.to_xml(ns::DATA_FORMS), "<x type='result'><title>Usage</title></x>");
    }

    fn field(name: &str, values: &[&str]) -> Element {
        let field = Element::new("field", ns::DATA_FORMS).with("var", name);
        let value = |text: &&str| Element::new("value", ns::DATA_FORMS).with_text(*text);
        values.iter().map(value).fold(field, Element::with_child)
    }

    fn command(kind: &str, fields: Vec<Element>) -> Element {
        let form = Element::new("x", ns::DATA_FORMS).with("type", kind);
        let form = fields.into_iter().fold(form, Element::with_child);
        Element::new("command", ns::COMMANDS).with_child(form)
    }

    #[test]
    fn a_submitted_form_is_read() {
        let sent = command(
            "submit",
            vec![
                field("FORM_TYPE", &["x"]),
                field("files", &[" a ", "", "b"]),
                field("yes", &["true"]),
                field("one", &["1"]),
                field("no", &["false"]),
                field("both", &["true", "true"]),
                field("capital", &["TRUE"]),
                field("none", &[]),
                // The first of repeated fields counts.
                field("yes", &["false"]),
                Element::new("field", ns::DATA_FORMS),
                Element::new("field", "other").with("var", "foreign"),
            ],
        );
        let read = Submission::read(&sent).unwrap().unwrap();
        assert_eq!(read.all("files"), ["a", "b"]);
        assert_eq!((read.one("files"), read.one("one"), read.one("missing")), (None, Some("1"), None));
        let flags = ["yes", "one", "no", "both", "capital", "none", "missing"].map(|name| read.flag(name));
        assert_eq!(flags, [true, true, false, false, false, false, false]);
        assert!(!read.is_empty() && read.all("FORM_TYPE").is_empty() && read.all("foreign").is_empty());
        let empty = Submission::read(&command("submit", vec![field("a", &[]), field("b", &[" "])]));
        assert!(empty.unwrap().unwrap().is_empty());
    }

    #[test]
    fn forms_of_other_types_are_ignored_and_large_ones_are_refused() {
        for kind in ["cancel", "form", "result", ""] {
            assert_eq!(Submission::read(&command(kind, vec![field("a", &["b"])])), Ok(None), "{kind}");
        }
        let many = (0..=limits::FORM_FIELDS).map(|number| field(&number.to_string(), &["1"])).collect();
        assert_eq!(Submission::read(&command("submit", many)), Err(TooLarge));
        let values = vec!["x"; limits::COMMAND_FILES + 1];
        assert_eq!(Submission::read(&command("submit", vec![field("files", &values)])), Err(TooLarge));
        assert!(Submission::read(&command("submit", vec![field("files", &values[1..])])).is_ok());
    }
}
