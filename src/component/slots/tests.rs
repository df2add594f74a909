use super::*;

const NOW: &str = "2026-11-26T12:00:00Z";

/// An IQ of type `get` with this request.
fn iq(request: Element) -> Element {
    Element::new("iq", ns::CLIENT).with("type", "get").with_child(request)
}

fn request(attributes: &[(&str, &str)]) -> Element {
    let element = Element::new("request", ns::UPLOAD);
    attributes.iter().fold(element, |element, (name, value)| element.with(name, *value))
}

fn plain() -> Element {
    request(&[("filename", "a.jpg"), ("size", "5"), ("content-type", "image/jpeg")])
}

fn purpose(name: &str) -> Element {
    Element::new(name, ns::UPLOAD_PURPOSE)
}

fn alice() -> BareJid {
    "alice@example.org".parse().unwrap()
}

/// The request of Alice, or the condition and the text of the refusal.
fn read_request(element: Element) -> Result<SlotRequest, String> {
    read(&iq(element), alice()).map_err(shown)
}

fn shown(error: StanzaError) -> String {
    let error = error.into_element();
    let names: Vec<_> = error.children().map(|child| format!("{}:{}", child.name(), child.text())).collect();
    format!("{} {}", error.attribute("type").unwrap(), names.join(" "))
}

#[test]
fn a_request_is_read() {
    let expected = SlotRequest {
        owner: alice(),
        name: "a.jpg".to_owned(),
        size: 5,
        content_type: Some("image/jpeg".to_owned()),
        purpose: None,
        expire_before: None,
    };
    assert_eq!(read_request(plain()), Ok(expected.clone()));
    // As in XEP-0363, with whatever else a later version may add.
    let other = plain().with_child(Element::new("hash", "urn:xmpp:hashes:2")).with("width", "5");
    assert_eq!(read_request(other), Ok(expected.clone()));
    let untyped = request(&[("filename", "a.jpg"), ("size", "5")]);
    assert_eq!(read_request(untyped), Ok(SlotRequest { content_type: None, ..expected }));
}

#[test]
fn names_are_taken_as_they_are() {
    let long = "a".repeat(100_000);
    for name in ["a.jpg", "смех.ogg", " a ", "..", "a/b", "a\n\u{85}\0", "", &long] {
        let read = read_request(request(&[("filename", name), ("size", "1")]));
        assert_eq!(read.map(|request| request.name).as_deref(), Ok(name));
    }
    assert_eq!(read_request(request(&[("size", "1")])).unwrap().name, "");
}

#[test]
fn sizes_are_numbers_and_larger_ones_than_we_can_count_are_too_large() {
    for (size, read) in [
        ("1", 1),
        ("0", 0),
        ("007", 7),
        ("1000000000000000000", 1_000_000_000_000_000_000),
        ("18446744073709551615", u64::MAX),
        ("18446744073709551616", u64::MAX),
        ("99999999999999999999999999999999999999", u64::MAX),
    ] {
        let request = read_request(request(&[("filename", "a"), ("size", size)]));
        assert_eq!(request.map(|request| request.size), Ok(read), "{size}");
    }
    let sizes =
        ["", "-1", "-9223372036854775808", "+5", " 5", "5 ", "5.0", "1e3", "0x10", "5k", "٥", "NaN", "5\0"];
    for size in sizes {
        let text = read_request(request(&[("filename", "a"), ("size", size)])).unwrap_err();
        assert_eq!(
            text, "modify bad-request: text:The size of the file must be a number of bytes.",
            "{size:?}"
        );
    }
    assert!(read_request(request(&[("filename", "a")])).is_err());
}

#[test]
fn a_request_has_one_purpose_that_is_known() {
    let read = |element| read_request(element).map(|request| (request.purpose, request.expire_before));
    for purpose in Purpose::ALL {
        let element = plain().with_child(Element::new(purpose.name(), ns::UPLOAD_PURPOSE));
        assert_eq!(read(element), Ok((Some(purpose), None)));
    }
    // The name in another namespace is no purpose, and neither is the old way to write it as a text.
    let other = plain().with_child(Element::new("profile", ns::UPLOAD)).with_text("profile");
    assert_eq!(read(other), Ok((None, None)));
    for (element, what) in [
        (plain().with_child(purpose("archive")), "The purpose of the upload is unknown."),
        (plain().with_child(purpose("")), "The purpose of the upload is unknown."),
        (plain().with_child(purpose("Message")), "The purpose of the upload is unknown."),
        (
            plain().with_child(purpose("message")).with_child(purpose("message")),
            "An upload can have only one purpose.",
        ),
        (
            plain().with_child(purpose("profile")).with_child(purpose("x")),
            "An upload can have only one purpose.",
        ),
    ] {
        assert_eq!(read(element), Err(format!("modify bad-request: text:{what}")));
    }
}

