//! XMPP streams: the first byte says how the rest is split and what kind of stream it is. The events do not depend on the
//! split, stanzas are within their limits, a written stanza is read back, and the parser without the scanner finds the
//! same stanzas but for those beyond the limits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::limits;
use media_server::xmpp::stream::{StreamEvent, StreamParser};
use media_server::xmpp::{Element, ns};
use xml::reader::{EventReader, ParserConfig, XmlEvent};

/// What inputs begin behind, unless they bring a header of their own.
const HEADER: &[u8] =
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='i'>";

fuzz_target!(|input: &[u8]| {
    let Some((&seed, bytes)) = input.split_first() else { return };
    let content = if seed & 1 == 0 { ns::CLIENT } else { ns::COMPONENT };
    let bytes = if seed & 2 == 0 { [HEADER, bytes].concat() } else { bytes.to_vec() };
    let whole = events(content, &[&bytes]);
    let by_one: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(events(content, &by_one), whole);
    let cut = bytes.len() * usize::from(seed >> 2) / 64;
    let (head, tail) = bytes.split_at(cut);
    assert_eq!(events(content, &[head, tail]), whole);
    for event in &whole.0 {
        if let StreamEvent::Stanza(stanza) = event {
            let mut elements = 0;
            check(stanza, 1, &mut elements);
            assert!(elements <= limits::STANZA_ELEMENTS);
            assert_eq!(reread(stanza).as_ref(), Some(stanza));
        }
    }
    compare(content, &bytes, &whole);
});

/// Each stanza that the plain parser finds and that is far from the limits must have come out, and none that it does not
/// find; but where something beyond the limits was dropped unparsed, its faults were not seen.
fn compare(content: &str, bytes: &[u8], found: &(Vec<StreamEvent>, Option<String>)) {
    let (plain, broken) = plain(content, bytes);
    let mut rest = found.0.iter().filter_map(|event| match event {
        StreamEvent::Stanza(stanza) => Some(stanza),
        _ => None,
    });
    let mut next = rest.next();
    let mut dropped = false;
    for (stanza, modest) in &plain {
        // What the stream calls failed is no stanza to it.
        if stanza.is("error", ns::STREAM) {
            continue;
        }
        if next == Some(stanza) {
            next = rest.next();
        } else if found.1.is_none() || next.is_some() {
            assert!(!modest, "{stanza:?} was dropped");
            dropped = true;
        }
    }
    assert!(next.is_none() || dropped || broken, "{next:?} is no stanza");
}

/// The stanzas of a stream until it ends or breaks, whether each is far from all limits, and whether it breaks.
fn plain(content: &str, bytes: &[u8]) -> (Vec<(Element, bool)>, bool) {
    let config = ParserConfig::new().override_encoding(Some(xml::Encoding::Utf8)).ignore_comments(false);
    let (mut open, mut stanzas) = (Vec::<Element>::new(), Vec::new());
    let (mut rooted, mut deepest, mut attributes_max) = (false, 0, 0);
    for event in EventReader::new_with_config(bytes, config.whitespace_to_characters(true)) {
        match event {
            Ok(XmlEvent::StartElement { .. }) if !rooted => rooted = true,
            Ok(XmlEvent::StartElement { name, attributes, namespace }) => {
                let own = name.namespace.unwrap_or_default();
                let own = if own == content { ns::CLIENT } else { &own };
                let mut element = Element::new(&name.local_name, own);
                attributes_max = attributes_max.max(attributes.len() + namespace.0.len());
                for attribute in attributes.into_iter().filter(|attribute| attribute.name.prefix.is_none()) {
                    element.set(&attribute.name.local_name, attribute.value);
                }
                open.push(element);
                deepest = deepest.max(open.len());
            }
            Ok(XmlEvent::EndElement { .. }) => match (open.pop(), open.last_mut()) {
                (Some(element), Some(parent)) => parent.push(element),
                (Some(element), None) => {
                    let small = bytes.len() < limits::XML_NAME_BYTES
                        || element.to_xml("").len() < limits::XML_NAME_BYTES;
                    let modest = deepest <= limits::STANZA_DEPTH
                        && attributes_max < limits::ELEMENT_ATTRIBUTES
                        && small;
                    stanzas.push((element, modest));
                    (deepest, attributes_max) = (0, 0);
                }
                (None, _) => return (stanzas, false),
            },
            Ok(XmlEvent::Characters(text) | XmlEvent::CData(text) | XmlEvent::Whitespace(text)) => {
                if let Some(element) = open.last_mut() {
                    element.push_text(&text);
                }
            }
            Ok(XmlEvent::StartDocument { .. }) => {}
            Ok(_) | Err(_) => return (stanzas, true),
        }
    }
    (stanzas, true)
}

/// All events, and whether an error ended them.
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

fn check(element: &Element, depth: usize, elements: &mut usize) {
    assert!(depth <= limits::STANZA_DEPTH);
    *elements += 1;
    assert!(element.name().len() <= limits::XML_NAME_BYTES);
    element.children().for_each(|child| check(child, depth + 1, elements));
}

fn reread(stanza: &Element) -> Option<Element> {
    let xml = stanza.to_xml(ns::CLIENT);
    match events(ns::CLIENT, &[HEADER, xml.as_bytes()]) {
        (events, None) => events.into_iter().find_map(|event| match event {
            StreamEvent::Stanza(stanza) => Some(stanza),
            _ => None,
        }),
        // Written out, it may be larger than what was read.
        (_, Some(_)) if xml.len() > limits::STANZA_BYTES / 2 => Some(stanza.clone()),
        (_, Some(error)) => panic!("{error}: {xml}"),
    }
}
