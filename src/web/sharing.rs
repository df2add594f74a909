//! The metadata of a media as XMPP clients publish it: an element `file-sharing` (XEP-0447) with its metadata (XEP-0446),
//! hashes (XEP-0300) and thumbnail (XEP-0264).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::page::markup::Markup;
use crate::http::accept::Accept;
use crate::model::{Description, Media};
use crate::{hex, limits, media_type};

/// The type of the document.
pub(super) const XML: &str = "application/xml; charset=utf-8";

/// Whether the document is asked for: by name, and not by a browser, which names it beside the page.
pub(super) fn is_wanted(accept: &[&str]) -> bool {
    let accept = Accept::new(accept.to_vec());
    accept.quality("application/xml") > 0 && accept.quality("text/html") == 0
}

/// The document. `address` is that of the media.
pub(super) fn document(media: &Media, address: &str) -> Vec<u8> {
    let Description { file_name, title, description } = &media.description;
    // The original took any text for a type.
    let mime_type = media_type::parse(&media.mime_type);
    let mime_type = mime_type.as_deref().unwrap_or(media_type::OCTET_STREAM);
    let disposition = if media_type::is_inline_safe(mime_type) { "inline" } else { "attachment" };
    let mut out = Markup::new();
    out.raw("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<file-sharing xmlns=\"urn:xmpp:sfs:0\"");
    out.attribute("disposition", disposition).raw(">\n<file xmlns=\"urn:xmpp:file:metadata:0\">\n");
    element(&mut out, "media-type", mime_type);
    let told = |text: &&String| !text.trim().is_empty();
    if let Some(name) = file_name.as_ref().filter(told) {
        element(&mut out, "name", name);
    }
    element(&mut out, "size", &media.size.to_string());
    element(&mut out, "date", &media.uploaded.to_string());
    let sides = media.width.zip(media.height);
    if let Some((width, height)) = sides {
        element(&mut out, "width", &width.to_string());
        element(&mut out, "height", &height.to_string());
    }
    if let Some(length) = media.length {
        element(&mut out, "length", &length.to_string());
    }
    if let Some(text) = description.as_ref().filter(told).or(title.as_ref().filter(told)) {
        element(&mut out, "desc", text);
    }
    for (algorithm, digest) in [("sha-256", media.sha256.as_deref()), ("sha-1", Some(media.sha1.as_str()))] {
        if let Some(digest) = digest.and_then(bytes_of) {
            out.raw("<hash xmlns=\"urn:xmpp:hashes:2\" algo=\"").raw(algorithm).raw("\">");
            out.text(&BASE64_STANDARD.encode(digest)).raw("</hash>\n");
        }
    }
    if let Some((width, height)) = sides.filter(|_| media_type::may_have_preview(mime_type)) {
        thumbnail(&mut out, address, width, height);
    }
    out.raw("</file>\n<sources>\n<url-data xmlns=\"http://jabber.org/protocol/url-data\"");
    out.attribute("target", address).raw("/>\n</sources>\n</file-sharing>\n");
    out.into_bytes()
}

fn element(out: &mut Markup, name: &'static str, text: &str) {
    out.raw("<").raw(name).raw(">").text(text).raw("</").raw(name).raw(">\n");
}

/// The preview that is made at the upload.
fn thumbnail(out: &mut Markup, address: &str, width: u32, height: u32) {
    let side = limits::PAGE_PREVIEW_SIDE;
    let (width, height) = fitted(width, height, side);
    out.raw("<thumbnail xmlns=\"urn:xmpp:thumbs:1\"");
    out.attribute("uri", &format!("{address}?maxheight={side}&maxwidth={side}"));
    out.attribute("width", &width.to_string()).attribute("height", &height.to_string()).raw("/>\n");
}

/// The size of a picture that is scaled down to fit into a square.
fn fitted(width: u32, height: u32, side: u32) -> (u32, u32) {
    let longer = u64::from(width.max(height));
    if longer <= side.into() {
        return (width, height);
    }
    let scaled = |length: u32| {
        let scaled = (u64::from(length) * u64::from(side) + longer / 2) / longer;
        u32::try_from(scaled.max(1)).unwrap_or(side)
    };
    (scaled(width), scaled(height))
}

