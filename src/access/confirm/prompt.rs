//! The prompt that asks a user (XEP-0070): its words and its stanza. Values in, values out; it knows no limits, no clock
//! and no other prompt.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::super::credentials::Credentials;
use super::super::random::hex_id;
use super::super::request::{Intent, Item, Request};
use super::super::settings::{ConfirmAddress, ConfirmStanza, Settings};
use super::super::text;
use crate::limits;
use crate::model::{Channel, Jid, Method, Need, SharedPrompt};
use crate::xmpp::{Element, ns};

/// The name of the stanza that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PromptForm {
    Message,
    Iq,
}

/// A question to a user. It has no `Debug`: it holds a transaction id.
pub(super) struct Prompt {
    pub asked: Jid,
    pub stanza_id: String,
    pub thread: String,
    pub form: PromptForm,
    pub transaction: String,
    method: Method,
    url: String,
    /// For people: "upload a file to room@example.com".
    deed: String,
    /// For people: "from 192.0.2.7".
    source: Option<String>,
    /// How long the user has.
    time: Duration,
}

impl Prompt {
    /// The prompt for this request, with an unguessable stanza id and thread.
    pub fn new(request: &Request, credentials: &Credentials, settings: &Settings) -> Self {
        let is_iq = settings.confirm_stanza == ConfirmStanza::Auto && credentials.jid().resource().is_some();
        Self {
            asked: credentials.jid().clone(),
            stanza_id: hex_id(),
            thread: hex_id(),
            form: if is_iq { PromptForm::Iq } else { PromptForm::Message },
            transaction: credentials.transaction().to_owned(),
            method: request.method,
            url: request.url.clone(),
            deed: deed(&request.intent, &request.channel),
            source: source(request, settings.confirm_address),
            time: settings.reply_timeout,
        }
    }

    /// This prompt of a request, for another node.
    pub fn into_shared(self, request: &Request, shown: bool, ends_by_bounce: bool) -> SharedPrompt {
        let Self { asked, stanza_id, thread, form, transaction, method, url, deed, source, time } = self;
        SharedPrompt {
            by_iq: form == PromptForm::Iq,
            client: request.client,
            has_origin: request.origin.is_some(),
            asked,
            stanza_id,
            thread,
            transaction,
            method,
            url,
            deed,
            source,
            shown,
            ends_by_bounce,
            time,
        }
    }

    /// A prompt of another node.
    pub fn of_node(shared: SharedPrompt) -> Self {
        let SharedPrompt { asked, stanza_id, thread, transaction, method, url, deed, source, time, .. } =
            shared;
        let form = if shared.by_iq { PromptForm::Iq } else { PromptForm::Message };
        Self { asked, stanza_id, thread, form, transaction, method, url, deed, source, time }
    }

    /// The stanza that asks.
    pub fn to_stanza(&self, component: &Jid) -> Element {
        let confirm = Element::new("confirm", ns::HTTP_AUTH)
            .with("id", &self.transaction)
            .with("method", self.method.name())
            .with("url", &self.url);
        let (name, kind) = match self.form {
            PromptForm::Message => ("message", "normal"),
            PromptForm::Iq => ("iq", "get"),
        };
        let stanza = Element::new(name, ns::CLIENT)
            .with("type", kind)
            .with("id", &self.stanza_id)
            .with("from", component.to_string())
            .with("to", self.asked.to_string());
        match self.form {
            // Deployed clients reply by sending the stanza back with its addresses swapped.
            PromptForm::Message => passing(
                stanza
                    .with_child(Element::new("thread", ns::CLIENT).with_text(&self.thread))
                    .with_child(Element::new("body", ns::CLIENT).with_text(self.body()))
                    .with_child(confirm),
            ),
            PromptForm::Iq => stanza.with_child(confirm),
        }
    }

    /// Asks by a message from now on.
    pub fn fall_back(&mut self) {
        self.form = PromptForm::Message;
    }

