//! Parts of responses that several actions share: the JSON of a media.

use serde::Serialize;

use crate::access::Granted;
use crate::http::Response;
use crate::model::Media;

/// A response in JSON.
pub(super) fn json(status: u16, body: &impl Serialize, granted: &Granted) -> Response {
    changing(Response::json(status, body), granted)
}

/// A response about what may change any moment, so caches ask each time.
pub(super) fn changing(response: Response, granted: &Granted) -> Response {
    let cache = match granted {
        Granted::Public => "no-cache",
        Granted::Owned(_) => "private, no-cache",
    };
    response.header("Cache-Control", cache)
}

/// A media as clients read it: the keys of the original, in its order, without unknown values.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MediaJson<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    mime_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    uploaded_date: String,
    last_updated_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_extension: Option<&'a str>,
    sha_checksum: &'a str,
    file_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    entity_id: &'a str,
}

impl<'a> MediaJson<'a> {
    /// The same of an avatar for everybody: it does not name its uploader, who is a member of a channel that may be private.
    pub(super) fn of_avatar(media: &'a Media) -> Self {
        Self { author: None, ..Self::from(media) }
    }
}

impl<'a> From<&'a Media> for MediaJson<'a> {
    fn from(media: &'a Media) -> Self {
        Self {
            id: media.id.as_str(),
            file_name: media.description.file_name.as_deref(),
            author: Some(&media.author),
            title: media.description.title.as_deref(),
            mime_type: &media.mime_type,
            description: media.description.description.as_deref(),
            uploaded_date: media.uploaded.to_string(),
            last_updated_date: media.last_updated.to_string(),
            file_extension: media.extension.as_deref(),
            sha_checksum: &media.sha1,
            file_size: media.size,
            length: media.length,
            height: media.height,
            width: media.width,
            entity_id: media.channel.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::Description;

    #[test]
    fn a_media_has_the_keys_of_the_original_in_its_order() {
        let mut media = Media {
            id: "lETuJi8rPE4IfQrygN6r".parse().unwrap(),
            channel: "room@topics.example.com".parse().unwrap(),
            author: "alice@example.com".to_owned(),
            description: Description {
                file_name: Some("testimage.jpg".to_owned()),
                title: Some("A \"title\"".to_owned()),
                description: Some(String::new()),
            },
            mime_type: "image/jpeg".to_owned(),
            uploaded: Timestamp::from_micros(1_390_500_000_000_000),
            last_updated: Timestamp::from_micros(1_390_500_001_500_000),
            extension: Some("jpg".to_owned()),
            sha1: "bc46".to_owned(),
            sha256: None,
            size: 60892,
            length: Some(1),
            height: Some(312),
            width: Some(313),
        };
        let json = |media: &Media| serde_json::to_string(&MediaJson::from(media)).unwrap();
        assert_eq!(
            json(&media),
            r#"{"id":"lETuJi8rPE4IfQrygN6r","fileName":"testimage.jpg","author":"alice@example.com","title":"A \"title\"","mimeType":"image/jpeg","description":"","uploadedDate":"2014-01-23T18:00:00.000Z","lastUpdatedDate":"2014-01-23T18:00:01.500Z","fileExtension":"jpg","shaChecksum":"bc46","fileSize":60892,"length":1,"height":312,"width":313,"entityId":"room@topics.example.com"}"#
        );
        let (all, avatar) = (json(&media), serde_json::to_string(&MediaJson::of_avatar(&media)).unwrap());
        assert_eq!(avatar, all.replace(r#""author":"alice@example.com","#, ""));
        media.description = Description::default();
        (media.extension, media.length, media.height, media.width) = (None, None, None, None);
        assert_eq!(
            json(&media),
            r#"{"id":"lETuJi8rPE4IfQrygN6r","author":"alice@example.com","mimeType":"image/jpeg","uploadedDate":"2014-01-23T18:00:00.000Z","lastUpdatedDate":"2014-01-23T18:00:01.500Z","shaChecksum":"bc46","fileSize":60892,"entityId":"room@topics.example.com"}"#
        );
    }
}
