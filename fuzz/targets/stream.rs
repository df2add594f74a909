//! XMPP streams: the first byte says how the rest is split and what kind of stream it is. How it is split makes no
//! difference, stanzas are within their limits, and what is written is read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::limits;
use media_server::xmpp::stream::{Event, Stream};
use media_server::xmpp::{Element, ns};

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
        if let Event::Stanza(stanza) = event {
            let mut elements = 0;
            check(stanza, 1, &mut elements);
            assert!(elements <= limits::STANZA_ELEMENTS);
            assert_eq!(reread(stanza).as_ref(), Some(stanza));
        }
    }
});

/// All events, and whether an error ended them.
fn events(content: &'static str, parts: &[&[u8]]) -> (Vec<Event>, Option<String>) {
    let (mut stream, mut events) = (Stream::new(content), Vec::new());
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
            Event::Stanza(stanza) => Some(stanza),
            _ => None,
        }),
        // Written out, it may be larger than what was read.
        (_, Some(_)) if xml.len() > limits::STANZA_BYTES / 2 => Some(stanza.clone()),
        (_, Some(error)) => panic!("{error}: {xml}"),
    }
}
