//! The page of a channel in a real browser: looking, signing in, uploading, changing, on small and large screens, in light
//! and dark, by keyboard, and without script. With PAGE_PICTURES=FOLDER each state is saved there as a picture.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::json;

use crate::daemon::keystore;
use crate::site::Site;
use crate::support::http::Request;
use crate::support::media::{Made, file, film, picture, sound};
use crate::support::scratch::Scratch;
use crate::support::server::program;
use crate::support::webdriver::{Browser, Scripts};
use crate::support::xmpp_client::{Client, Policy};
use crate::support::{free_port, wait_for};

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
        Math.abs(i.clientHeight - i.clientWidth * i.naturalHeight / i.naturalWidth) > 2 + i.clientWidth * 0.02)
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

    fn private(site: &Site) -> Self {
        let user = site.user();
        let channel = site.own_channel("whitelist", &user);
        Self { user, channel }
    }

    fn filled(self, site: &Site) -> Self {
        let send = |made: &Made, mime_type: &str, title: &str| {
            let request = Request::new("POST", &site.url(&self.channel)).file(made.path(), mime_type);
            let request = request.basic(self.user.jid());
            let request = if title.is_empty() {
                request
            } else {
                request.with(&["--form-string", &format!("title={title}")])
            };
            request.part("description=Seen from the bridge, early in the morning.").send().expect(201);
        };
        send(&file("minutes of the meeting.pdf", b"%PDF-1.4\n"), "application/pdf", "");
        send(&sound("waves.mp3"), "audio/mpeg", "Waves at night");
        send(&film("tide.mp4", 640, 360), "video/mp4", "The tide comes in");
        send(&picture("panorama.png", 1600, 500), "image/png", "");
        send(&picture("tower.jpg", 600, 900), "image/jpeg", "The tower");
        send(&picture("square.webp", 500, 500), "image/webp", "");
        send(&picture("bridge.jpg", 1200, 800), "image/jpeg", "The bridge <b>&amp; \"the river\"</b>");
        let made = || std::fs::read_dir(site.server.storage().join(&self.channel)).map_or(0, Iterator::count);
        wait_for("the previews to be made", || (made() >= 7 + 5).then_some(()));
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
    let site = signing_site();
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
    let site = signing_site();
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
    let bytes = browser.run("return +document.querySelector('[data-testid=item]').dataset.size");
    let kib = (bytes.as_f64().expect("a size") / 102.4).round() / 10.0;
    assert!(browser.text().contains(&format!(" · {kib} KiB")), "{bytes}: {}", browser.text());
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
    let site = signing_site();
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
    let site = signing_site();
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

/// A site to which people can sign in: without an endpoint, it gives tickets to no page.
fn signing_site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| {
        Site::start(&[("http.endpoint", "http://127.0.0.1:@PORT@"), ("preview.at.upload", "true")])
    })
}

/// Signs in: compares the code that the page shows with the one that the client is asked about, and confirms.
fn sign_in(browser: &Browser, user: &Client, number: usize) {
    let jid = browser.see("jid");
    browser.type_into(&jid, user.bare());
    browser.click(&browser.see("sign-in"));
    confirm(browser, user, number, "/ticket/read");
    wait_for("the page to be signed in", || (!browser.sees("sign-in")).then_some(()));
}

/// Adds a file as by dropping it on the page.
fn drop_note(browser: &Browser) {
    browser.run(
        "const dropped = new DataTransfer();
         dropped.items.add(new File(['A note.'], 'note.txt', { type: 'text/plain' }));
         document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped, bubbles: true }));",
    );
}

/// Confirms what the page asks for, as a user does: if the codes are the same.
fn confirm(browser: &Browser, user: &Client, number: usize, path: &str) {
    let code = browser.see("code");
    let asked = user.confirm(number).expect("the user is asked");
    assert_eq!(asked.id, browser.text_of(&code));
    assert!(asked.url.ends_with(path) && asked.method == "POST", "{} {}", asked.method, asked.url);
    look(browser, &format!("code{}", path.replace('/', "-")));
    user.answer(&asked, Policy::Echo).expect("the user is connected");
}

