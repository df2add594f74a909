//! The page of a channel in HTML. It works without the script, which adds the viewer, signing in, and changes.

use super::files;
use super::markup::Markup;
use crate::limits;
use crate::media_type;
use crate::model::{Channel, Description, Media, MediaId};

/// The content of the page.
pub(super) enum PageContent<'a> {
    /// Media of the channel.
    Gallery {
        entries: &'a [Media],
        /// The query of the next page, if there is one.
        next: Option<String>,
        /// Whether this is a later page.
        later: bool,
    },
    /// The request to sign in. It is the same whether there is a channel or not.
    SignIn,
    /// Why there is nothing to see, and what to do.
    Refusal {
        title: &'static str,
        detail: &'a str,
        /// Whether it may help to try again.
        may_help: bool,
    },
}

/// How a page reads a channel that is not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SigningIn {
    /// By a cookie.
    Cookie,
    /// Without TLS there is no cookie: by a ticket in the script's memory, with files as objects of the browser's.
    Objects,
}

/// A page, and what it must know of its request.
pub(super) struct Page<'a> {
    pub channel: &'a Channel,
    /// The channel in the path as it was requested, to which the browser's cookie belongs.
    pub segment: &'a str,
    /// The nonce of the content security policy.
    pub nonce: &'a str,
    /// Whether everybody may read the channel.
    pub public: bool,
    /// How people sign in, if they can.
    pub signing_in: Option<SigningIn>,
    pub content: PageContent<'a>,
}

impl Page<'_> {
    /// The whole document.
    pub fn render(&self) -> Vec<u8> {
        let mut out = Markup::new();
        self.head(&mut out);
        self.header(&mut out);
        self.main(&mut out);
        if self.has_script() {
            self.aside(&mut out);
            out.raw(DIALOGS);
        }
        out.raw("</body></html>\n");
        out.into_bytes()
    }

    fn head(&self, out: &mut Markup) {
        out.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
        out.text(self.channel.as_str()).raw("</title>");
        out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
        out.raw("<meta name=\"color-scheme\" content=\"light dark\">");
        out.raw("<link rel=\"stylesheet\"").attribute("nonce", self.nonce);
        out.attribute("href", &files::STYLE.link()).raw(">");
        if self.has_script() {
            out.raw("<script type=\"module\"").attribute("nonce", self.nonce);
            out.attribute("src", &files::SCRIPT.link()).raw("></script>");
        }
        out.raw("<link rel=\"icon\" type=\"image/svg+xml\"").attribute("href", &files::ICON.link()).raw(">");
        out.raw(
            "<link rel=\"alternate\" type=\"application/atom+xml\" title=\"Feed\" href=\"?format=atom\">",
        );
        out.raw("</head><body").raw(if self.public { "" } else { " data-private" });
        out.raw(match self.signing_in {
            Some(SigningIn::Cookie) => " data-cookie",
            Some(SigningIn::Objects) => " data-objects",
            None => "",
        });
        out.raw(">\n");
    }

    fn has_script(&self) -> bool {
        !matches!(self.content, PageContent::Refusal { .. })
    }

    fn header(&self, out: &mut Markup) {
        out.raw("<header><h1>");
        match self.channel.as_str().split_once('@') {
            Some((local, domain)) => out.text(local).raw("<span>@").text(domain).raw("</span>"),
            None => out.text(self.channel.as_str()),
        };
        out.raw("</h1></header>\n");
    }

    /// The controls for more than looking. It is behind the gallery, so that the first Tab leads to the first file.
    fn aside(&self, out: &mut Markup) {
        out.raw("<aside>");
        if let PageContent::Gallery { .. } = self.content {
            out.raw(DOOR);
        }
        out.raw(MEMBER).raw("</aside>\n");
    }

    fn main(&self, out: &mut Markup) {
        out.raw("<main>").raw(if self.has_script() { NOTES } else { "" });
        match &self.content {
            PageContent::Gallery { entries: [], later: false, .. } => {
                out.raw(EMPTY);
            }
            PageContent::Gallery { entries, next, later } => {
                self.gallery(out, entries, next.as_deref(), *later);
            }
            PageContent::SignIn if self.signing_in.is_some() => {
                out.raw(PRIVATE).raw(DOOR).raw(WITHOUT_SCRIPT);
            }
            PageContent::SignIn => {
                out.raw(CLOSED).raw(DOOR);
            }
            PageContent::Refusal { title, detail, may_help } => {
                out.raw("<section class=\"card\"><h2>").text(title).raw("</h2><p>").text(detail).raw("</p>");
                out.raw(if *may_help { AGAIN } else { "" }).raw("</section>");
            }
        }
        out.raw("</main>\n");
    }

    fn gallery(&self, out: &mut Markup, entries: &[Media], next: Option<&str>, later: bool) {
        out.raw("<ul data-testid=\"gallery\">\n");
        for (number, media) in entries.iter().enumerate() {
            self.item(out, media, number < limits::PAGE_EAGER);
        }
        out.raw("</ul>\n<nav>");
        if later {
            out.raw("<a class=\"button\" href=\"?\">Newest</a>");
        }
        if let Some(next) = next {
            out.raw("<a class=\"button\" rel=\"next\"").attribute("href", next).raw(">Older</a>");
        }
        out.raw("<a rel=\"alternate\" type=\"application/atom+xml\" href=\"?format=atom\">Feed</a></nav>");
    }

    fn item(&self, out: &mut Markup, media: &Media, eager: bool) {
        let Description { file_name, title, description } = &media.description;
        let [file_name, title, description] = [file_name, title, description].map(|text| told(text.as_ref()));
        let kind = Kind::of(media);
        out.raw("<li data-testid=\"item\"").attribute("data-id", media.id.as_str());
        let class = if kind.has_preview() { ratio_class(media) } else { SQUARE };
        out.raw(" class=\"r").show(class).raw("\"");
        out.attribute("data-type", &media.mime_type).attribute("data-date", &media.uploaded.to_string());
        out.raw(" data-size=\"").show(media.size).raw("\"");
        if let Some(name) = file_name {
            out.attribute("data-name", name);
        }
        out.raw("><a").attribute("href", &self.address(&media.id));
        if let Some(description) = description {
            out.attribute("title", description);
        }
        out.raw(">");
        let name = title.or(file_name).unwrap_or(kind.name());
        if kind.has_preview() {
            self.preview(out, media, name, eager);
        } else {
            out.raw("<i>").text(media.extension.as_deref().unwrap_or("file")).raw("</i>");
        }
        match title {
            // The alternative text of the preview says the same.
            Some(title) if kind.has_preview() => {
                out.raw("<b dir=\"auto\" aria-hidden=\"true\">").text(title).raw("</b>");
            }
            Some(title) => {
                out.raw("<b dir=\"auto\">").text(title).raw("</b>");
            }
            None if !kind.has_preview() => {
                out.raw("<em dir=\"auto\">").text(name).raw("</em>");
            }
            None => {}
        }
        if let Kind::Film | Kind::Sound = kind {
            out.raw("<small>").raw(kind.name()).raw(" ");
            out.text(&media.length.map(duration).unwrap_or_default()).raw("</small>");
        }
        out.raw("</a></li>\n");
    }

    fn preview(&self, out: &mut Markup, media: &Media, name: &str, eager: bool) {
        let side = limits::PAGE_PREVIEW_SIDE;
        out.raw("<img").attribute("alt", name);
        out.attribute("src", &format!("{}?maxwidth={side}", self.address(&media.id)));
        if let (Some(width), Some(height)) = (media.width, media.height) {
            out.raw(" width=\"").show(width).raw("\" height=\"").show(height).raw("\"");
        }
        out.raw(if eager { ">" } else { " loading=\"lazy\">" });
    }

    /// The address of a media, relative to the page's.
    fn address(&self, id: &MediaId) -> String {
        format!("./{}/{id}", self.segment)
    }
}