/// The bytes of a hash; rows of the original may hold any text in its place.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    hex::decode(text).filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn media() -> Media {
        Media {
            id: "A".parse().unwrap(),
            channel: "room@example.org".parse().unwrap(),
            author: "alice@example.org".to_owned(),
            description: Description {
                file_name: Some("a & b.jpg".to_owned()),
                title: Some("A title".to_owned()),
                description: Some("<hostile/>\u{1}".to_owned()),
            },
            mime_type: "image/jpeg".to_owned(),
            uploaded: Timestamp::from_micros(1_390_500_000_000_000),
            last_updated: Timestamp::from_micros(1_390_500_000_000_000),
            extension: None,
            sha1: "da39a3ee5e6b4b0d3255bfef95601890afd80709".to_owned(),
            sha256: Some("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned()),
            size: 60892,
            length: None,
            height: Some(1000),
            width: Some(2000),
        }
    }

    fn rendered(media: &Media) -> String {
        let bytes = document(media, "https://media.example.org/room@example.org/A");
        let text = String::from_utf8(bytes).unwrap();
        let events = xml::EventReader::new(text.as_bytes());
        assert!(events.into_iter().all(|event| event.is_ok()), "{text}");
        text
    }

    #[test]
    fn a_media_is_described_as_clients_publish_it() {
        assert_eq!(
            rendered(&media()),
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <file-sharing xmlns=\"urn:xmpp:sfs:0\" disposition=\"inline\">\n\
             <file xmlns=\"urn:xmpp:file:metadata:0\">\n\
             <media-type>image/jpeg</media-type>\n\
             <name>a &amp; b.jpg</name>\n\
             <size>60892</size>\n\
             <date>2014-01-23T18:00:00.000Z</date>\n\
             <width>2000</width>\n\
             <height>1000</height>\n\
             <desc>&lt;hostile/&gt;\u{fffd}</desc>\n\
             <hash xmlns=\"urn:xmpp:hashes:2\" algo=\"sha-256\">47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=</hash>\n\
             <hash xmlns=\"urn:xmpp:hashes:2\" algo=\"sha-1\">2jmj7l5rSw0yVb/vlWAYkK/YBwk=</hash>\n\
             <thumbnail xmlns=\"urn:xmpp:thumbs:1\" \
             uri=\"https://media.example.org/room@example.org/A?maxheight=640&amp;maxwidth=640\" \
             width=\"640\" height=\"320\"/>\n\
             </file>\n<sources>\n\
             <url-data xmlns=\"http://jabber.org/protocol/url-data\" \
             target=\"https://media.example.org/room@example.org/A\"/>\n\
             </sources>\n</file-sharing>\n"
        );
    }

    #[test]
    fn unknown_values_are_left_out() {
        let bare = Media {
            description: Description { title: Some("A title".to_owned()), ..Description::default() },
            mime_type: "any text".to_owned(),
            sha1: "any text".to_owned(),
            sha256: None,
            length: Some(1500),
            width: None,
            ..media()
        };
        let text = rendered(&bare);
        for part in
            ["application/octet-stream", "disposition=\"attachment\"", "<length>1500<", "<desc>A title<"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        for part in ["<hash", "<thumbnail", "<name", "<width", "<height"] {
            assert!(!text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn thumbnails_keep_their_proportions() {
        for (size, expected) in [
            ((640, 640), (640, 640)),
            ((30, 20), (30, 20)),
            ((1280, 640), (640, 320)),
            ((641, 3), (640, 3)),
            ((u32::MAX, 1), (640, 1)),
            ((1000, 2000), (320, 640)),
        ] {
            assert_eq!(fitted(size.0, size.1, 640), expected);
        }
    }

    #[test]
    fn xml_is_sent_to_programs_that_name_it_and_not_to_browsers() {
        for (accept, expected) in [
            (&["application/xml"][..], true),
            (&["application/json;q=0.5", "application/xml;q=0.1"], true),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], false),
            (&["application/xml;q=0"], false),
            (&["*/*"], false),
            (&["application/json"], false),
            (&[], false),
        ] {
            assert_eq!(is_wanted(accept), expected, "{accept:?}");
        }
    }
}
