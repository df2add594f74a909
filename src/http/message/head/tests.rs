use super::*;

/// Reads a head whole, and checks that the result is the same when it arrives in two pieces.
fn read(input: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let whole = Head::read(input);
    for at in 0..input.len() {
        let mut scan = Scan::default();
        let found = match scan.advance(&input[..at]) {
            Ok(None) => scan.advance(input),
            early => early,
        };
        let pieces =
            found.and_then(|end| end.map(|end| Ok((Head::parse(input[..end].to_vec())?, end))).transpose());
        assert_eq!(format!("{pieces:?}"), format!("{whole:?}"), "split at {at}");
    }
    whole
}

fn head(text: &str) -> Head {
    let (head, length) = read(text.as_bytes()).unwrap().expect("complete");
    assert_eq!(length, text.len());
    head
}

fn refused(text: &[u8]) -> Refusal {
    match read(text) {
        Err(refusal) => refusal,
        Ok(found) => panic!("{:?} gave {found:?}", String::from_utf8_lossy(text)),
    }
}

#[test]
fn a_plain_request_is_understood() {
    let head =
        head("GET /a%20b?x=1&y=?2 HTTP/1.1\r\nHost: example.com:81\r\nX-Two:  b \t\r\nx-two: c\r\n\r\n");
    assert_eq!((head.method(), head.path(), head.query()), (Method::Get, "/a%20b", Some("x=1&y=?2")));
    assert_eq!((head.host(), head.version()), (Some("example.com:81"), Version::Http11));
    assert_eq!((head.field("X-TWO"), head.field("x-three")), (Some("b"), None));
    assert_eq!(head.fields("x-two").collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!((head.length(), head.keep_alive(), head.expects_continue()), (BodyLength::None, true, false));
}

#[test]
fn three_of_the_four_target_forms_are_accepted() {
    let of = |target: &str| head(&format!("OPTIONS {target} HTTP/1.1\r\nHost: field\r\n\r\n"));
    let parts = |target: &str| {
        let head = of(target);
        (head.host().map(str::to_owned), head.path().to_owned(), head.query().map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(parts("*"), (some("field"), "*".to_owned(), None));
    assert_eq!(parts("/?"), (some("field"), "/".to_owned(), some("")));
    assert_eq!(parts("http://h.example"), (some("h.example"), "/".to_owned(), None));
    assert_eq!(parts("HTTPS://h:8/p?q"), (some("h:8"), "/p".to_owned(), some("q")));
    assert_eq!(parts("http://[::1]:8?q"), (some("[::1]:8"), "/".to_owned(), some("q")));
    for target in
        ["example.com:80", "x", "http://", "http:///p", "http://u@h/", "ftp://h/", "/a#b", "*x", "/\u{e9}"]
    {
        let text = format!("OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(refused(text.as_bytes()), Refusal::MalformedRequest, "{target}");
    }
    assert_eq!(refused(b"GET * HTTP/1.1\r\nHost: h\r\n\r\n"), Refusal::MalformedRequest);
}

#[test]
fn malformed_heads_are_refused() {
    for text in [
        &b"GET / HTTP/1.1\nHost: h\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\n",
        b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x0bb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\tfolded\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n: nameless\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX(y): z\r\n\r\n",
        b"G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTQ/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/11\r\nHost: h\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ] {
        assert_eq!(refused(text), Refusal::MalformedRequest, "{:?}", String::from_utf8_lossy(text));
    }
}

#[test]
fn other_versions_are_named_as_such() {
    for text in ["PRI * HTTP/2.0\r\n\r\n", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", "GET / HTTP/0.9\r\n\r\n"] {
        assert_eq!(refused(text.as_bytes()), Refusal::VersionNotSupported, "{text}");
    }
}

#[test]
fn leading_empty_lines_are_skipped_and_a_partial_head_waits() {
    head("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(read(b"\r\n\r\n").unwrap().is_none());
    assert!(read(b"GET / HTTP/1.1\r\nHost: h\r\n\r").unwrap().is_none());
    assert_eq!(Head::read(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET ").unwrap().expect("complete").1, 27);
}

#[test]
fn long_request_lines_and_long_fields_are_refused() {
    let long = "a".repeat(limits::HEAD_BYTES);
    let line = format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(Head::read(line.as_bytes()).unwrap_err(), Refusal::UriTooLong);
    let field = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n");
    assert_eq!(Head::read(field.as_bytes()).unwrap_err(), Refusal::HeadTooLarge);
    let fields = |count| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert!(Head::read(fields(limits::HEAD_FIELDS - 1).as_bytes()).unwrap().is_some());
    assert_eq!(Head::read(fields(limits::HEAD_FIELDS).as_bytes()).unwrap_err(), Refusal::HeadTooLarge);
}

#[test]
fn values_that_are_not_utf_8_count_as_absent() {
    let (head, _) =
        read(b"GET / HTTP/1.1\r\nHost: h\r\nX: \xff\r\nY: \xc3\xa9\r\n\r\n").unwrap().expect("complete");
    assert_eq!((head.field("x"), head.field("y")), (None, Some("\u{e9}")));
}

#[test]
fn a_head_shows_no_secret() {
    let head = head("GET /p?auth=secret HTTP/1.1\r\nHost: h\r\nAuthorization: Basic secret\r\n\r\n");
    assert!(!format!("{head:?}").contains("secret"));
}

#[test]
fn any_bytes_are_parsed_without_a_panic() {
    let mut bytes = b"POST http://h/p?q HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n".to_vec();
    for at in 0..bytes.len() {
        for value in 0..=255 {
            let old = std::mem::replace(&mut bytes[at], value);
            let _ = Head::read(&bytes);
            let _ = Head::parse(bytes.clone());
            bytes[at] = old;
        }
    }
}