/// A text that says something.
fn told(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.trim().is_empty())
}

/// How a media is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Picture,
    Film,
    Sound,
    File,
}

impl Kind {
    fn of(media: &Media) -> Self {
        let essence = media_type::essence(&media.mime_type);
        match essence.split_once('/') {
            Some(("audio", _)) => Self::Sound,
            _ if !media_type::may_have_preview(&essence) => Self::File,
            Some(("video", _)) => Self::Film,
            _ if media_type::is_inline_safe(&essence) => Self::Picture,
            _ => Self::File,
        }
    }

    fn has_preview(self) -> bool {
        matches!(self, Self::Picture | Self::Film)
    }

    /// Its name where the file has none.
    fn name(self) -> &'static str {
        match self {
            Self::Picture => "Picture",
            Self::Film => "Film",
            Self::Sound => "Sound",
            Self::File => "File",
        }
    }
}

/// A playing time in milliseconds as minutes and seconds, or with hours.
fn duration(milliseconds: u64) -> String {
    let seconds = (milliseconds.saturating_add(500) / 1000).max(1);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// The class of the style sheet for the proportions of a preview, `r0` to `r64`: each is for a ratio of width to height
/// that is a 64th of three octaves larger than the one before, from 0.4 to 3.2. The style sheet lays the rows out by them.
fn ratio_class(media: &Media) -> u8 {
    const CLASSES: f64 = 64.0;
    let (Some(width), Some(height)) = (media.width, media.height) else { return SQUARE };
    let ratio = f64::from(width.max(1)) / f64::from(height.max(1));
    let class = ((ratio / 0.4).log2() / 3.0 * CLASSES).round().clamp(0.0, CLASSES);
    // Between 0 and 64.
    class as u8
}

/// The class of squares.
const SQUARE: u8 = 28;

/// Signing in. The script shows it.
const DOOR: &str = "<form id=\"door\" hidden><label for=\"jid\">Your XMPP address</label>\
    <input id=\"jid\" data-testid=\"jid\" name=\"jid\" required inputmode=\"email\" autocomplete=\"username\" \
    autocapitalize=\"none\" spellcheck=\"false\" placeholder=\"you@example.com\">\
    <button data-testid=\"sign-in\">Sign in</button></form>";

/// The controls of a user who is signed in.
const MEMBER: &str = "<div id=\"member\" hidden><span id=\"who\" dir=\"auto\"></span>\
    <label class=\"button primary\"><input data-testid=\"file\" type=\"file\" multiple>Add files</label></div>";

/// The element in which the script reports progress.
const NOTES: &str = "<div id=\"notes\"><p data-testid=\"status\" role=\"status\"></p>\
    <p data-testid=\"error\" role=\"alert\"></p></div>\
    <section id=\"uploads\" hidden><p id=\"sending\"></p>\
    <progress data-testid=\"progress\" aria-labelledby=\"sending\" max=\"1\" value=\"0\"></progress>\
    <button id=\"stop\">Stop</button></section>\n";

const EMPTY: &str = "<section class=\"card\"><h2>Nothing here yet</h2>\
    <p>Files that are added to this channel appear here, the newest first.</p></section>\
    <ul data-testid=\"gallery\"></ul><nav></nav>";

const AGAIN: &str = "<p><a class=\"button\" href=\"?\">Try again</a></p>";

const PRIVATE: &str = "<section class=\"card\"><h2>Members only</h2>\
    <p>Nothing here is public. If this channel exists and you may read it, sign in with your XMPP address; \
    your XMPP client then asks you to confirm.</p></section>";

const CLOSED: &str = "<section class=\"card\"><h2>Members only</h2>\
    <p>Nothing here is public. Nobody can sign in until the operator of this server sets an https address \
    (http.endpoint).</p></section>";

const WITHOUT_SCRIPT: &str = "<noscript><p class=\"card\">Signing in needs JavaScript.</p></noscript>";

/// The dialogs of the script: the viewer, and the wait for a confirmation.
const DIALOGS: &str = "<dialog id=\"viewer\" data-testid=\"viewer\" role=\"dialog\" aria-labelledby=\"name\">\
    <div class=\"bar\"><span id=\"place\"></span>\
    <button id=\"change\" data-testid=\"edit\" hidden>Edit</button>\
    <button id=\"delete\" data-testid=\"delete\" hidden>Delete</button>\
    <button id=\"share\">Copy link</button>\
    <a id=\"save\" class=\"button\" data-testid=\"download\" download>Download</a>\
    <button id=\"close\" aria-label=\"Close\">\u{2715}</button></div>\
    <div id=\"stage\"></div>\
    <button id=\"back\" aria-label=\"Previous\">\u{2039}</button>\
    <button id=\"on\" aria-label=\"Next\">\u{203a}</button>\
    <div class=\"text\"><h2 id=\"name\" dir=\"auto\"></h2><p id=\"about\" dir=\"auto\"></p><p id=\"facts\"></p>\
    <form id=\"edit\" hidden><label for=\"title\">Title</label>\
    <input id=\"title\" data-testid=\"title\" dir=\"auto\" maxlength=\"1024\">\
    <label for=\"description\">Description</label>\
    <textarea id=\"description\" data-testid=\"description\" dir=\"auto\" rows=\"3\" maxlength=\"16384\"></textarea>\
    <p><button class=\"primary\" data-testid=\"save\">Save</button>\
    <button type=\"button\" id=\"cancel\">Cancel</button></p></form>\
    <p id=\"sure\" hidden>Delete this file for everybody? You can\u{2019}t undo this. \
    <button class=\"danger\" id=\"gone\" data-testid=\"confirm-delete\">Delete</button> \
    <button id=\"keep\">Keep</button></p></div></dialog>\n\
    <dialog id=\"ask\" aria-labelledby=\"asked\"><h2 id=\"asked\">Confirm in your XMPP client</h2>\
    <p id=\"why\"></p><p>Compare the code there with this one. Reply OK only if they are the same:</p>\
    <output data-testid=\"code\"></output><p class=\"wait\">Waiting for your reply\u{2026}</p>\
    <form method=\"dialog\"><button>Cancel</button></form></dialog>\n";

#[cfg(test)]
mod tests;
