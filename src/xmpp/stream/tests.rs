use super::*;

const OPEN: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='i' \
                    from='é.example' version='1.0'>";

const ROUNDS: usize = 2000;

/// All events of `parts`, fed one after the other; an error ends them.
fn events(content: &'static str, parts: &[&[u8]]) -> (Vec<StreamEvent>, Option<String>) {
    let (mut stream, mut events) = (StreamParser::new(content), Vec::new());
    for part in parts {
        stream.feed(part);
        loop {
            match stream.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error.to_string())),
            }
        }
    }
    (events, None)
}

fn stanzas(xml: &str) -> std::result::Result<Vec<Element>, String> {
    let (events, error) = events(ns::CLIENT, &[OPEN.as_bytes(), xml.as_bytes()]);
    let stanza = |event| if let StreamEvent::Stanza(stanza) = event { Some(stanza) } else { None };
    error.map_or(Ok(events.into_iter().filter_map(stanza).collect()), Err)
}

fn refused(xml: &str) -> String {
    let error = stanzas(xml).expect_err("refused");
    assert!(error.len() < 400, "{error}");
    error
}

#[test]
fn a_stream_is_a_header_stanzas_and_an_end() {
    let xml = format!(
        "<?xml version='1.0'?>\n{OPEN}<message to='a'>x<b xmlns='n'/>y</message> <iq/></stream:stream>"
    );
    let (events, error) = events(ns::CLIENT, &[xml.as_bytes()]);
    assert_eq!(error, None);
    let some = |text: &str| Some(text.to_owned());
    let header = StreamHeader { id: some("i"), from: some("é.example"), version: some("1.0") };
    let message = Element::new("message", ns::CLIENT)
        .with("to", "a")
        .with_text("xy")
        .with_child(Element::new("b", "n"));
    let iq = Element::new("iq", ns::CLIENT);
    let expected = [
        StreamEvent::Opened(header),
        StreamEvent::Stanza(message),
        StreamEvent::Stanza(iq),
        StreamEvent::Closed,
    ];
    assert_eq!(events, expected);
}

#[test]
fn splitting_the_bytes_does_not_change_the_events() {
    let xml = format!(
        "<?xml version='1.0' encoding='utf-8'?>{OPEN}\r\n <message id='é&#x1F600;\"' xml:lang='de' xmlns:p='n' p:a='b'>\
         <body>日本 &lt;😀&gt; <![CDATA[<é>]]>]]</body></message> \n<p:iq xmlns:p='jabber:client'/>\
         <stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
    );
    let whole = events(ns::CLIENT, &[xml.as_bytes()]);
    assert_eq!((whole.0.len(), &whole.1), (5, &None));
    for at in 1..xml.len() {
        let (head, tail) = xml.as_bytes().split_at(at);
        assert_eq!(events(ns::CLIENT, &[head, tail]), whole, "split at {at}");
    }
    let bytes: Vec<&[u8]> = xml.as_bytes().chunks(1).collect();
    assert_eq!(events(ns::CLIENT, &bytes), whole);
}

#[test]
fn splitting_the_bytes_does_not_change_an_error() {
    for tail in ["<a>\u{ffff}</a>", "<a><!-- é --></a>", "<a>é&undefined;</a>", "é<a/>"] {
        let xml = format!("{OPEN}<ok/>{tail}");
        let whole = events(ns::CLIENT, &[xml.as_bytes()]);
        assert!(whole.1.is_some() && whole.0.len() == 2, "{tail}: {whole:?}");
        for at in 1..xml.len() {
            let (head, tail) = xml.as_bytes().split_at(at);
            assert_eq!(events(ns::CLIENT, &[head, tail]), whole, "split at {at}");
        }
    }
}

#[test]
fn invalid_local_names_are_refused() {
    for name in ["1q", "-a", ".a", "\u{b7}a"] {
        let error = refused(&format!("<p:{name} xmlns:p='n'/>"));
        assert!(error.contains("invalid name"), "{name}: {error}");
    }
}

#[test]
fn only_attributes_without_namespace_are_kept() {
    let stanza = &stanzas("<iq xml:lang='de' xmlns:x='n' x:id='1' id='2'/>").unwrap()[0];
    assert_eq!(stanza, &Element::new("iq", ns::CLIENT).with("id", "2"));
}

#[test]
fn a_component_stream_is_translated() {
    let open = OPEN.replace(ns::CLIENT, ns::COMPONENT);
    let stanza = "<message><body/><m xmlns='jabber:client'/><x xmlns='n'/></message>";
    let (events, _) = events(ns::COMPONENT, &[open.as_bytes(), stanza.as_bytes()]);
    let child = |name, namespace| Element::new(name, namespace);
    let expected = child("message", ns::CLIENT)
        .with_child(child("body", ns::CLIENT))
        .with_child(child("m", ns::CLIENT))
        .with_child(child("x", "n"));
    assert_eq!(events[1], StreamEvent::Stanza(expected));
}

