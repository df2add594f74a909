//! Tests of the page's HTML.

use super::super::testing::{CHANNEL, hostile, media};
use super::*;

fn rendered(content: PageContent<'_>) -> String {
    let channel = CHANNEL.parse().unwrap();
    let page = Page {
        channel: &channel,
        segment: CHANNEL,
        nonce: "NONCE",
        public: true,
        signing_in: Some(SigningIn::Cookie),
        content,
    };
    String::from_utf8(page.render()).unwrap()
}

fn gallery(entries: &[Media]) -> String {
    rendered(PageContent::Gallery { entries, next: None, later: false })
}

#[test]
fn an_item_links_to_its_file_and_shows_a_preview() {
    let page = gallery(&[media()]);
    for part in [
        "<ul data-testid=\"gallery\">",
        "<li data-testid=\"item\" data-id=\"A\" class=\"r37\" data-type=\"image/jpeg\"",
        "<a href=\"./room@example.com/A\" title=\"A description\">",
        "<img alt=\"A title\" src=\"./room@example.com/A?maxwidth=640\" width=\"400\" height=\"300\">",
        "<b dir=\"auto\" aria-hidden=\"true\">A title</b>",
        "<h1>room<span>@example.com</span></h1>",
        "<html lang=\"en\">",
        "<meta name=\"viewport\"",
        "<link rel=\"alternate\" type=\"application/atom+xml\"",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("alice"), "the page names its channel and nobody else");
    assert_eq!(page.matches("<h1").count(), 1);
}

#[test]
fn a_file_without_a_preview_shows_its_name() {
    let of_type = |mime_type: &str, title: Option<&str>| {
        let mut media = media();
        media.mime_type = mime_type.to_owned();
        media.description.title = title.map(str::to_owned);
        gallery(&[media])
    };
    for mime_type in ["audio/mpeg", "text/plain", "image/svg+xml", "image/jxl", "any text", ""] {
        let page = of_type(mime_type, None);
        assert!(page.contains("<i>jpg</i><em dir=\"auto\">photo.jpg</em>"), "{mime_type}: {page}");
        assert!(of_type(mime_type, Some("T")).contains("<i>jpg</i><b dir=\"auto\">T</b>"), "{mime_type}");
    }
    for mime_type in ["image/png", "Image/GIF; x=y", "image/heic", "video/mp4"] {
        assert!(of_type(mime_type, None).contains("<img alt=\"photo.jpg\""), "{mime_type}");
    }
    assert!(of_type("video/mp4", None).contains("<small>Film 0:04</small>"));
    assert!(of_type("audio/mpeg", None).contains("<small>Sound 0:04</small>"));
}

#[test]
fn later_pages_have_links() {
    let page = rendered(PageContent::Gallery {
        entries: &[],
        next: Some("?max=2&before=B".to_owned()),
        later: true,
    });
    assert!(page.contains("<a class=\"button\" rel=\"next\" href=\"?max=2&amp;before=B\">"), "{page}");
    assert!(page.contains("<a class=\"button\" href=\"?\">Newest</a>") && !page.contains("Nothing here"));
    assert!(gallery(&[]).contains("Nothing here yet"));
}

#[test]
fn people_are_told_how_to_sign_in_or_that_they_cannot() {
    let channel = CHANNEL.parse().unwrap();
    let page = |signing_in| {
        let content = PageContent::SignIn;
        let page = Page { channel: &channel, segment: "x", nonce: "N", public: false, signing_in, content };
        String::from_utf8(page.render()).unwrap()
    };
    for (signing_in, body, text) in [
        (None, "<body data-private>", "until the operator of this server sets an https"),
        (Some(SigningIn::Cookie), "<body data-private data-cookie>", "sign in with your XMPP address"),
        (Some(SigningIn::Objects), "<body data-private data-objects>", "sign in with your XMPP address"),
    ] {
        let page = page(signing_in);
        assert!(page.contains(body) && page.contains(text), "{page}");
    }
}

#[test]
fn hostile_texts_stay_texts() {
    for text in hostile::TEXTS {
        let of_type = |mime_type: Option<&str>, text: &str| {
            let mut media = hostile::media(text);
            if let Some(mime_type) = mime_type {
                media.mime_type = mime_type.to_owned();
            }
            gallery(&[media])
        };
        for mime_type in [None, Some("image/jpeg"), Some("video/mp4"), Some("audio/ogg")] {
            hostile::assert_parts(&of_type(mime_type, text), &of_type(mime_type, "x"), text);
        }
        let refused = |detail: &str| rendered(PageContent::Refusal { title: "T", detail, may_help: true });
        hostile::assert_parts(&refused(text), &refused("x"), text);
    }
}