    /// The request in one line, for a list.
    pub fn summary(&self) -> String {
        let mut line = self.deed.clone();
        self.source.iter().for_each(|source| line = format!("{line} ({source})"));
        if text::is_shown(&self.transaction) {
            line = format!("{line}, transaction {}", self.transaction);
        }
        line
    }

    /// Whether this text is the transaction id that the prompt showed, and confirms by itself.
    pub fn is_named_by(&self, body: &str) -> bool {
        text::is_id(body, &self.transaction)
    }

    /// Whether the element names the same id, method and URL.
    pub fn matches(&self, confirm: &Element) -> bool {
        confirm.attribute("id") == Some(&self.transaction)
            && confirm.attribute("method") == Some(self.method.name())
            && confirm.attribute("url") == Some(&self.url)
    }

    /// For people whose client does not know XEP-0070. The requester chose the transaction id, so it comes last, and only
    /// if it can hold no sentence.
    fn body(&self) -> String {
        let source = self.source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default();
        let mut body = format!(
            "Did you just {}?{source}\nReply OK to allow it, or No to refuse. Without a reply it is refused in {}.",
            self.deed,
            in_words(self.time)
        );
        if text::is_shown(&self.transaction) {
            body.push_str("\nConfirmation message for transaction ");
            body.push_str(&self.transaction);
        }
        body
    }
}

/// A message that no server should keep: it means nothing a minute later (XEP-0334).
pub(super) fn passing(message: Element) -> Element {
    message
        .with_child(Element::new("no-store", ns::HINTS))
        .with_child(Element::new("no-permanent-store", ns::HINTS))
}

fn deed(intent: &Intent, channel: &Channel) -> String {
    let channel = shown_channel(channel);
    match intent {
        Intent::List => format!("ask for the list of the files of {channel}"),
        Intent::Read => format!("ask for a file of {channel}"),
        Intent::Upload => format!("upload a file to {channel}"),
        Intent::SetAvatar => format!("set the picture of {channel}"),
        Intent::Update(item) => format!("change the description of {} of {channel}", shown_item(item)),
        Intent::Delete(item) => format!("delete {} of {channel}", shown_item(item)),
        Intent::Ticket { posts: false, time } => {
            format!("ask to read all files of {channel} for up to {}", in_words(*time))
        }
        Intent::Ticket { posts: true, time } => format!(
            "ask to read all files of {channel}, to upload files there, and to change and delete your own, for up to {}",
            in_words(*time)
        ),
    }
}

fn shown_item(item: &Item) -> String {
    match item {
        Item::Avatar => "the picture".to_owned(),
        Item::Media(id) => format!("the file {id}"),
        Item::Unknown => "a file".to_owned(),
    }
}

/// The address of a channel, cut where it is long. Letters of a script that runs from right to left must not move what
/// stands around them.
fn shown_channel(channel: &Channel) -> String {
    let text = channel.as_str();
    let mut shown: String = text.chars().take(limits::SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    if text.is_ascii() { shown } else { format!("\u{2068}{shown}\u{2069}") }
}

/// Where the request comes from.
fn source(request: &Request, rule: ConfirmAddress) -> Option<String> {
    // A ticket is worth more than what it is asked for with.
    let changes = request.need != Need::Read || matches!(request.intent, Intent::Ticket { .. });
    let address = request.address.map(|address| address.to_canonical());
    let address = match rule {
        ConfirmAddress::None => None,
        ConfirmAddress::Full if changes => address.map(|address| format!("from {address}")),
        ConfirmAddress::Full | ConfirmAddress::Network => {
            address.map(|address| format!("from the network {}", network(address)))
        }
    };
    let page = request.origin.as_deref().map(page);
    let parts: Vec<String> = address.into_iter().chain(page).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The IPv4 /24 or IPv6 /48 of an address.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(four) => format!("{}/24", Ipv4Addr::from_bits(four.to_bits() & !0xff)),
        IpAddr::V6(six) => format!("{}/48", Ipv6Addr::from_bits(six.to_bits() >> 80 << 80)),
    }
}

