//! The list of a channel's media, which its JSON, its page and its feed show.

use super::Web;
use super::answer::{MediaJson, json};
use crate::access::Granted;
use crate::http::Response;
use crate::http::target;
use crate::limits;
use crate::model::{Channel, Description, Media, MediaId, Page, Refusal};

/// A part of a channel's list.
#[derive(Default)]
pub(super) struct Listed {
    pub entries: Vec<Media>,
    /// The last of these entries, if there are more.
    pub next: Option<MediaId>,
}

impl Web {
    /// `GET /{channel}` in JSON.
    pub(super) fn list(
        &self,
        channel: &Channel,
        query: Option<&str>,
        granted: &Granted,
    ) -> Result<Response, Refusal> {
        let parameters = Parameters::read(query, limits::LIST_ENTRIES)?;
        let listed = self.listed(channel, &parameters)?;
        let entries: Vec<_> = listed.entries.iter().map(MediaJson::from).collect();
        let response = json(200, &entries, granted);
        Ok(match listed.next {
            // Relative to the address asked (RFC 8288), so that a front web server's prefix stays.
            Some(last) => response.header("Link", format!("<{}>; rel=\"next\"", parameters.next("", &last))),
            None => response,
        })
    }

    /// The part of the list that the parameters ask for, as far as its texts fit into a response.
    pub(super) fn listed(&self, channel: &Channel, parameters: &Parameters) -> Result<Listed, Refusal> {
        let Some(page) = &parameters.page else { return Ok(Listed::default()) };
        let listing = self.library.list(channel, page)?;
        let mut entries = listing.entries;
        let fitting = fitting(&entries);
        let more = listing.more || fitting < entries.len();
        entries.truncate(fitting);
        let next = entries.last().filter(|_| more).map(|last| last.id.clone());
        Ok(Listed { entries, next })
    }
}

/// The parameters of a request for a list.
pub(super) struct Parameters {
    /// `None` where `after` or `before` can't name any media.
    page: Option<Page>,
}

impl Parameters {
    /// Reads `max`, `after` and `before`; without `max` there are `usual` entries.
    pub fn read(query: Option<&str>, usual: usize) -> Result<Self, Refusal> {
        Ok(Self { page: page(query, usual)? })
    }

    /// Whether newer media are left out.
    pub fn is_later(&self) -> bool {
        self.page.as_ref().is_none_or(|page| page.before.is_some())
    }

    /// The query of these parameters, after this one.
    pub fn query(&self, first: &str) -> String {
        match &self.page {
            Some(page) => query(first, page.max, page.before.as_ref(), page.after.as_ref()),
            None => format!("?{first}"),
        }
    }

    /// The query of the entries behind the last one, after this one.
    pub fn next(&self, first: &str, last: &MediaId) -> String {
        match &self.page {
            Some(page) => query(first, page.max, Some(last), page.after.as_ref()),
            None => format!("?{first}"),
        }
    }
}

/// A query; nothing else of the request's, which may hold credentials.
fn query(first: &str, max: usize, before: Option<&MediaId>, after: Option<&MediaId>) -> String {
    let parameter =
        |name: &str, id: Option<&MediaId>| id.map(|id| format!("&{name}={id}")).unwrap_or_default();
    let separator = if first.is_empty() { "" } else { "&" };
    format!("?{first}{separator}max={max}{}{}", parameter("before", before), parameter("after", after))
}

