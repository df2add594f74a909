//! `POST /{channel}` and `PUT /{channel}/avatar`: uploads.

use super::Web;
use super::answer::MediaJson;
use crate::http::form::{self, DataPart, Encoding, Failure, Form};
use crate::http::{BodyLength, Exchange, Response, target};
use crate::media::New;
use crate::model::{BareJid, Channel, Description, Refusal};
use crate::store::{Sealed, storage_error};
use crate::{limits, media_type};

impl Web {
    pub(super) fn upload(
        &self,
        exchange: &mut Exchange,
        channel: &Channel,
        author: &BareJid,
        avatar: bool,
    ) -> Result<Response, Refusal> {
        let least = least_data(exchange, avatar);
        self.library.check_room(channel, author, least)?;
        let (form, sealed) = self.receive(exchange, least)?;
        // The body may have taken hours.
        self.uploads.check_blocked(author)?;
        let new = describe(&form, sealed.head(), channel, author, avatar)?;
        let media = self.library.add(sealed, new)?;
        let last = if avatar { "avatar" } else { media.id.as_str() };
        Ok(Response::json(201, &MediaJson::from(&media))
            .header("Location", self.location(channel, last))
            .header("Cache-Control", "private, no-cache"))
    }

    /// Checks a form as far as the head tells.
    pub(super) fn check_form(&self, exchange: &Exchange) -> Result<(), Refusal> {
        if exchange.header("Content-Encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"))
        {
            return Err(Refusal::UnsupportedCoding);
        }
        let encoding = Encoding::of(exchange.header("Content-Type"))?;
        match exchange.body_length() {
            BodyLength::None | BodyLength::Sized(0) => Err(Refusal::EmptyBody),
            BodyLength::Sized(length) if length > self.largest_body(&encoding) => Err(Refusal::TooLarge),
            BodyLength::Sized(_) | BodyLength::Chunked => Ok(()),
        }
    }

    /// Bytes of the largest body that can hold data within the limit.
    fn largest_body(&self, encoding: &Encoding) -> u64 {
        let data = match encoding {
            Encoding::Multipart(_) => self.library.size_limit(),
            // Base64 makes 4 characters of 3 bytes, and each may be percent-encoded as 3.
            Encoding::Url => self.library.size_limit().saturating_mul(4),
        };
        data.saturating_add(limits::FORM_OVERHEAD_BYTES)
    }

    /// Reads the body to its end, the data, which have `least` bytes at least, onto the disk.
    fn receive(&self, exchange: &mut Exchange, least: u64) -> Result<(Form, Sealed), Refusal> {
        let content_type = exchange.header("Content-Type").map(str::to_owned);
        let mut upload = self.library.begin().expecting(least);
        let form =
            form::read(content_type.as_deref(), &mut exchange.body()?, &mut upload).map_err(refusal)?;
        if form.data().is_none() {
            return Err(Refusal::MissingData);
        }
        self.check_declared_length(&form)?;
        Ok((form, upload.seal()?))
    }

    /// The field `content-length` is a promise that no client needs to make, but a number if it is made.
    fn check_declared_length(&self, form: &Form) -> Result<(), Refusal> {
        let Some(text) = form.text("content-length") else { return Ok(()) };
        let length: u64 = text.trim().parse().map_err(|_| Refusal::BadDeclaredLength)?;
        if length > self.library.size_limit() { Err(Refusal::TooLarge) } else { Ok(()) }
    }

    /// Where the media is: below the endpoint if that is known, else relative to this server's root.
    pub(super) fn location(&self, channel: &Channel, last: &str) -> String {
        let settings = self.settings();
        let endpoint = settings.endpoint.as_deref().unwrap_or_default();
        format!("{endpoint}/{}/{last}", target::segment(channel.as_str()))
    }
}

/// The minimum size of an upload, as far as its head says.
fn least_data(exchange: &Exchange, avatar: bool) -> u64 {
    match (exchange.body_length(), Encoding::of(exchange.header("Content-Type"))) {
        // A picture that is made square may become any number of bytes smaller.
        (BodyLength::Sized(length), Ok(Encoding::Multipart(_))) if !avatar => {
            length.saturating_sub(limits::FORM_OVERHEAD_BYTES)
        }
        // Of base64 there may be any number of encodings and line breaks, so that the body says little.
        _ => 0,
    }
}

/// The description of its data in a form, without the type.
pub(super) fn description(form: &Form) -> Description {
    Description {
        file_name: form.text("filename").map(|name| form::file_name(name).unwrap_or_default()),
        title: form.text("title").map(str::to_owned),
        description: form.text("description").map(str::to_owned),
    }
}

/// The refusal of a form that could not be stored. An error of reading is the client's, an error of writing is ours.
pub(super) fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Refused(refusal) => refusal,
        Failure::Body(_) => Refusal::BodyCut,
        Failure::Sink(cause) => storage_error("can't store an upload", cause).into(),
    }
}

