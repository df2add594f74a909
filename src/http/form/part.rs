//! The head of a part of a multipart form (RFC 7578 section 4).

use std::borrow::Cow;

use httparse::{EMPTY_HEADER, Header, Status};
use percent_encoding::percent_decode_str;

use super::{DataPart, file_name};
use crate::limits;
use crate::media_type::{self, parameters};
use crate::model::Refusal;

/// The fields of a part's head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The field's name; `None` if the part is not a form field.
    pub(super) name: Option<String>,
    file_name: Option<String>,
    content_type: Option<String>,
}

impl Head {
    /// Reads the fields of a head with the empty line that ends it.
    pub(super) fn parse(head: &[u8]) -> Result<Self, Refusal> {
        let mut fields = [EMPTY_HEADER; limits::PART_FIELDS];
        let Ok(Status::Complete((length, fields))) = httparse::parse_headers(head, &mut fields) else {
            return Err(Refusal::BadForm);
        };
        if length != head.len() {
            return Err(Refusal::BadForm);
        }
        check_encoding(value(fields, "content-transfer-encoding").as_deref())?;
        let content_type = value(fields, "content-type").and_then(|text| media_type::parse(&text).ok());
        let mut head = Self { content_type, ..Self::default() };
        if let Some(disposition) = value(fields, "content-disposition") {
            head.read_disposition(&disposition).map_err(|parameters::Malformed| Refusal::BadForm)?;
        }
        Ok(head)
    }

    fn read_disposition(&mut self, field: &str) -> Result<(), parameters::Malformed> {
        let (kind, parameters) = parameters::split(field);
        if !kind.eq_ignore_ascii_case("form-data") {
            return Ok(());
        }
        self.name = parameters.clone().get("name")?.map(Cow::into_owned);
        let extended = parameters.clone().get("filename*")?;
        let plain = parameters.get("filename")?;
        let name = extended.and_then(|value| decode_extended(&value)).or(plain.map(Cow::into_owned));
        self.file_name = name.as_deref().and_then(file_name);
        Ok(())
    }

    /// The description of the data, if the part holds the data.
    pub(super) fn into_data(self) -> DataPart {
        DataPart { file_name: self.file_name, content_type: self.content_type, bytes: 0 }
    }
}

/// The first field of this name. It is in UTF-8 (RFC 7578 section 5.1). COMPAT: old programs send file names in Latin-1, so
/// a field that is not UTF-8 is read as Latin-1.
fn value<'a>(fields: &[Header<'a>], name: &str) -> Option<Cow<'a, str>> {
    let value = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?.value;
    let latin1 = || value.iter().map(|byte| char::from(*byte)).collect::<String>();
    Some(str::from_utf8(value).map_or_else(|_| latin1().into(), Cow::Borrowed))
}

/// RFC 7578 section 4.7 deprecates transfer encodings; only those that change nothing are accepted.
fn check_encoding(encoding: Option<&str>) -> Result<(), Refusal> {
    let encoding = encoding.unwrap_or("binary").trim();
    let identity = ["binary", "8bit", "7bit"].iter().any(|known| known.eq_ignore_ascii_case(encoding));
    if identity { Ok(()) } else { Err(Refusal::BadForm) }
}

/// COMPAT: `UTF-8'language'%C3%A9.png` (RFC 8187), which RFC 7578 forbids and some senders use. Other
/// character sets are left to the plain name beside it.
fn decode_extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    percent_decode_str(encoded).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disposition(parameters: &str) -> Result<(Option<String>, Option<String>), Refusal> {
        let head = Head::parse(format!("CONTENT-disposition: form-data; {parameters}\r\n\r\n").as_bytes())?;
        Ok((head.name, head.file_name))
    }

    #[test]
    fn dispositions_are_read_in_every_spelling() {
        for (parameters, name, file) in [
            (r#"name="data"; filename="a.png""#, "data", Some("a.png")),
            (r#"filename="f.png"; name="data""#, "data", Some("f.png")),
            (r#"FileName=f.png;NAME=data"#, "data", Some("f.png")),
            (r#"name=data; filename="é ; \"q\".png""#, "data", Some("é ; \"q\".png")),
            (r#"name=data; filename="a%22b.png""#, "data", Some("a%22b.png")),
            (r#"name=data; filename="C:\holiday\a.png""#, "data", Some("a.png")),
            (r#"name=data; filename="../../etc/passwd""#, "data", Some("passwd")),
            (r#"name=data; filename="""#, "data", None),
            (r#"name=data; filename=x; filename*=UTF-8''%C3%A9%2Fb.png"#, "data", Some("b.png")),
            (r#"filename*=utf-8'en'%e2%82%ac.txt; name=data; filename="x""#, "data", Some("€.txt")),
            (r#"name=data; filename=x; filename*=ISO-8859-1''%E9"#, "data", Some("x")),
            (r#"name=data; filename=x; filename*=UTF-8''%E9"#, "data", Some("x")),
            (r#"name=data; filename=x; filename*=garbage"#, "data", Some("x")),
            ("name=\"\"", "", None),
        ] {
            let expected = Ok((Some(name.to_owned()), file.map(str::to_owned)));
            assert_eq!(disposition(parameters), expected, "{parameters}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_latin1() {
        for (bytes, name) in [(&b"caf\xe9.jpg"[..], "café.jpg"), ("café.jpg".as_bytes(), "café.jpg")] {
            let field =
                [b"Content-Disposition: form-data; name=data; filename=\"", bytes, b"\"\r\n\r\n"].concat();
            assert_eq!(Head::parse(&field).unwrap().file_name.as_deref(), Some(name));
        }
    }

    #[test]
    fn parts_that_are_not_form_fields_have_no_name() {
        for head in [
            "\r\n",
            "Content-Type: text/plain\r\n\r\n",
            "Content-Disposition: attachment; name=data\r\n\r\n",
            "Content-Disposition: form-data\r\n\r\n",
            "Content-Disposition:\r\n\r\n",
        ] {
            assert_eq!(Head::parse(head.as_bytes()).map(|head| head.name), Ok(None), "{head}");
        }
    }

    #[test]
    fn types_and_encodings_are_read() {
        let parse = |head: &str| Head::parse(head.as_bytes());
        let head = parse("content-TYPE:image/PNG \r\nContent-Transfer-Encoding: Binary\r\n\r\n").unwrap();
        assert_eq!(head.content_type.as_deref(), Some("image/PNG"));
        let head = parse("Content-Type: no type\r\n\r\n").unwrap();
        assert_eq!(head.content_type, None);
        assert_eq!(Head::parse(b"Content-Type: \xe9\r\n\r\n"), Ok(Head::default()));
        for encoding in ["base64", "quoted-printable", "", "x"] {
            let head = format!("Content-Transfer-Encoding: {encoding}\r\n\r\n");
            assert_eq!(parse(&head), Err(Refusal::BadForm), "{encoding}");
        }
    }

    #[test]
    fn malformed_heads_are_refused() {
        let many = "A: b\r\n".repeat(limits::PART_FIELDS + 1) + "\r\n";
        for head in [
            "A b\r\n\r\n",
            "A: b\n\nC: d\r\n\r\n",
            "A: b\r\n c\r\n\r\n",
            " A: b\r\n\r\n",
            "A : b\r\n\r\n",
            "A: \0\r\n\r\n",
            "Content-Disposition: form-data; name=\"data\r\n\r\n",
            "Content-Disposition: form-data; name\r\n\r\n",
            &many,
        ] {
            assert_eq!(Head::parse(head.as_bytes()), Err(Refusal::BadForm), "{head:?}");
        }
    }
}
