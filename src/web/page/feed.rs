//! The Atom feed of a channel (RFC 4287), with the files as enclosures and a link to the next page (RFC 5005).

use super::markup::Markup;
use crate::clock::Timestamp;
use crate::http::target;
use crate::media_type;
use crate::model::{Channel, Description, Media};

/// A page of the feed.
pub(super) struct Feed<'a> {
    pub channel: &'a Channel,
    /// The beginning of the addresses: the endpoint and a slash, or nothing that depends on the request.
    pub base: &'a str,
    pub entries: &'a [Media],
    /// The query of this page of the feed.
    pub query: &'a str,
    /// The query of the next page, if there is one.
    pub next: Option<String>,
}

impl Feed<'_> {
    /// The whole document.
    pub fn render(&self) -> Vec<u8> {
        let mut out = Markup::new();
        out.raw(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n<id>",
        );
        self.id(&mut out);
        out.raw("</id>\n<title>").text(self.channel.as_str()).raw("</title>\n<updated>");
        let updated = self.entries.iter().map(|media| media.last_updated).max();
        // A feed must have a date (RFC 4287 section 4.1.1), and one without entries has none of its own.
        out.show(updated.unwrap_or(Timestamp::from_micros(0))).raw("</updated>\n<author><name>");
        out.text(self.channel.as_str()).raw("</name></author>\n");
        let address = format!("{}{}", self.base, target::segment(self.channel.as_str()));
        link(&mut out, "self", "application/atom+xml", &format!("{address}{}", self.query));
        link(&mut out, "alternate", "text/html", &address);
        if let Some(next) = &self.next {
            link(&mut out, "next", "application/atom+xml", &format!("{address}{next}"));
        }
        for media in self.entries {
            self.entry(&mut out, media, &format!("{address}/{}", media.id));
        }
        out.raw("</feed>\n");
        out.into_bytes()
    }

    fn entry(&self, out: &mut Markup, media: &Media, address: &str) {
        let Description { file_name, title, description } = &media.description;
        let told = |text: &&String| !text.trim().is_empty();
        let title = title.as_ref().filter(told).or(file_name.as_ref().filter(told));
        out.raw("<entry>\n<id>");
        self.id(out);
        out.raw("/").text(media.id.as_str()).raw("</id>\n<title>");
        out.text(title.map_or(media.id.as_str(), String::as_str)).raw("</title>\n<published>");
        out.show(media.uploaded).raw("</published>\n<updated>").show(media.last_updated).raw("</updated>\n");
        // The original took any text for a type.
        let mime_type = media_type::parse(&media.mime_type);
        let mime_type = mime_type.as_deref().unwrap_or(media_type::OCTET_STREAM);
        link(out, "alternate", mime_type, address);
        out.raw("<link rel=\"enclosure\"").attribute("href", address);
        out.attribute("type", mime_type).raw(" length=\"").show(media.size).raw("\"/>\n");
        if let Some(description) = description.as_ref().filter(told) {
            out.raw("<summary>").text(description).raw("</summary>\n");
        }
        out.raw("</entry>\n");
    }

    /// An id that stays the same whatever becomes of the endpoint (RFC 4151).
    fn id(&self, out: &mut Markup) {
        let domain = self.channel.jid().ascii_domain();
        out.raw("tag:").text(domain.as_deref().unwrap_or("invalid")).raw(",2012:");
        out.text(&target::segment(self.channel.as_str()));
    }
}

fn link(out: &mut Markup, relation: &'static str, mime_type: &str, address: &str) {
    out.raw("<link rel=\"").raw(relation).raw("\"").attribute("href", address);
    out.attribute("type", mime_type).raw("/>\n");
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CHANNEL, hostile, media};
    use super::*;

    fn rendered(base: &str, entries: &[Media], next: Option<&str>) -> String {
        let channel = CHANNEL.parse().unwrap();
        let next = next.map(str::to_owned);
        let feed = Feed { channel: &channel, base, entries, query: "?format=atom", next };
        String::from_utf8(feed.render()).unwrap()
    }

    #[test]
    fn an_entry_has_the_file_as_enclosure() {
        let feed = rendered("https://media.example.com/files/", &[media()], Some("?format=atom&before=A"));
        for part in [
            "<id>tag:example.com,2012:room@example.com</id>\n<title>room@example.com</title>",
            "<id>tag:example.com,2012:room@example.com/A</id>\n<title>A title</title>",
            "<link rel=\"enclosure\" href=\"https://media.example.com/files/room@example.com/A\" \
             type=\"image/jpeg\" length=\"60892\"/>",
            "<link rel=\"next\" href=\"https://media.example.com/files/room@example.com?format=atom&amp;before=A\"",
            "<published>2014-01-23T18:00:00.000Z</published>",
            "<summary>A description</summary>",
        ] {
            assert!(feed.contains(part), "{part} is not in {feed}");
        }
        assert!(!feed.contains("alice"), "{feed}");
    }

    #[test]
    fn a_feed_without_entries_is_complete() {
        let feed = rendered("./", &[], None);
        assert!(feed.contains("<updated>1970-01-01T00:00:00.000Z</updated>"), "{feed}");
        assert!(feed.contains("href=\"./room@example.com\"") && !feed.contains("next"), "{feed}");
    }

    #[test]
    fn hostile_texts_stay_texts() {
        for text in hostile::TEXTS {
            let feed = rendered("./", &[hostile::media(text)], None);
            hostile::assert_parts(&feed, &rendered("./", &[hostile::media("x")], None), text);
        }
    }
}