/// The new media as its upload describes it; `head` is the beginning of its data.
fn describe(
    form: &Form,
    head: &[u8],
    channel: &Channel,
    author: &BareJid,
    avatar: bool,
) -> Result<New, Refusal> {
    let data = form.data().ok_or(Refusal::MissingData)?;
    let mut description = description(form);
    description.file_name =
        description.file_name.filter(|name| !name.is_empty()).or_else(|| data.file_name.clone());
    let extension = description.file_name.as_deref().and_then(extension);
    let mime_type = mime_type(form, data, extension, head)?;
    let extension = extension.or_else(|| media_type::extension_for(&mime_type)).map(str::to_owned);
    Ok(New { channel: channel.clone(), author: author.clone(), description, mime_type, extension, avatar })
}

/// The extension of a file name: the part after the last dot, its case kept.
fn extension(file_name: &str) -> Option<&str> {
    file_name.rsplit_once('.').map(|(_, extension)| extension).filter(|extension| !extension.is_empty())
}

/// The media type: what the form says, else its data part, else what the name tells, else the bytes. A wildcard says
/// nothing, nor does a part's `application/octet-stream`: programs send it for every file.
fn mime_type(form: &Form, data: &DataPart, extension: Option<&str>, head: &[u8]) -> Result<String, Refusal> {
    let field =
        form.text("content-type").map(str::trim).filter(|text| !text.is_empty() && !text.contains('*'));
    if let Some(field) = field {
        return media_type::parse(field);
    }
    let part = data.content_type.as_deref().filter(|text| !media_type::says_nothing(text));
    let known = part
        .or_else(|| extension.and_then(media_type::type_for))
        .or_else(|| media_type::sniff(head).map(|content| content.mime_type));
    media_type::parse(known.unwrap_or(media_type::OCTET_STREAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_is_what_follows_the_last_dot() {
        for (name, expected) in [
            ("a.JPG", Some("JPG")),
            ("a.tar.gz", Some("gz")),
            ("a", None),
            ("a.", None),
            (".profile", Some("profile")),
        ] {
            assert_eq!(extension(name), expected, "{name}");
        }
    }
    /// The new media of a multipart form of these parts; each is the end of its head, then its content.
    fn described(parts: &[(&str, &str)]) -> Result<New, Refusal> {
        let part = |(head, content): &(&str, &str)| {
            format!("--B\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
        };
        let body = parts.iter().map(part).collect::<String>() + "--B--\r\n";
        let mut data = Vec::new();
        let form = form::read(Some("multipart/form-data; boundary=B"), &mut body.as_bytes(), &mut data);
        let (channel, author) = ("room@example.org".parse().unwrap(), "alice@example.org".parse().unwrap());
        describe(&form.map_err(refusal)?, &data, &channel, &author, false)
    }

    #[test]
    fn the_type_is_the_announced_one_or_else_is_detected() {
        const PNG: &str = "\u{89}";
        let field = ("name=content-type", " image/gif ");
        let empty = ("name=content-type", " ");
        let named = ("name=data; filename=a.jpg", PNG);
        let typed = ("name=data; filename=a.jpg\r\nContent-Type: image/webp", PNG);
        for (parts, expected) in [
            (&[field, typed][..], "image/gif"),
            (&[empty, typed], "image/webp"),
            (&[named], "image/jpeg"),
            (&[("name=data; filename=a.mp4\r\nContent-Type: application/octet-stream", PNG)], "video/mp4"),
            (&[("name=data; filename=a.mp4\r\nContent-Type: video/*", PNG)], "video/mp4"),
            (&[("name=data; filename=a.mp4\r\nContent-Type: file", PNG)], "video/mp4"),
            (&[("name=data\r\nContent-Type: */*", "GIF89a")], "image/gif"),
            (&[("name=content-type", "image/*"), ("name=data", "GIF89a")], "image/gif"),
            (
                &[("name=content-type", "application/octet-stream"), ("name=data", "GIF89a")],
                "application/octet-stream",
            ),
            (&[("name=data; filename=a.unheard", "GIF89a")], "image/gif"),
            (&[("name=data", "\0\u{1}")], "application/octet-stream"),
        ] {
            assert_eq!(described(parts).unwrap().mime_type, expected, "{parts:?}");
        }
        let wrong = [("name=content-type", "nonsense"), typed];
        assert_eq!(described(&wrong).unwrap_err(), Refusal::BadMimeType);
    }

    #[test]
    fn the_name_is_the_fields_else_the_parts_and_gives_the_extension() {
        for (parts, name, extension) in [
            (
                &[("name=filename", "b.PNG"), ("name=data; filename=a.jpg", "x")][..],
                Some("b.PNG"),
                Some("PNG"),
            ),
            (&[("name=filename", ""), ("name=data; filename=a.jpg", "x")], Some("a.jpg"), Some("jpg")),
            (&[("name=data", "GIF89a")], None, Some("gif")),
            (&[("name=data", "\0")], None, None),
        ] {
            let New { description, extension: found, .. } = described(parts).unwrap();
            assert_eq!((description.file_name.as_deref(), found.as_deref()), (name, extension), "{parts:?}");
        }
        assert_eq!(described(&[("name=title", "x")]).unwrap_err(), Refusal::MissingData);
    }
}
