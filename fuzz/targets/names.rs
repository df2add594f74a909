//! Names that clients choose: file names, media types, paths, queries, origins. Whatever they are, what is written
//! into answers stays one value of one field.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::http::{cors::Cors, disposition, form, target};
use media_server::{limits, media_type};

fuzz_target!(|bytes: &[u8]| {
    assert!(media_type::tag_end(bytes).is_none_or(|end| (10..1 << 29).contains(&end)));
    if let Some(known) = media_type::sniff(bytes) {
        assert_eq!(media_type::parse(known.mime_type).as_deref(), Ok(known.mime_type));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    check_file_name(text);
    check_mime_type(text);
    check_path(text);
    check_origin(text);
});

fn check_file_name(text: &str) {
    let name = form::file_name(text);
    if let Some(name) = &name {
        assert!(!name.is_empty() && name.len() <= limits::FILE_NAME_BYTES, "{name:?}");
        assert!(!name.contains(|c: char| c.is_control() || c == '/' || c == '\\'), "{name:?}");
        assert!(!matches!(name.as_str(), "." | ".."));
        assert_eq!(form::file_name(name).as_ref(), Some(name), "{text:?}");
    }
    let value = disposition::content_disposition("image/png", Some(text));
    assert!(is_plain(&value) && !value.contains('\\'), "{value:?}");
    let Some(name) = name else { return assert_eq!(value, "inline") };
    let parameters = value.strip_prefix("inline; filename=\"").expect("a name");
    let (plain, rest) = parameters.split_once('"').expect("quotes");
    match rest.strip_prefix("; filename*=UTF-8''") {
        Some(extended) => {
            let token = |byte| b"!#$&+-.^_`|~%".contains(&byte) || byte.is_ascii_alphanumeric();
            assert!(extended.bytes().all(token), "{extended:?}");
            assert_eq!(target::segments(extended), Ok(vec![name]));
        }
        None => assert_eq!((plain, rest), (name.as_str(), "")),
    }
}

fn check_mime_type(text: &str) {
    let shown = media_type::is_inline_safe(text);
    let essence = media_type::essence(text);
    assert!(!shown || !essence.contains("html") && !essence.contains("svg"));
    let Ok(mime_type) = media_type::parse(text) else {
        assert!(media_type::says_nothing(text));
        return;
    };
    for (first, whole) in [("é".as_bytes(), true), (b"\xC3", false), (b"\xE9", true), (b"\0", true)] {
        let known = media_type::with_charset(&mime_type, first, whole);
        assert_eq!(media_type::essence(&known), media_type::essence(&mime_type));
        assert!(
            is_plain(&known) && media_type::parse(&known).is_ok() || known.len() > limits::MIME_TYPE_BYTES
        );
        // Said once.
        assert_eq!(media_type::with_charset(&known, first, whole), known);
    }
    assert!(is_plain(&mime_type) && mime_type.len() <= limits::MIME_TYPE_BYTES);
    assert_eq!(media_type::parse(&mime_type).as_ref(), Ok(&mime_type));
    if let Some(extension) = media_type::extension_for(&mime_type) {
        assert!(media_type::type_for(extension).is_some());
    }
    let value = disposition::content_disposition(&mime_type, None);
    assert_eq!(value, if shown { "inline" } else { "attachment" });
    for (_, value) in disposition::safety_headers(&mime_type) {
        assert!(is_plain(value));
    }
}

fn check_path(text: &str) {
    if let Ok(segments) = target::segments(text) {
        let path: String = segments.iter().map(|segment| format!("/{}", target::segment(segment))).collect();
        assert_eq!(target::segments(&path), Ok(segments), "{text:?} as {path:?}");
    }
    let segment = target::segment(text);
    assert!(
        !segment.contains(['/', '?', '#', '"', '<', '>'])
            && segment.bytes().all(|byte| byte.is_ascii_graphic())
    );
    assert_eq!(target::segments(&segment), Ok(vec![text.to_owned()]));
    for name in ["auth", "max", "", "é"] {
        let value = target::parameter(Some(text), name);
        assert!(value.is_none_or(|value| value.len() <= 3 * text.len()));
    }
}

fn check_origin(text: &str) {
    let listed = ["https://a.example".to_owned(), "null".to_owned()];
    for cors in [Cors::new(vec![]), Cors::new(vec!["*".to_owned()]), Cors::new(listed.to_vec())] {
        for headers in [cors.preflight(Some(text)), cors.answer(Some(text))] {
            let value = |wanted| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| &**value);
            let allowed = value("Access-Control-Allow-Origin");
            let credentials = value("Access-Control-Allow-Credentials");
            assert!(allowed.is_none_or(|allowed| allowed == "*" || allowed == text));
            assert_eq!(
                credentials.is_some(),
                allowed.is_some_and(|allowed| allowed != "*" && allowed != "null")
            );
            if matches!(cors, Cors::Listed(_)) {
                assert_eq!(allowed.is_some(), text.eq_ignore_ascii_case("https://a.example"));
            }
        }
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}