#[test]
fn a_hostile_path_stays_in_its_attribute() {
    let channel = CHANNEL.parse().unwrap();
    let page = |segment: &str| {
        let entries = [media()];
        let content = PageContent::Gallery { entries: &entries, next: None, later: false };
        let page = Page {
            channel: &channel,
            segment,
            nonce: "N",
            public: true,
            signing_in: Some(SigningIn::Cookie),
            content,
        };
        String::from_utf8(page.render()).unwrap()
    };
    // The request target may hold all of these.
    let text = "room@\"><script>alert(1)</script>'&";
    hostile::assert_parts(&page(text), &page("x"), text);
}

#[test]
fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
    for page in [
        gallery(&[media()]),
        rendered(PageContent::SignIn),
        rendered(PageContent::Refusal { title: "T", detail: "D", may_help: true }),
    ] {
        for bad in ["<style", "style=", "http:", "https:", "src=\"//", "href=\"/"] {
            assert!(!page.contains(bad), "{bad} is in {page}");
        }
        let handlers = page
            .split(" on")
            .skip(1)
            .filter(|rest| rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).starts_with('='));
        assert_eq!(handlers.count(), 0, "{page}");
        for script in page.split("<script").skip(1) {
            assert!(script.starts_with(" type=\"module\" nonce=\"NONCE\" src=\"./-/page.js?"), "{script}");
        }
        let scripts = page.matches("<script").count();
        assert_eq!(page.matches("nonce=\"NONCE\"").count(), 1 + scripts);
    }
}

#[test]
fn every_element_of_the_script_is_there_once() {
    let script = include_str!("../assets/page.js");
    let ids = script.split("$('").skip(1).filter_map(|rest| rest.split_once("')")).map(|(id, _)| id);
    let ids: std::collections::BTreeSet<_> = ids.filter(|id| !id.is_empty()).collect();
    assert!(ids.len() > 20, "{ids:?}");
    for page in [gallery(&[media()]), rendered(PageContent::SignIn)] {
        for id in &ids {
            assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "{id}");
        }
        for id in
            ["jid", "sign-in", "code", "status", "error", "file", "progress", "viewer", "download", "edit"]
        {
            assert_eq!(page.matches(&format!("data-testid=\"{id}\"")).count(), 1, "{id}");
        }
        for id in ["title", "save", "delete", "confirm-delete"] {
            assert_eq!(page.matches(&format!("data-testid=\"{id}\"")).count(), 1, "{id}");
        }
    }
}

#[test]
fn the_form_has_the_limits_of_the_server() {
    let page = gallery(&[media()]);
    for (id, bytes) in [("title", limits::TITLE_BYTES), ("description", limits::DESCRIPTION_BYTES)] {
        let field = page.split("<").find(|tag| tag.contains(&format!(" id=\"{id}\""))).expect("a field");
        assert!(field.contains(&format!("maxlength=\"{bytes}\"")), "{field}");
    }
}

#[test]
fn a_page_with_style_and_script_is_light() {
    let mut media = media();
    media.id = "lETuJi8rPE4IfQrygN6r".parse().unwrap();
    let page = gallery(&vec![media; limits::PAGE_ENTRIES]);
    let bytes = page.len() + files::STYLE.bytes() + files::SCRIPT.bytes();
    assert!(bytes < 40 * 1024, "{bytes} bytes, {} of them HTML", page.len());
}

#[test]
fn each_class_is_the_nearest_to_the_proportions() {
    let mut media = media();
    for (width, height, expected) in [
        (Some(1000), Some(1000), 28),
        (Some(1500), Some(1000), 41),
        (Some(1000), Some(1500), 16),
        (Some(1920), Some(1080), 46),
        (Some(1), Some(10_000), 0),
        (Some(10_000), Some(1), 64),
        (Some(0), Some(0), 28),
        (Some(u32::MAX), Some(1), 64),
        (None, Some(100), SQUARE),
        (None, None, SQUARE),
    ] {
        (media.width, media.height) = (width, height);
        assert_eq!(ratio_class(&media), expected, "{width:?} x {height:?}");
    }
    let style = include_str!("../assets/page.css");
    assert!((0..=64).all(|class| style.contains(&format!(".r{class}{{--r:"))), "a class has no proportions");
}

#[test]
fn playing_times_are_as_people_write_them() {
    for (milliseconds, expected) in [
        (0, "0:01"),
        (1, "0:01"),
        (4000, "0:04"),
        (61_500, "1:02"),
        (3_600_000, "1:00:00"),
        (7_384_000, "2:03:04"),
    ] {
        assert_eq!(duration(milliseconds), expected);
    }
}
