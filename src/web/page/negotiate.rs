//! Which representation of a channel a request gets: page, feed or list (RFC 9110 section 12).

use crate::http::accept::Accept;
use crate::http::{Exchange, target};

/// A representation of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Representation {
    /// The list in JSON, for programs.
    Json,
    /// The page, for people.
    Page,
    /// The Atom feed (RFC 4287).
    Atom,
}

/// The representation that a request for a channel wants.
pub(in crate::web) fn representation(exchange: &Exchange) -> Representation {
    let format = target::parameter(exchange.query(), "format");
    chosen(format.as_deref(), &exchange.headers("Accept"), exchange.header("User-Agent"))
}

/// The page is for clients that name `text/html` and prefer it to JSON and to anything else; the client of Java does so
/// by default, but is not a browser. Clients that want the feed name it. JSON is for all others.
fn chosen(format: Option<&str>, accept: &[&str], user_agent: Option<&str>) -> Representation {
    let accept = Accept::new(accept.to_vec());
    let [atom, html] = ["application/atom+xml", "text/html"].map(|name| accept.quality(name));
    let json = accept.quality("application/json");
    if format == Some("atom") || (atom > json && atom >= html) {
        Representation::Atom
    } else if html > json.max(accept.quality("*/*")) && !user_agent.is_some_and(is_java) {
        Representation::Page
    } else {
        Representation::Json
    }
}

/// Whether the field `User-Agent` names the product `Java`, as `java.net.HttpURLConnection` does.
fn is_java(user_agent: &str) -> bool {
    user_agent.split([' ', '(']).any(|product| product.starts_with("Java/"))
}

#[cfg(test)]
mod tests {
    use super::Representation::{Atom, Json, Page};
    use super::*;

    const FIREFOX: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    const CHROMIUM: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
                            image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
    const JAVA: &str = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2";
    const FEEDPARSER: &str = "application/atom+xml,application/rdf+xml,application/rss+xml,\
                              application/x-netcdf,application/xml;q=0.9,text/xml;q=0.2,*/*;q=0.1";

    #[test]
    fn each_client_gets_what_it_wants() {
        for (accept, expected) in [
            ("", Json),
            ("*/*", Json),
            ("application/json", Json),
            ("application/json, text/javascript, */*; q=0.01", Json),
            ("application/xml", Json),
            ("text/*", Json),
            ("image/png", Json),
            (FIREFOX, Page),
            (CHROMIUM, Page),
            ("text/html", Page),
            ("text/html;q=0.1", Page),
            ("text/html, application/json;q=0.9", Page),
            ("text/html, */*", Json),
            ("text/html, application/json", Json),
            ("text/html;q=0.5, application/json", Json),
            ("text/html;q=0.5, */*;q=0.8", Json),
            ("text/html;q=0", Json),
            ("text/html;q=x", Json),
            (FEEDPARSER, Atom),
            ("application/atom+xml", Atom),
            ("application/atom+xml, */*", Atom),
            ("application/atom+xml;q=0.1", Atom),
            ("application/atom+xml, text/html", Atom),
            ("application/atom+xml;q=0", Json),
            ("application/atom+xml;q=0.5, text/html", Page),
            ("application/atom+xml, application/json", Json),
            ("application/atom+xml;q=0.5, application/json", Json),
            ("text/html, application/atom+xml;q=0.5, application/json;q=0.4", Page),
        ] {
            assert_eq!(chosen(None, &[accept], None), expected, "{accept}");
            assert_eq!(chosen(Some("atom"), &[accept], None), Atom, "{accept}");
            assert_eq!(chosen(Some("json"), &[accept], Some("curl/8.5.0")), expected, "{accept}");
            let split: Vec<_> = accept.split(',').collect();
            assert_eq!(chosen(None, &split, None), expected, "{accept} in several lines");
        }
        assert_eq!(chosen(None, &[], None), Json);
    }

    #[test]
    fn java_is_no_browser() {
        for (user_agent, expected) in [
            ("Java/1.8.0_201", Json),
            ("Java/21.0.1", Json),
            ("buddycloud Java/17", Json),
            ("buddycloud (Java/17)", Json),
            ("Mozilla/5.0 (X11) AppleWebKit/622.1 JavaFX/22 Safari/622.1", Page),
            ("Mozilla/5.0 (Java)", Page),
            ("", Page),
        ] {
            assert_eq!(chosen(None, &[JAVA], Some(user_agent)), expected, "{user_agent}");
        }
        assert_eq!(chosen(None, &["application/atom+xml"], Some("Java/17")), Atom);
    }
}