#[test]
fn a_stream_error_is_an_event_of_its_own() {
    let xml = format!(
        "{OPEN}<stream:error><text xmlns='{0}'>{1}</text><conflict xmlns='{0}'/></stream:error>",
        ns::STREAMS,
        "é".repeat(500)
    );
    let (events, _) = events(ns::CLIENT, &[xml.as_bytes()]);
    let StreamEvent::Failed(error) = &events[1] else { panic!("{events:?}") };
    assert_eq!((error.condition.as_str(), error.text.len()), ("conflict", limits::PEER_TEXT_BYTES));
}

#[test]
fn xml_that_rfc_6120_forbids_is_refused() {
    for xml in [
        "<!-- x -->",
        "<?php x?>",
        "<a><?php x?></a>",
        "<a><!-- x --></a>",
        "<!DOCTYPE a>",
        "<a>&foo;</a>",
        "<a>&#0;</a>",
        "<a>\u{1}</a>",
        "<a b='1' b='2'/>",
        "<a></b>",
        "<x:a/>",
        "text<a/>",
        "&lt;<a/>",
        "<a b='<'/>",
        "<a b=c/>",
        "<![CDATA[x]]><a/>",
        "<?xml version='1.0'?>",
        "</stream:stream><a/>",
    ] {
        refused(xml);
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused() {
    for bytes in [&b"<a>\xff</a>"[..], b"<a>\xc3(</a>", b"<a>\xed\xa0\x80</a>", b"<a>\xc0\x80</a>"] {
        let (_, error) = events(ns::CLIENT, &[OPEN.as_bytes(), bytes]);
        assert!(error.is_some_and(|error| error.contains("not UTF-8")), "{bytes:?}");
    }
}

#[test]
fn other_documents_are_refused() {
    let foreign = OPEN.replace("etherx", "other");
    let newer = format!("<?xml version='1.1'?>{OPEN}");
    let latin = format!("<?xml version='1.0' encoding='iso-8859-1'?>{OPEN}");
    for open in ["<html>", "<stream>", "HTTP/1.1 400 Bad Request\r\n", &foreign, &newer, &latin] {
        let (events, error) = events(ns::CLIENT, &[open.as_bytes()]);
        assert!(events.is_empty() && error.is_some(), "{open}");
    }
}

#[test]
fn xml_bombs_are_refused() {
    let entities: String =
        (1..10).map(|i| format!("<!ENTITY e{i} '{}'>", format!("&e{};", i - 1).repeat(10))).collect();
    let laughs = format!("<!DOCTYPE a [<!ENTITY e0 'ha'>{entities}]>");
    let quadratic = format!("<!DOCTYPE a [<!ENTITY e '{}'>]>", "x".repeat(3000));
    let parameters = format!("<!DOCTYPE a [<!ENTITY % p '{}'>{}]>", " ".repeat(2000), "%p;".repeat(500));
    for (prolog, content) in [(&laughs, "&e9;"), (&quadratic, &"&e;".repeat(10_000)), (&parameters, "")] {
        let xml = format!("{prolog}{OPEN}<a>{content}</a>");
        let (events, error) = events(ns::CLIENT, &[xml.as_bytes()]);
        assert!(events.is_empty() && error.is_some());
    }
}

#[test]
fn a_long_prolog_is_refused() {
    let (events, error) = events(ns::CLIENT, &[&[b' '; limits::STREAM_HEADER_BYTES], OPEN.as_bytes()]);
    assert!(events.is_empty() && error.is_some_and(|error| error.contains("too large")));
}

/// Asserts that this stanza is not seen, and those around it are.
#[track_caller]
fn assert_dropped(xml: &str) {
    let seen = stanzas(&format!("<a/>{xml}<b/>{xml}<c/>"))
        .map(|all| all.iter().map(|stanza| stanza.name().to_owned()).collect::<Vec<_>>());
    assert_eq!(seen, Ok(["a", "b", "c"].map(str::to_owned).to_vec()));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert_eq!(stanzas(&nested(limits::STANZA_DEPTH)).map(|all| all.len()), Ok(1));
    assert_dropped(&nested(limits::STANZA_DEPTH + 1));
    assert_dropped(&nested(limits::STANZA_BYTES / 7));
}

#[test]
fn elements_attributes_and_names_are_bounded() {
    let children = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count));
    assert!(stanzas(&children(limits::STANZA_ELEMENTS - 1).repeat(2)).is_ok());
    assert_dropped(&children(limits::STANZA_ELEMENTS));
    let attributes = |count| (0..count).map(|i| format!(" a{i}=''")).collect::<String>();
    assert!(stanzas(&format!("<a{}/>", attributes(limits::ELEMENT_ATTRIBUTES))).is_ok());
    assert_dropped(&format!("<a{}/>", attributes(limits::ELEMENT_ATTRIBUTES + 1)));
    assert_dropped(&format!("<{}/>", "a".repeat(limits::XML_NAME_BYTES + 1)));
    assert_dropped(&format!("<a {}='' b=''>text<c/></a>", "a".repeat(limits::XML_NAME_BYTES + 1)));
    let prefixes: String = (0..30_000).map(|i| format!(" xmlns:p{i}='n'")).collect();
    assert_dropped(&format!("<a{prefixes}>{}</a>", "<b/>".repeat(10_000)));
}

