//! The page of a channel in a real browser: looking, signing in, uploading, changing, on small and large screens, in light
//! and dark, by keyboard, and without script. With PAGE_PICTURES=FOLDER each state is saved there as a picture.

use std::path::PathBuf;

use serde_json::json;

use crate::site::Site;
use crate::support::http::Request;
use crate::support::media::{Made, file, film, picture, sound};
use crate::support::wait_for;
use crate::support::webdriver::{Browser, Scripts};
use crate::support::xmpp_client::Client;

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const LEFT: &str = "\u{e012}";
const RIGHT: &str = "\u{e014}";
/// The screens on which the page is looked at.
const SCREENS: [(u32, u32); 2] = [(360, 740), (1440, 900)];

/// Whether text has a contrast of 4.5 to what is behind it (WCAG 2.1, 1.4.3), with a white picture behind what is
/// translucent: gives the texts that do not.
const FAINT: &str = "
    const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
    const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
    const light = rgb => rgb.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        const layers = [];
        for (let e = element; e; e = e.parentElement) {
            const layer = parse(getComputedStyle(e).backgroundColor);
            layers.push(layer);
            if (layer[3] === 1) break;
        }
        return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
    };
    const faint = [];
    for (const e of document.querySelectorAll('body *')) {
        const says = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (!says || !e.checkVisibility() || e.closest('dialog:not([open])')) continue;
        const back = behind(e), text = over(parse(getComputedStyle(e).color), back);
        const [a, b] = [light(text), light(back)].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(e.textContent + ' ' + getComputedStyle(e).color + ' on ' + back);
    }
    return faint;";

/// Gives the pictures that are shown in other proportions than their own, by more than two pixels.
const DISTORTED: &str = "
    return [...document.querySelectorAll('[data-testid=item] img')].filter(i => i.naturalWidth).filter(i =>
        Math.abs(i.clientHeight - i.clientWidth * i.naturalHeight / i.naturalWidth) > 2 + i.clientWidth * 0.01)
        .map(i => [i.alt, i.clientWidth, i.clientHeight, i.naturalWidth, i.naturalHeight].join(' '));";

/// Gives the buttons and links to press that are smaller than 24 pixels.
const SMALL: &str = "
    return [...document.querySelectorAll('button, .button, input')].filter(e => e.checkVisibility())
        .filter(e => e.clientWidth < 24 || e.clientHeight < 24).map(e => e.outerHTML);";

/// A channel with one media of each kind, and its owner.
struct Gallery {
    user: Client,
    channel: String,
}

impl Gallery {
    fn public(site: &Site) -> Self {
        let (user, channel) = site.public_channel();
        Self { user, channel }.filled(site)
    }

    fn filled(self, site: &Site) -> Self {
        let send = |made: &Made, mime_type: &str, title: &str| {
            let request = Request::new("POST", &site.url(&self.channel)).file(made.path(), mime_type);
            let request = request.basic(self.user.jid());
            let request = if title.is_empty() { request } else { request.part(&format!("title={title}")) };
            request.part("description=Seen from the bridge, early in the morning.").send().expect(201);
        };
        send(&file("minutes of the meeting.pdf", b"%PDF-1.4\n"), "application/pdf", "");
        send(&sound("waves.mp3"), "audio/mpeg", "Waves at night");
        send(&film("tide.mp4", 640, 360), "video/mp4", "The tide comes in");
        send(&picture("panorama.png", 1600, 500), "image/png", "");
        send(&picture("tower.jpg", 600, 900), "image/jpeg", "The tower");
        send(&picture("square.webp", 500, 500), "image/webp", "");
        send(&picture("bridge.jpg", 1200, 800), "image/jpeg", "The bridge <b>&amp; \"the river\"</b>");
        self
    }
}

/// Saves a picture of this state, if somebody wants to look at it.
fn look(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("PAGE_PICTURES") {
        browser.picture(&PathBuf::from(folder).join(format!("{name}.png")));
    }
}

/// Asserts that the console is empty, and that everything came from the site or from the page itself.
#[track_caller]
fn assert_quiet(browser: &Browser, origin: &str) {
    let console = browser.console();
    assert!(console.is_empty(), "{console:#?}");
    for url in browser.requested() {
        let own = [origin, "blob:", "data:", "about:", "chrome"].iter().any(|start| url.starts_with(start));
        assert!(own, "the page asked for {url}");
    }
}

#[track_caller]
fn assert_none(browser: &Browser, script: &str) {
    assert_eq!(browser.run(script), json!([]));
}

fn wait_pictures(browser: &Browser, count: usize) {
    let loaded =
        "return [...document.querySelectorAll('[data-testid=item] img')].filter(i => i.naturalWidth).length";
    wait_for("the previews to be shown", || (browser.run(loaded) == json!(count)).then_some(()));
}

