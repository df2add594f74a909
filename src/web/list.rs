//! `GET /{channel}`: the list of a channel's media.

use super::Web;
use super::answer::{MediaJson, json};
use crate::access::Granted;
use crate::http::Response;
use crate::http::target;
use crate::limits;
use crate::model::{Channel, Description, Media, MediaId, Page, Refusal};

impl Web {
    pub(super) fn list(
        &self,
        channel: &Channel,
        query: Option<&str>,
        granted: &Granted,
    ) -> Result<Response, Refusal> {
        let Some(page) = page(query)? else {
            return Ok(json(200, &[(); 0], granted));
        };
        let listing = self.library.list(channel, &page)?;
        let shown = &listing.entries[..fitting(&listing.entries)];
        let more = listing.more || shown.len() < listing.entries.len();
        let entries: Vec<_> = shown.iter().map(MediaJson::from).collect();
        let response = json(200, &entries, granted);
        Ok(match shown.last() {
            Some(last) if more => response.header("Link", next(&page, &last.id)),
            _ => response,
        })
    }
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
fn page(query: Option<&str>) -> Result<Option<Page>, Refusal> {
    let max = match target::parameter(query, "max").map(|max| max.parse::<i64>()) {
        Some(Ok(max)) => usize::try_from(max).map_err(|_| Refusal::BadMax)?,
        // A value that is no number is ignored, as by the original.
        Some(Err(_)) | None => limits::LIST_ENTRIES,
    };
    let id = |name| target::parameter(query, name).map(|id| id.parse::<MediaId>()).transpose();
    Ok(match (id("after"), id("before")) {
        (Ok(after), Ok(before)) => Some(Page { max: max.min(limits::LIST_ENTRIES), after, before }),
        _ => None,
    })
}

/// The link to the next page (RFC 8288), relative to the address asked: a front web server's prefix stays.
fn next(page: &Page, last: &MediaId) -> String {
    let after = page.after.as_ref().map(|after| format!("&after={after}")).unwrap_or_default();
    format!("<?max={}&before={last}{after}>; rel=\"next\"", page.max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn parsed(query: &str) -> Result<Option<Page>, Refusal> {
        page(Some(query))
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
        let page = parsed("max=2&after=A").unwrap().unwrap();
        assert_eq!(next(&page, &"B".parse().unwrap()), "<?max=2&before=B&after=A>; rel=\"next\"");
    }
}