/// How many of the first entries fit into a page, by the bytes of their texts in JSON: at least one. There, a control
/// character takes six times as many bytes as in the database.
fn fitting(entries: &[Media]) -> usize {
    let mut left = limits::LIST_TEXT_BYTES;
    let fits = |media: &&Media| {
        let rest = left.checked_sub(text_length(media));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    entries.iter().take_while(fits).count().max(entries.len().min(1))
}

/// Bytes of the texts of an entry in JSON.
fn text_length(media: &Media) -> usize {
    let Description { file_name, title, description } = &media.description;
    let texts = [file_name, title, description].into_iter().flatten().chain([&media.author]);
    texts.map(|text| json_length(text)).sum()
}

/// Bytes of a text in JSON (RFC 8259 section 7), without the quotation marks.
fn json_length(text: &str) -> usize {
    let length = |byte| match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(length).sum()
}

/// The page that the parameters ask for; `None` where `after` or `before` can't name any media.
fn page(query: Option<&str>, usual: usize) -> Result<Option<Page>, Refusal> {
    let max = match target::parameter(query, "max").map(|max| max.parse::<i64>()) {
        Some(Ok(max)) => usize::try_from(max).map_err(|_| Refusal::BadMax)?,
        // A value that is not a number is ignored, as by the original.
        Some(Err(_)) | None => usual,
    };
    let id = |name| target::parameter(query, name).map(|id| id.parse::<MediaId>()).transpose();
    Ok(match (id("after"), id("before")) {
        (Ok(after), Ok(before)) => Some(Page { max: max.min(limits::LIST_ENTRIES), after, before }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn parsed(query: &str) -> Result<Option<Page>, Refusal> {
        page(Some(query), limits::LIST_ENTRIES)
    }

    #[test]
    fn garbage_is_ignored_and_negative_refused() {
        assert_eq!(parsed("max=undefined").unwrap().unwrap().max, 1000);
        assert_eq!(parsed("max=").unwrap().unwrap().max, 1000);
        assert_eq!(parsed("max=0").unwrap().unwrap().max, 0);
        assert_eq!(parsed("max=99999").unwrap().unwrap().max, 1000);
        assert_eq!(parsed("max=99999999999999999999999").unwrap().unwrap().max, 1000);
        assert_eq!(parsed("max=-1"), Err(Refusal::BadMax));
        assert_eq!(parsed("after=a/b"), Ok(None));
        assert_eq!(parsed("before="), Ok(None));
    }

    #[test]
    fn texts_are_as_long_as_they_are_in_json() {
        let all: String = (1..=0x7f).map(char::from).chain("éж\u{2028}🤷".chars()).collect();
        assert_eq!(json_length(&all), serde_json::to_string(&all).unwrap().len() - 2);
    }

    #[test]
    fn a_page_ends_before_its_texts_are_too_long() {
        let media = |title: String| Media {
            id: "A".parse().unwrap(),
            channel: "room@example.org".parse().unwrap(),
            author: String::new(),
            description: Description { title: Some(title), ..Description::default() },
            mime_type: String::new(),
            uploaded: Timestamp::from_micros(0),
            last_updated: Timestamp::from_micros(0),
            extension: None,
            sha1: String::new(),
            sha256: None,
            size: 0,
            length: None,
            height: None,
            width: None,
        };
        let eighth = limits::LIST_TEXT_BYTES / 8;
        let pages = |title: &str, expected| {
            let entries = vec![media(title.repeat(eighth)); 10];
            assert_eq!(fitting(&entries), expected, "{title:?}");
        };
        pages("x", 8);
        pages("\n", 4);
        pages("\u{1}", 1);
        assert_eq!(fitting(&[media("x".repeat(9 * eighth))]), 1);
        assert_eq!(fitting(&[]), 0);
    }

    #[test]
    fn the_next_page_keeps_its_lower_end() {
        let parameters = |query| Parameters::read(Some(query), 40).unwrap();
        let last = "B".parse().unwrap();
        assert_eq!(parameters("max=2&after=A&auth=secret").next("", &last), "?max=2&before=B&after=A");
        assert_eq!(
            parameters("format=atom&auth=x").next("format=atom", &last),
            "?format=atom&max=40&before=B"
        );
        assert_eq!(parameters("before=C&auth=x").query("format=atom"), "?format=atom&max=40&before=C");
        assert_eq!(parameters("before=/").query("format=atom"), "?format=atom");
        assert!(parameters("before=C").is_later() && !parameters("after=C").is_later());
    }
}