/// The web page of this origin (RFC 6454), by its host where that can be shown.
fn page(origin: &str) -> String {
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    if (1..=limits::SHOWN_CHARS).contains(&host.len()) && host.bytes().all(plain) {
        format!("by a web page of {host}")
    } else {
        "by a web page".to_owned()
    }
}

fn in_words(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match (seconds, seconds / 60) {
        (1, _) => "1 second".to_owned(),
        (_, minutes @ 2..) if seconds.is_multiple_of(60) => format!("{minutes} minutes"),
        _ => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{credentials, request, settings};
    use super::*;

    fn prompt(request: &Request, settings: &Settings) -> Prompt {
        Prompt::new(request, request.credentials.as_ref().unwrap(), settings)
    }

    fn body(request: &Request) -> String {
        prompt(request, &settings()).body()
    }

    fn publish() -> Request {
        request(Need::Publish)
    }

    #[test]
    fn the_first_line_names_the_action_and_the_channel() {
        let media = || Item::Media("lETuJi8rPE4IfQrygN6r".parse().unwrap());
        for (intent, deed) in [
            (Intent::Upload, "upload a file to room@topics.example.com"),
            (Intent::SetAvatar, "set the picture of room@topics.example.com"),
            (Intent::List, "ask for the list of the files of room@topics.example.com"),
            (Intent::Read, "ask for a file of room@topics.example.com"),
            (
                Intent::Update(media()),
                "change the description of the file lETuJi8rPE4IfQrygN6r of room@topics.example.com",
            ),
            (Intent::Delete(media()), "delete the file lETuJi8rPE4IfQrygN6r of room@topics.example.com"),
            (Intent::Delete(Item::Avatar), "delete the picture of room@topics.example.com"),
            (Intent::Delete(Item::Unknown), "delete a file of room@topics.example.com"),
            (
                Intent::Ticket { posts: false, time: Duration::from_secs(900) },
                "ask to read all files of room@topics.example.com for up to 15 minutes",
            ),
            (
                Intent::Ticket { posts: true, time: Duration::from_secs(3600) },
                "ask to read all files of room@topics.example.com, to upload files there, and to change and delete \
                 your own, for up to 60 minutes",
            ),
        ] {
            let body = body(&Request { intent, ..publish() });
            assert_eq!(body.lines().next(), Some(format!("Did you just {deed}?").as_str()));
        }
    }

    #[test]
    fn the_whole_body_has_three_lines() {
        let request = Request { address: Some([192, 0, 2, 7].into()), ..publish() };
        assert_eq!(
            body(&request),
            "Did you just upload a file to room@topics.example.com? (from 192.0.2.7)\n\
             Reply OK to allow it, or No to refuse. Without a reply it is refused in 30 seconds.\n\
             Confirmation message for transaction t"
        );
    }

    #[test]
    fn an_id_is_shown_only_if_it_can_hold_no_sentence() {
        for (id, shown) in [
            ("a7374jnjlalasdf82", true),
            ("7. Your account is locked. Unlock it at www.evil.example/login", false),
            ("\u{202e}evil", false),
            ("x/y", false),
            (&"x".repeat(65), false),
        ] {
            let request = Request { credentials: credentials("alice@example.com", id), ..publish() };
            let prompt = prompt(&request, &settings());
            assert_eq!(prompt.body().lines().count() == 3, shown, "{id}");
            assert_eq!(prompt.body().contains(id) && prompt.summary().contains(id), shown, "{id}");
        }
    }

    #[test]
    fn the_address_is_whole_for_changes_and_a_network_for_reading() {
        use ConfirmAddress::{Full, Network, None as Nothing};
        for (address, rule, changing, reading) in [
            ("192.0.2.7", Full, "from 192.0.2.7", "from the network 192.0.2.0/24"),
            ("192.0.2.7", Network, "from the network 192.0.2.0/24", "from the network 192.0.2.0/24"),
            ("192.0.2.7", Nothing, "", ""),
            ("::ffff:192.0.2.7", Full, "from 192.0.2.7", "from the network 192.0.2.0/24"),
            ("2001:db8:1:2::3", Full, "from 2001:db8:1:2::3", "from the network 2001:db8:1::/48"),
        ] {
            for (need, expected) in [(Need::Publish, changing), (Need::Read, reading)] {
                let request = Request { address: Some(address.parse().unwrap()), ..request(need) };
                assert_eq!(source(&request, rule).unwrap_or_default(), expected, "{address} {rule:?}");
            }
        }
        let address = Some("192.0.2.7".parse().unwrap());
        let intent = Intent::Ticket { posts: false, time: Duration::from_secs(900) };
        let ticket = Request { address, intent, ..request(Need::Read) };
        assert_eq!(source(&ticket, Full).as_deref(), Some("from 192.0.2.7"));
        assert_eq!(source(&publish(), Full), None);
    }

    #[test]
    fn a_web_page_is_named_by_its_host() {
        let long = format!("https://{}.example", "x".repeat(64));
        for (origin, named) in [
            ("https://evil.example", "by a web page of evil.example"),
            ("http://evil.example:8080", "by a web page of evil.example:8080"),
            ("https://[2001:db8::1]", "by a web page of [2001:db8::1]"),
            ("null", "by a web page"),
            ("", "by a web page"),
            ("https://evil.example Your account is locked", "by a web page"),
            ("https://bücher.example", "by a web page"),
            (&long, "by a web page"),
        ] {
            let request = Request {
                origin: Some(origin.to_owned()),
                address: Some([192, 0, 2, 7].into()),
                ..publish()
            };
            assert_eq!(source(&request, ConfirmAddress::None).as_deref(), Some(named));
            assert_eq!(source(&request, ConfirmAddress::Full), Some(format!("from 192.0.2.7, {named}")));
        }
    }

    #[test]
    fn long_and_foreign_channels_do_not_move_what_stands_around_them() {
        let channel = |text: &str| shown_channel(&text.parse().unwrap());
        assert_eq!(channel("\u{5d0}\u{5d1}@example.com"), "\u{2068}\u{5d0}\u{5d1}@example.com\u{2069}");
        let long = channel(&format!("{}@example.com", "a".repeat(80)));
        assert_eq!(long, format!("{}…", "a".repeat(64)));
    }

    #[test]
    fn times_are_told_in_words() {
        for (milliseconds, words) in [
            (1, "1 second"),
            (1000, "1 second"),
            (1500, "2 seconds"),
            (60_000, "60 seconds"),
            (90_000, "90 seconds"),
            (120_000, "2 minutes"),
            (3_600_000, "60 minutes"),
        ] {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), words);
        }
    }

    #[test]
    fn only_a_full_address_is_asked_by_iq_and_only_if_so_set() {
        let auto = Settings { confirm_stanza: ConfirmStanza::Auto, ..settings() };
        let component: Jid = "media.example.com".parse().unwrap();
        for (jid, settings, name) in [
            ("alice@example.com/phone", &auto, "iq"),
            ("alice@example.com", &auto, "message"),
            ("alice@example.com/phone", &settings(), "message"),
        ] {
            let request = Request { credentials: credentials(jid, "t"), ..publish() };
            let mut prompt = prompt(&request, settings);
            assert_eq!(prompt.to_stanza(&component).name(), name, "{jid}");
            prompt.fall_back();
            let stanza = prompt.to_stanza(&component);
            assert_eq!((stanza.name(), stanza.attribute("type")), ("message", Some("normal")));
            assert!(stanza.child("no-store", ns::HINTS).is_some());
            assert!(stanza.child("no-permanent-store", ns::HINTS).is_some());
        }
    }
}