#[test]
fn the_date_of_an_ephemeral_file_is_a_date_of_xep_0082() {
    let read = |until: &str| {
        let element = plain().with_child(purpose("ephemeral").with("expire-before", until));
        read_request(element).map(|request| request.expire_before.map(|time| time.to_string()))
    };
    for (text, time) in [
        (NOW, "2026-11-26T12:00:00.000Z"),
        ("2026-11-26T12:00:00.5Z", "2026-11-26T12:00:00.500Z"),
        ("2026-11-26T12:00:00.123456789Z", "2026-11-26T12:00:00.123Z"),
        ("2026-11-26T13:30:00+01:30", "2026-11-26T12:00:00.000Z"),
        ("2026-11-26T00:00:00-12:00", "2026-11-26T12:00:00.000Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(read(text), Ok(Some(time.to_owned())), "{text}");
    }
    for text in [
        "",
        "tomorrow",
        "2026-11-26",
        "12:00:00Z",
        "2026-11-26T12:00:00",
        "2026-13-26T12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-11-26T25:00:00Z",
        "+12026-11-26T12:00:00Z",
        "-0001-11-26T12:00:00Z",
        "99999-11-26T12:00:00Z",
        "1795694400",
        " 2026-11-26T12:00:00Z",
        "2026-11-26T12:00:00ZZ",
        "20261126T12:00:00",
    ] {
        let refused = "modify bad-request: text:expire-before must be a date such as 2026-01-31T12:00:00Z.";
        assert_eq!(read(text), Err(refused.to_owned()), "{text:?}");
    }
    let elsewhere = plain().with_child(purpose("message").with("expire-before", "tomorrow"));
    assert_eq!(read_request(elsewhere).unwrap().expire_before, None, "only ephemeral files have one");
}

#[test]
fn an_iq_holds_one_request_and_is_of_type_get() {
    let twice = iq(plain()).with_child(plain());
    let beside = iq(Element::new("ping", ns::PING)).with_child(plain());
    for iq in [&twice, &beside] {
        assert!(is_request(iq));
        let text = shown(read(iq, alice()).unwrap_err());
        assert_eq!(text, "modify bad-request: text:An IQ must hold exactly one request.");
    }
    let set = iq(plain()).with("type", "set");
    let text = shown(read(&set, alice()).unwrap_err());
    assert_eq!(text, "modify bad-request: text:A request for a slot must be an IQ of type get.");
    for other in ["urn:xmpp:http:upload", "urn:xmpp:http:upload:1", "jabber:client", ""] {
        assert!(!is_request(&iq(Element::new("request", other))), "{other}");
    }
}

#[test]
fn a_slot_is_written() {
    let written = slot(&Slot {
        put_url: "https://u.example/upload/x/a.jpg?slot=t&more='".to_owned(),
        get_url: "https://u.example/upload/x/a.jpg".to_owned(),
    });
    assert_eq!(
        written.to_xml(ns::CLIENT),
        "<slot xmlns='urn:xmpp:http:upload:0'>\
         <put url='https://u.example/upload/x/a.jpg?slot=t&amp;more=&apos;'/>\
         <get url='https://u.example/upload/x/a.jpg'/></slot>"
    );
}

#[test]
fn refusals_have_the_conditions_of_the_xep() {
    let text = || "Sorry.".to_owned();
    let retry = Some(Timestamp::from_micros(1_390_500_000_123_999));
    for (given, expected) in [
        (
            SlotRefusal::TooLarge { max: 20_017, text: text() },
            "<error type='modify'><not-acceptable xmlns='S'/>TEXT<file-too-large xmlns='U'>\
             <max-file-size>20017</max-file-size></file-too-large></error>",
        ),
        (
            SlotRefusal::NoRoom { text: text(), retry },
            "<error type='wait'><resource-constraint xmlns='S'/>TEXT\
             <retry xmlns='U' stamp='2014-01-23T18:00:00.123Z'/></error>",
        ),
        (
            SlotRefusal::NoRoom { text: text(), retry: None },
            "<error type='wait'><resource-constraint xmlns='S'/>TEXT</error>",
        ),
        (SlotRefusal::Forbidden { text: text() }, "<error type='auth'><forbidden xmlns='S'/>TEXT</error>"),
        (
            SlotRefusal::BadRequest { text: text() },
            "<error type='modify'><bad-request xmlns='S'/>TEXT</error>",
        ),
        (
            SlotRefusal::Failed { text: text() },
            "<error type='wait'><internal-server-error xmlns='S'/>TEXT</error>",
        ),
    ] {
        let expected = expected
            .replace("TEXT", "<text xmlns='S' xml:lang='en'>Sorry.</text>")
            .replace("'S'", "'urn:ietf:params:xml:ns:xmpp-stanzas'")
            .replace("'U'", "'urn:xmpp:http:upload:0'");
        assert_eq!(refusal(given).into_element().to_xml(ns::CLIENT), expected);
    }
}
