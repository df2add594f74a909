//! Requests on one connection: heads and bodies. How the bytes are split into reads makes no difference, and what we
//! take for a request is one by the letter of RFC 9112 as this file reads it, too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::http::BodyLength;
use media_server::http::chunked::Decoder;
use media_server::http::head::Head;
use media_server::http::scan::Scan;
use media_server::http::version::Version;

fuzz_target!(|input: &[u8]| {
    let Some((&seed, bytes)) = input.split_first() else { return };
    let whole = read(bytes, &mut |_| usize::MAX);
    assert_eq!(read(bytes, &mut |_| 1), whole);
    let mut state = u32::from(seed) | 1;
    let random = read(bytes, &mut |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as usize % 23 + 1
    });
    assert_eq!(random, whole);
});

/// What a connection's bytes are taken for when they come in pieces of these sizes: requests, and how it ends.
fn read(mut bytes: &[u8], size: &mut dyn FnMut(usize) -> usize) -> Vec<String> {
    let (mut story, mut input) = (Vec::new(), Vec::new());
    let mut more = |input: &mut Vec<u8>| {
        let (piece, rest) = bytes.split_at(bytes.len().min(size(bytes.len())));
        input.extend_from_slice(piece);
        bytes = rest;
        !piece.is_empty()
    };
    loop {
        let mut scan = Scan::default();
        let end = loop {
            match scan.advance(&input) {
                Ok(Some(end)) => break end,
                Ok(None) if more(&mut input) => {}
                Ok(None) => return story,
                Err(refusal) => {
                    story.push(format!("no head: {refusal:?}"));
                    return story;
                }
            }
        };
        let head: Vec<u8> = input.drain(..end).collect();
        let parsed = match Head::parse(head.clone()) {
            Ok(parsed) => parsed,
            Err(refusal) => {
                story.push(format!("no head: {refusal:?}"));
                return story;
            }
        };
        check(&head, &parsed);
        story.push(format!("{parsed:?} {:?} {:?}", parsed.query(), parsed.host()));
        let (mut decoder, mut body, mut output) = (Decoder::new(parsed.length()), Vec::new(), [0; 16]);
        while !decoder.is_done() {
            match decoder.decode(&input, &mut output) {
                Ok(step) => {
                    input.drain(..step.consumed);
                    body.extend_from_slice(&output[..step.produced]);
                    if step.consumed == 0 && !more(&mut input) {
                        story.push(format!("cut: {body:?}"));
                        return story;
                    }
                }
                Err(refusal) => {
                    story.push(format!("no body: {refusal:?}"));
                    return story;
                }
            }
        }
        if let BodyLength::Sized(length) = parsed.length() {
            assert_eq!(body.len() as u64, length);
        }
        story.push(format!("{body:?}"));
    }
}

/// Reads a head a second time, in the plainest way there is.
fn check(bytes: &[u8], head: &Head) {
    let lines: Vec<&[u8]> = lines(bytes);
    let (request, fields) = lines.split_first().expect("a request line");
    let words: Vec<&[u8]> = request.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { panic!("{} words", words.len()) };
    assert!(is_token(method));
    assert!(target.iter().all(u8::is_ascii_graphic) && !target.contains(&b'#'));
    assert_eq!(version, if head.version() == Version::Http11 { b"HTTP/1.1" } else { b"HTTP/1.0" });
    assert!(head.path() == "*" || head.path().starts_with('/'));
    let fields: Vec<(Vec<u8>, &[u8])> = fields.iter().map(|line| field(line)).collect();
    let all = |name: &[u8]| -> Vec<&[u8]> {
        fields.iter().filter(|(known, _)| known == name).map(|(_, value)| *value).collect()
    };
    match (&all(b"content-length")[..], &all(b"transfer-encoding")[..]) {
        ([], []) => assert_eq!(head.length(), BodyLength::None),
        ([length], []) => {
            assert!(length.iter().all(u8::is_ascii_digit));
            let length = std::str::from_utf8(length).expect("digits").parse().expect("a number");
            assert_eq!(head.length(), BodyLength::Sized(length));
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && head.version() == Version::Http11);
            assert_eq!(head.length(), BodyLength::Chunked);
        }
        other => panic!("{other:?}"),
    }
    let hosts = all(b"host");
    assert!(hosts.len() == 1 || hosts.is_empty() && head.version() == Version::Http10);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
    assert!(hosts.iter().all(|host| !host.is_empty() && host.iter().all(plain)));
    assert!(head.host().is_none_or(|host| !host.is_empty() && host.bytes().all(|byte| plain(&byte))));
    for name in ["authorization", "origin", "x"] {
        let first = all(name.as_bytes()).into_iter().find_map(|value| std::str::from_utf8(value).ok());
        assert_eq!(head.field(name), first);
    }
}

/// The lines of a head without the empty ones around them; every line ends with CRLF and holds neither.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    let text = bytes.strip_suffix(b"\r\n\r\n").expect("an empty line");
    let mut lines = vec![];
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    let lines: Vec<&[u8]> = lines.into_iter().skip_while(|line| line.is_empty()).collect();
    let clean = |line: &&[u8]| !line.is_empty() && !line.iter().any(|byte| b"\r\n\0".contains(byte));
    assert!(lines.iter().all(clean));
    lines
}

fn field(line: &[u8]) -> (Vec<u8>, &[u8]) {
    let at = line.iter().position(|byte| *byte == b':').expect("a colon");
    assert!(is_token(&line[..at]));
    let value = &line[at + 1..];
    assert!(value.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f));
    let framing = [&b"content-length"[..], b"transfer-encoding", b"host"];
    assert!(!value.contains(&b'\t') || !framing.iter().any(|name| line[..at].eq_ignore_ascii_case(name)));
    (line[..at].to_ascii_lowercase(), value.trim_ascii())
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