#[test]
fn a_public_gallery_is_shown_on_every_screen() {
    let site = Site::shared();
    let gallery = Gallery::public(site);
    let browser = Browser::start(Scripts::On);
    for screen in SCREENS {
        for scheme in ["light", "dark"] {
            browser.show_on(screen, scheme);
            browser.open(&site.url(&gallery.channel));
            browser.run("for (const image of document.images) image.loading = 'eager'");
            wait_pictures(&browser, 5);
            let name = format!("{}-{scheme}", screen.0);
            look(&browser, &format!("gallery-{name}"));
            assert_eq!(browser.all("[data-testid=item]").len(), 7);
            assert_none(&browser, FAINT);
            assert_none(&browser, DISTORTED);
            assert_none(&browser, SMALL);
            let wide = browser.run("return document.documentElement.scrollWidth - innerWidth");
            assert!(wide.as_i64().is_some_and(|more| more <= 0), "{name} scrolls sideways by {wide}");
            let first = browser.all("[data-testid=item] a").remove(0);
            browser.click(&first);
            browser.see("viewer");
            look(&browser, &format!("viewer-{name}"));
            assert_none(&browser, FAINT);
            assert_none(&browser, SMALL);
        }
    }
    assert_quiet(&browser, &site.url(""));
}

#[test]
fn the_viewer_is_used_by_keyboard() {
    let site = Site::shared();
    let gallery = Gallery::public(site);
    let browser = Browser::start(Scripts::On);
    browser.show_on(SCREENS[1], "light");
    browser.open(&site.url(&gallery.channel));
    wait_pictures(&browser, 5);
    browser.press(TAB);
    let focused = "return document.activeElement.closest('[data-testid=item]')?.dataset.id || ''";
    let first = browser.run("return document.querySelector('[data-testid=item]').dataset.id");
    assert_eq!(browser.run(focused), first);
    look(&browser, "focus");
    browser.press(ENTER);
    browser.see("viewer");
    let title = || browser.run("return document.querySelector('[data-testid=viewer] h2').textContent");
    assert_eq!(title(), "The bridge <b>&amp; \"the river\"</b>");
    browser.press(RIGHT);
    assert_eq!(title(), "square.webp");
    browser.press(LEFT);
    browser.press(LEFT);
    assert_eq!(title(), "The bridge <b>&amp; \"the river\"</b>", "there is nothing before the first");
    for _ in 0..4 {
        browser.press(RIGHT);
    }
    let film = browser.find("[data-testid=viewer] video[controls]");
    wait_for("the film to be ready", || {
        let length = browser.run("return document.querySelector('video').duration || 0");
        length.as_f64().is_some_and(|length| length > 3.0).then_some(())
    });
    assert!(browser.is_seen(&film));
    look(&browser, "viewer-film");
    browser.press(RIGHT);
    browser.find("[data-testid=viewer] audio[controls]");
    look(&browser, "viewer-sound");
    browser.press(RIGHT);
    assert!(browser.text().contains("You can download it."), "{}", browser.text());
    look(&browser, "viewer-file");
    let link = browser.run("return document.querySelector('[data-testid=download]').href");
    assert!(link.as_str().is_some_and(|link| link.starts_with(&site.url(&gallery.channel))), "{link}");
    browser.press(ESCAPE);
    assert!(!browser.sees("viewer"));
    assert_eq!(browser.run(focused), first, "the focus is where it was");
    assert_quiet(&browser, &site.url(""));
}

#[test]
fn a_public_gallery_works_without_script() {
    let site = Site::shared();
    let gallery = Gallery::public(site);
    let browser = Browser::start(Scripts::Off);
    browser.show_on(SCREENS[1], "light");
    browser.open(&site.url(&format!("{}?max=4", gallery.channel)));
    look(&browser, "no-script");
    assert_eq!(browser.all("[data-testid=item] img").len(), 4);
    assert!(!browser.sees("sign-in") && !browser.sees("file"));
    wait_pictures(&browser, 4);
    assert_none(&browser, DISTORTED);
    let next = browser.find("a[rel=next]");
    browser.click(&next);
    wait_for("the next page", || (browser.all("[data-testid=item]").len() == 3).then_some(()));
    assert!(browser.text().contains("minutes of the meeting.pdf"), "{}", browser.text());
    assert_quiet(&browser, &site.url(""));
}

#[test]
fn an_empty_channel_and_a_refusal_say_what_to_do() {
    let site = Site::shared();
    let (_, channel) = site.public_channel();
    let browser = Browser::start(Scripts::On);
    for screen in SCREENS {
        browser.show_on(screen, "dark");
        browser.open(&site.url(&channel));
        assert!(browser.text().contains("Nothing here yet"), "{}", browser.text());
        look(&browser, &format!("empty-{}", screen.0));
        assert_none(&browser, FAINT);
        assert_quiet(&browser, &site.url(""));
        browser.open(&site.url("room@elsewhere.test"));
        assert!(browser.text().contains("does not keep the media of this domain"), "{}", browser.text());
        look(&browser, &format!("refusal-{}", screen.0));
        assert_none(&browser, FAINT);
        browser.console();
    }
}
