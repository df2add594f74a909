//! Sorts the fields of a form, whichever encoding it has, and holds them to their limits.

use std::io::Write;

use super::{DataPart, Failure, Form};
use crate::limits;
use crate::model::Refusal;

/// A field that is being read.
pub(super) enum Field {
    /// The data; its bytes go straight to the sink.
    Data,
    /// A text, and the bytes of it that were read so far.
    Text(Text, Vec<u8>),
    /// A field without a name, or the second one of its name; it is read and dropped.
    Unwanted,
}

/// A field other than `data`.
pub(super) struct Text {
    /// In lower case.
    name: String,
    /// Whether it came with a file name: then the client means it for the data.
    is_file: bool,
}

impl Text {
    /// The refusal of a text that can't be read as one.
    fn refuse(&self, refusal: Refusal) -> Refusal {
        if self.is_file { Refusal::MissingData } else { refusal }
    }
}

pub(super) struct Collector<'a> {
    form: Form,
    sink: &'a mut dyn Write,
    fields: usize,
    overhead: u64,
}

impl<'a> Collector<'a> {
    pub(super) fn new(sink: &'a mut dyn Write) -> Self {
        Self { form: Form::default(), sink, fields: 0, overhead: 0 }
    }

    /// Accounts for bytes of the body that are not data.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.overhead += bytes as u64;
        if self.overhead > limits::FORM_OVERHEAD_BYTES { Err(Refusal::TooLarge) } else { Ok(()) }
    }

    /// Begins a field; `part` has its file name and media type. The one named `data` is the data.
    pub(super) fn open(&mut self, name: Option<&str>, part: DataPart) -> Result<Field, Refusal> {
        self.fields += 1;
        if self.fields > limits::FORM_PARTS {
            return Err(Refusal::TooManyParts);
        }
        let Some(name) = name.map(str::to_ascii_lowercase) else { return Ok(Field::Unwanted) };
        if name.len() > limits::FIELD_NAME_BYTES {
            return Err(Refusal::FieldTooLong);
        }
        if name == "data" {
            // Taking the first one alone would lose a file.
            if self.form.data.is_some() {
                return Err(Refusal::SecondData);
            }
            self.form.data = Some(part);
            return Ok(Field::Data);
        }
        if self.form.text(&name).is_some() {
            return Ok(Field::Unwanted);
        }
        Ok(Field::Text(Text { name, is_file: part.file_name.is_some() }, Vec::new()))
    }

    /// Takes the next bytes of a field.
    pub(super) fn push(&mut self, field: &mut Field, bytes: &[u8]) -> Result<(), Failure> {
        match field {
            Field::Data => {
                self.sink.write_all(bytes).map_err(Failure::sink)?;
                if let Some(data) = &mut self.form.data {
                    data.bytes += bytes.len() as u64;
                }
            }
            Field::Text(text, value) => {
                let (max, refusal) = text_limit(&text.name);
                if value.len() + bytes.len() > max {
                    return Err(text.refuse(refusal).into());
                }
                self.spend(bytes.len())?;
                value.extend_from_slice(bytes);
            }
            Field::Unwanted => self.spend(bytes.len())?,
        }
        Ok(())
    }

    /// Ends a field.
    pub(super) fn close(&mut self, field: Field) -> Result<(), Refusal> {
        if let Field::Text(text, value) = field {
            let value = String::from_utf8(value).map_err(|_| text.refuse(Refusal::NotUtf8))?;
            if value.contains('\0') {
                return Err(text.refuse(Refusal::HoldsNul));
            }
            self.form.texts.push((text.name, value));
        }
        Ok(())
    }

    /// The form, once the body has been read to its end.
    pub(super) fn finish(self) -> Form {
        self.form
    }
}

/// The maximum of bytes of the text of this name, and the refusal of a longer one.
fn text_limit(name: &str) -> (usize, Refusal) {
    match name {
        "title" => (limits::TITLE_BYTES, Refusal::TextTooLong),
        "description" => (limits::DESCRIPTION_BYTES, Refusal::TextTooLong),
        _ => (limits::FIELD_BYTES, Refusal::FieldTooLong),
    }
}