/// The status that the page tells.
#[track_caller]
fn wait_status(browser: &Browser, text: &str) {
    wait_told(browser, "status", text);
}

/// What the page tells in the element of this name.
#[track_caller]
fn wait_told(browser: &Browser, name: &str, text: &str) {
    wait_for(&format!("{text:?} on the page: {}", browser.text()), || {
        let told = browser.find(&format!("[data-testid={name}]"));
        browser.text_of(&told).contains(text).then_some(())
    });
}

fn looks_after(browser: &Browser, gallery: &Gallery) {
    let files = [picture("one.jpg", 900, 600), picture("two.png", 600, 800), picture("three.webp", 700, 700)];
    let paths: Vec<_> = files.iter().map(|made| made.path().display().to_string()).collect();
    browser.run(
        "window.shown = []; const bar = document.querySelector('[data-testid=progress]');
         new MutationObserver(() => shown.push(bar.value)).observe(document.getElementById('sending'), { childList: true });",
    );
    let before = gallery.user.confirms().len();
    browser.type_into(&browser.find("[data-testid=file]"), &paths.join("\n"));
    // The progress can be seen only where the network is slow.
    let speed = |bytes: i32| {
        let network =
            json!({ "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes });
        browser.devtools("Network.emulateNetworkConditions", &network);
    };
    speed(60_000);
    confirm(browser, &gallery.user, before, "/ticket/post");
    browser.see("progress");
    look(browser, "sending");
    assert_none(browser, FAINT);
    speed(-1);
    wait_status(browser, "3 files were added.");
    assert!(!browser.sees("progress"));
    let shown: Vec<f64> = serde_json::from_value(browser.run("return shown")).expect("numbers");
    assert!(shown.is_sorted() && shown.first() == Some(&0.0) && shown.last() == Some(&1.0), "{shown:?}");
    assert_eq!(gallery.user.confirms().len(), before + 1, "one confirmation is enough for all three");
    wait_pictures(browser, browser.all("[data-testid=item] img").len());
    look(browser, "added");
    drop_note(browser);
    wait_status(browser, "note.txt was added.");
    assert_eq!(gallery.user.confirms().len(), before + 1, "the ticket goes on");

    browser.click(&browser.find("[data-testid=item] a"));
    browser.click(&browser.see("edit"));
    let title = browser.see("title");
    // 400 characters, 800 UTF-16 units, 1600 bytes: more than the server takes.
    browser.run(
        "const title = document.querySelector('[data-testid=title]');
         title.value = '\u{1f30a}'.repeat(400);
         title.dispatchEvent(new Event('input', { bubbles: true }));",
    );
    browser.click(&browser.see("save"));
    let told = browser.run("return document.querySelector('[data-testid=title]').validationMessage");
    assert_eq!(told, json!("This text is too long. Shorten it."));
    browser.run("document.querySelector('[data-testid=title]').value = ''");
    browser.type_into(&title, "A new title");
    look(browser, "edit");
    browser.click(&browser.see("save"));
    wait_status(browser, "Saved.");
    let heading = browser.find("[data-testid=viewer] h2");
    assert_eq!(browser.text_of(&heading), "A new title");
    browser.click(&browser.see("delete"));
    look(browser, "delete");
    browser.click(&browser.see("confirm-delete"));
    wait_status(browser, "A new title was deleted.");
    assert!(!browser.text().contains("A new title\n"));
}

#[test]
fn a_member_signs_in_to_a_private_gallery_and_looks_after_it() {
    let site = signing_site();
    let gallery = Gallery::private(site).filled(site);
    gallery.user.set_policy(Policy::Ignore);
    let browser = Browser::start(Scripts::On);
    browser.show_on(SCREENS[1], "light");
    browser.open(&site.url(&gallery.channel));
    look(&browser, "private");
    assert!(!browser.text().contains("bridge"));
    sign_in(&browser, &gallery.user, gallery.user.confirms().len());
    wait_pictures(&browser, 5);
    look(&browser, "private-signed-in");
    looks_after(&browser, &gallery);
    let links = browser.run("return document.documentElement.outerHTML.includes('ticket=')");
    assert_eq!(links, json!(false), "an address holds a ticket");
    assert_quiet(&browser, &site.url(""));
}

#[test]
fn a_finger_turns_the_pages_of_the_viewer() {
    let site = signing_site();
    let gallery = Gallery::public(site);
    let browser = Browser::start(Scripts::On);
    browser.show_on(SCREENS[0], "dark");
    browser.open(&site.url(&gallery.channel));
    wait_pictures(&browser, 5);
    browser.click(&browser.find("[data-testid=item] a"));
    let (viewer, stage) = (browser.see("viewer"), browser.find("#stage"));
    let place = || browser.run("return document.getElementById('place').textContent");
    assert!(browser.is_seen(&viewer));
    for (way, expected) in [
        ((-90, 5), "2 / 7"),
        ((-90, -5), "3 / 7"),
        ((90, 0), "2 / 7"),
        ((5, 60), "2 / 7"),
        ((-20, 0), "2 / 7"),
    ] {
        browser.swipe(&stage, way);
        assert_eq!(place(), expected, "{way:?}");
    }
    assert_quiet(&browser, &site.url(""));
}

#[test]
fn an_upload_is_stopped_and_a_revoked_ticket_is_asked_for_again() {
    let site = signing_site();
    let gallery = Gallery::private(site);
    gallery.user.set_policy(Policy::Ignore);
    let browser = Browser::start(Scripts::On);
    browser.show_on(SCREENS[1], "light");
    browser.open(&site.url(&gallery.channel));
    sign_in(&browser, &gallery.user, gallery.user.confirms().len());

    let network = |bytes: i32| {
        let network =
            json!({ "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes });
        browser.devtools("Network.emulateNetworkConditions", &network);
    };
    network(20_000);
    let asked = gallery.user.confirms().len();
    let large = picture("large.png", 900, 900);
    browser.type_into(&browser.find("[data-testid=file]"), &large.path().display().to_string());
    confirm(&browser, &gallery.user, asked, "/ticket/post");
    browser.see("progress");
    browser.click(&browser.find("#stop"));
    wait_told(&browser, "error", "Adding files: cancelled.");
    assert!(!browser.sees("progress"));
    look(&browser, "stopped");
    network(-1);
    drop_note(&browser);
    wait_status(&browser, "note.txt was added.");
    assert_eq!(browser.all("[data-testid=item]").len(), 1, "nothing is left of what was stopped");

    let config = site.server.configuration().display().to_string();
    let (status, printed) = program(&["-c", &config, "tickets", "revoke", "--user", gallery.user.bare()]);
    assert_eq!(status, 0, "{printed}");
    wait_for("the ticket to be refused", || {
        drop_note(&browser);
        wait_for("the page to be done", || {
            (browser.run("return document.querySelector('[data-testid=progress]').checkVisibility()")
                == false)
                .then_some(())
        });
        browser.text().contains("your sign-in has ended").then_some(())
    });
    look(&browser, "revoked");
    let asked = gallery.user.confirms().len();
    drop_note(&browser);
    confirm(&browser, &gallery.user, asked, "/ticket/post");
    wait_status(&browser, "note.txt was added.");
}

#[test]
fn over_https_a_cookie_reads() {
    let scratch = Scratch::new();
    let (keystore, port) = (keystore(&scratch).display().to_string(), free_port().to_string());
    let origin = format!("https://localhost:{port}");
    let site = Site::start(&[
        ("http.enabled", "true"),
        ("http.endpoint", &origin),
        ("preview.at.upload", "true"),
        ("https.enabled", "true"),
        ("https.port", &port),
        ("https.keystore.path", &keystore),
        ("https.keystore.password", "keystore-password"),
    ]);
    let gallery = Gallery::private(&site).filled(&site);
    gallery.user.set_policy(Policy::Ignore);
    let browser = Browser::start(Scripts::On);
    browser.show_on(SCREENS[0], "dark");
    let url = format!("{origin}/{}", gallery.channel);
    browser.open(&url);
    look(&browser, "private-360");
    sign_in(&browser, &gallery.user, gallery.user.confirms().len());
    browser.run("for (const image of document.images) image.loading = 'eager'");
    wait_pictures(&browser, 5);
    look(&browser, "private-signed-in-360");
    assert_eq!(browser.run("return document.cookie"), "", "scripts can't read the cookie");
    let asked = gallery.user.confirms().len();
    browser.open(&url);
    wait_for("the page to be signed in again", || (!browser.sees("sign-in")).then_some(()));
    assert_eq!(browser.all("[data-testid=item]").len(), 7);
    assert_eq!(gallery.user.confirms().len(), asked, "the cookie is enough");
    looks_after(&browser, &gallery);
    assert_quiet(&browser, &origin);
    // Another browser, with a ticket in the address.
    let asked = format!("{}/ticket/read", site.url(&gallery.channel));
    gallery.user.set_policy(Policy::Echo);
    let ticket = Request::new("POST", &asked).basic(gallery.user.jid()).send().expect(201).member("ticket");
    let other = Browser::start(Scripts::Off);
    other.open(&format!("{url}?ticket={ticket}"));
    other.run("for (const image of document.images) image.loading = 'eager'");
    wait_pictures(&other, other.all("[data-testid=item] img").len());
    assert_eq!(other.run("return location.href"), json!(url));
}

#[test]
fn a_ticket_in_the_address_reads_and_leaves_it() {
    let site = signing_site();
    let gallery = Gallery::private(site).filled(site);
    let asked = format!("{}/ticket/read", site.url(&gallery.channel));
    let ticket = Request::new("POST", &asked).basic(gallery.user.jid()).send().expect(201).member("ticket");
    let browser = Browser::start(Scripts::On);
    let url = site.url(&gallery.channel);
    browser.open(&format!("{url}?max=40&ticket={ticket}"));
    assert_eq!(browser.run("return location.href"), json!(format!("{url}?max=40")));
    wait_pictures(&browser, 5);
    browser.open(&format!("{url}?ticket=ended"));
    browser.see("sign-in");
    assert_eq!(browser.run("return location.href"), json!(url));
}

#[test]
fn a_script_is_told_of_a_401_and_nobody_is_asked_for_a_password() {
    let site = signing_site();
    let gallery = Gallery::private(site);
    let id = site.upload(&gallery.user, &gallery.channel);
    let browser = Browser::start(Scripts::On);
    browser.open(&site.url(&gallery.channel));
    // To a challenge of Basic, Chromium asks for a password, and the promise is never settled.
    browser.run(&format!(
        "fetch('./{}/{id}').then(response => document.title = response.status)",
        gallery.channel
    ));
    wait_for("the status", || (browser.run("return document.title") == "401").then_some(()));
}

#[test]
fn a_refused_sign_in_is_told_in_plain_words() {
    let site = signing_site();
    let gallery = Gallery::private(site);
    gallery.user.set_policy(Policy::Deny);
    let browser = Browser::start(Scripts::On);
    browser.show_on(SCREENS[1], "dark");
    browser.open(&site.url(&gallery.channel));
    browser.type_into(&browser.see("jid"), gallery.user.bare());
    browser.click(&browser.see("sign-in"));
    let error = browser.see("error");
    let text = browser.text_of(&error);
    assert!(text.contains("you are not allowed to do this"), "{text}");
    assert!(browser.sees("sign-in") && !text.contains('{') && !text.contains("403"), "{text}");
    look(&browser, "sign-in-refused");
}