/// A long namespace is copied to every element in its scope.
#[test]
fn copies_of_namespaces_are_bounded() {
    let long = "n".repeat(20_000);
    let children = |count| format!("<a xmlns='{long}'>{}</a>", "<b/>".repeat(count));
    assert_eq!(stanzas(&children(100)).map(|all| all.len()), Ok(1));
    assert_dropped(&children(1000));
    assert_dropped(&format!("<x:a xmlns:x=\"{long}\">{}</x:a>", "<b/>".repeat(1000)));
    let attributes: String = (0..60).map(|i| format!(" x:a{i}=''")).collect();
    assert_dropped(&format!("<a xmlns:x='{long}'>{}</a>", format!("<b{attributes}/>").repeat(20)));
    let each = format!("<a><b xmlns='{long}'/>{}</a>", "<c/>".repeat(1000));
    assert!(stanzas(&each).is_ok_and(|all| all.len() == 1), "what is out of scope is not copied");
}

#[test]
fn a_stanza_of_the_largest_size_passes_and_a_larger_one_is_dropped() {
    let text = |bytes: usize| format!("<a>{}</a>", "x".repeat(bytes - "<a></a>".len()));
    let fits = text(limits::STANZA_BYTES);
    assert_eq!(stanzas(&format!("{fits} {fits}\n{fits}")).map(|all| all.len()), Ok(3));
    assert_dropped(&text(limits::STANZA_BYTES + 1));
    assert_dropped(&format!("<a b='{}'/>", "x".repeat(limits::STANZA_BYTES)));
    assert!(refused(&text(limits::STANZA_SKIP_BYTES + 1)).contains("too large"));
}

#[test]
fn a_dropped_stanza_is_not_buffered() {
    let mut stream = StreamParser::new(ns::CLIENT);
    stream.feed(format!("{OPEN}{}", "<a>".repeat(limits::STANZA_DEPTH + 1)).as_bytes());
    stream.next_event().unwrap();
    for _ in 0..100 {
        stream.feed(&[b'x'; 16 * 1024]);
        assert_eq!(stream.next_event().unwrap(), None);
        assert!(!stream.is_between() && stream.reader.source().held() < 20_000);
    }
}

/// Everything that only looks like a tag, in a stanza that the parser never sees; and the same where it does.
#[test]
fn the_end_of_a_stanza_is_found_however_it_is_split() {
    for deep in [limits::STANZA_DEPTH, 1] {
        let xml = format!(
            "{OPEN}<a/> <m a='\"/>' b = \"'/>\" ><é:x xmlns:é='n'\n/><![CDATA[</m>]] ><m>]]]>]]&gt;{}/{}</m\n>\t<b/>",
            "<d>".repeat(deep),
            "</d>".repeat(deep),
        );
        let whole = events(ns::CLIENT, &[xml.as_bytes()]);
        assert_eq!((whole.0.len(), &whole.1), (if deep == 1 { 4 } else { 3 }, &None));
        for at in 1..xml.len() {
            let (head, tail) = xml.as_bytes().split_at(at);
            assert_eq!(events(ns::CLIENT, &[head, tail]), whole, "split at {at}");
        }
    }
}

#[test]
fn parser_and_scanner_must_agree_where_a_stanza_ends() {
    // The parser looks for sections of CDATA within values, too.
    refused("<a b='<![CDATA[' c=\"]]>'/><b/>\"/>");
    for xml in ["<a b=c'>'/><b/>", "<a 'b>'/><b/>", "<a><b/></a/><c/>", "<a></a><b></c>", "<a/ ></a>"] {
        refused(xml);
    }
}

#[test]
fn white_space_between_stanzas_is_not_buffered() {
    let mut stream = StreamParser::new(ns::CLIENT);
    stream.feed(OPEN.as_bytes());
    stream.next_event().unwrap();
    for _ in 0..200 {
        stream.feed(&[b' '; 16 * 1024]);
        assert_eq!(stream.next_event().unwrap(), None);
    }
    stream.feed(b"<a/>");
    assert!(matches!(stream.next_event(), Ok(Some(StreamEvent::Stanza(_)))));
    assert!(stream.is_drained());
}

