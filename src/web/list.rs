//! `GET /{channel}`: the list of a channel's media.

use super::Web;
use super::answer::{MediaJson, json};
use crate::access::Granted;
use crate::http::Response;
use crate::http::target;
use crate::limits;
use crate::model::{Channel, MediaId, Page, Refusal};

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
        let entries: Vec<_> = listing.entries.iter().map(MediaJson::from).collect();
        let response = json(200, &entries, granted);
        Ok(match listing.entries.last() {
            Some(last) if listing.more => response.header("Link", next(&page, &last.id)),
            _ => response,
        })
    }
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
    fn the_next_page_keeps_its_lower_end() {
        let page = parsed("max=2&after=A").unwrap().unwrap();
        assert_eq!(next(&page, &"B".parse().unwrap()), "<?max=2&before=B&after=A>; rel=\"next\"");
    }
}