#[test]
fn bytes_after_an_event_are_noticed() {
    for (tail, drained) in [("", true), (" ", false), ("<b", false), ("\u{e9}", false)] {
        let mut stream = StreamParser::new(ns::CLIENT);
        stream.feed(format!("{OPEN}<a/>{tail}").as_bytes());
        stream.next_event().unwrap();
        stream.next_event().unwrap();
        assert_eq!(stream.is_drained(), drained, "{tail:?}");
    }
}

/// The elements below the root that the parser finds where nothing was scanned before, if it takes all of it.
fn parsed_whole(xml: &str) -> Option<Vec<String>> {
    let document = format!("{OPEN}{xml}</stream:stream>");
    let (mut depth, mut names) = (0, Vec::new());
    for event in EventReader::new(document.as_bytes()) {
        match event.ok()? {
            XmlEvent::StartElement { name, .. } => {
                depth += 1;
                names.extend((depth == 2).then_some(name.local_name));
            }
            XmlEvent::EndElement { .. } => depth -= 1,
            _ => {}
        }
    }
    Some(names)
}

/// If one stanza were read as several, a user could forge stanzas of others.
#[test]
fn the_scanner_finds_the_stanzas_that_the_parser_would() {
    const PARTS: &[&str] = &[
        "<a>",
        "</a>",
        "<b>",
        "</b>",
        "<c/>",
        "<c />",
        "<a b='",
        "<a b=\"",
        "'>",
        "\">",
        "'/>",
        "\"/>",
        "' c='",
        "/",
        ">",
        "'",
        "\"",
        "=",
        " ",
        "\n",
        "x",
        "\u{e9}",
        "<![CDATA[",
        "]]>",
        "]",
        "&lt;",
        "&#62;",
        "&#x3c;",
        "</a\n>",
        "<c\t>",
        "</c>",
        "xmlns='n'",
        "<p:c xmlns:p='/>'/>",
        "<c b = '>'/>",
        "<!--",
        "-->",
        "<?",
        "?>",
        "&gt;",
        "!",
        "<",
    ];
    let (mut random, mut taken, mut refused) = (crate::testing::Random::new(1), 0, 0);
    for _ in 0..10 * ROUNDS {
        let middle: String = (0..random.below(9)).map(|_| random.pick(PARTS)).collect();
        let xml = match random.below(3) {
            0 => middle,
            1 => format!("<a>{middle}</a>"),
            _ => format!("<a b='{middle}'/>"),
        };
        let names = |all: Vec<Element>| all.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>();
        match (stanzas(&xml).map(names), parsed_whole(&xml)) {
            (Ok(found), Some(expected)) => {
                assert_eq!(found, expected, "{xml}");
                taken += usize::from(!found.is_empty());
            }
            // Documents that do not end, or end wrongly.
            (Ok(_), None) | (Err(_), _) => refused += 1,
        }
    }
    assert!(taken > ROUNDS && refused > ROUNDS, "{taken} {refused}");
}

/// Streams that are broken at random, by a fixed seed: no panic, and splitting changes nothing.
#[test]
fn broken_streams_break_the_same_way_however_they_are_split() {
    let seed = format!(
        "<?xml version='1.0'?>{OPEN}<a b='&lt;é' xmlns:p='n'><![CDATA[]]><p:c/>]]&#65;<d>x</d></a> <!-- --><?p i?>\
         <stream:error><conflict xmlns='{}'/></stream:error><!DOCTYPE a [<!ENTITY e 'x'>]></stream:stream>",
        ns::STREAMS
    );
    let mut random = crate::testing::Random::new(1);
    for _ in 0..ROUNDS {
        let mut bytes = seed.clone().into_bytes();
        for _ in 0..=random.below(4) {
            let (at, length) = (random.below(bytes.len()), random.below(8));
            let end = (at + length).min(bytes.len());
            match random.below(3) {
                0 => drop(bytes.drain(at..end)),
                1 => bytes[at] = b"<>&;'\"=/!?-[] x\xc3\xff"[random.below(17)],
                _ => {
                    let copy = bytes[at..end].to_vec();
                    let to = random.below(bytes.len());
                    bytes.splice(to..to, copy);
                }
            }
        }
        let whole = events(ns::CLIENT, &[&bytes]);
        let parts: Vec<&[u8]> = bytes.chunks(1 + random.below(3)).collect();
        assert_eq!(events(ns::CLIENT, &parts), whole, "{}", String::from_utf8_lossy(&bytes));
    }
}
