use super::*;

#[test]
fn the_tables_are_well_formed() {
    let mut seen = std::collections::HashSet::new();
    for (mime_type, extensions) in SHOWN.iter().chain(SAVED) {
        assert_eq!(parse(mime_type).as_deref(), Ok(*mime_type));
        assert_eq!(*mime_type, mime_type.to_ascii_lowercase());
        assert!(seen.insert(mime_type), "{mime_type} twice");
        for extension in extensions.split(' ') {
            assert!(extension.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
            assert_eq!(type_for(extension).is_some(), !extension.is_empty(), "{extension}");
        }
    }
}

#[test]
fn types_have_their_usual_extension() {
    for (mime_type, extension) in [
        ("image/jpeg", "jpg"),
        ("IMAGE/PNG", "png"),
        ("image/gif", "gif"),
        ("image/bmp", "bmp"),
        ("image/svg+xml", "svg"),
        ("image/tiff", "tiff"),
        ("audio/x-wav", "wav"),
        ("audio/mpeg", "mp3"),
        ("video/x-msvideo", "avi"),
        ("video/avi", "avi"),
        ("video/mp4; codecs=\"avc1\"", "mp4"),
        ("video/mpeg", "mpeg"),
        ("video/x-ms-wmv", "wmv"),
        ("application/pdf", "pdf"),
        ("application/zip", "zip"),
        ("application/json", "json"),
        ("text/css", "css"),
        ("text/plain", "txt"),
        ("text/plain;charset=utf-8", "txt"),
        ("text/html", "html"),
    ] {
        assert_eq!(extension_for(mime_type), Some(extension), "{mime_type}");
    }
    for mime_type in ["application/octet-stream", "x/y", "", "image", "jpg"] {
        assert_eq!(extension_for(mime_type), None, "{mime_type}");
    }
}

#[test]
fn extensions_have_one_type() {
    for (extension, mime_type) in [
        ("jpg", "image/jpeg"),
        ("JPEG", "image/jpeg"),
        ("wav", "audio/x-wav"),
        ("avi", "video/x-msvideo"),
        ("mp3", "audio/mpeg"),
        ("m4a", "audio/mp4"),
        ("oga", "audio/ogg"),
        ("ogv", "video/ogg"),
        ("opus", "audio/opus"),
        ("mkv", "video/x-matroska"),
        ("svg", "image/svg+xml"),
        ("js", "text/javascript"),
        ("xml", "application/xml"),
    ] {
        assert_eq!(type_for(extension), Some(mime_type), "{extension}");
    }
    for extension in ["", " ", "bin", "jpg png", ".jpg", "é"] {
        assert_eq!(type_for(extension), None, "{extension:?}");
    }
}

#[test]
fn only_named_types_are_shown() {
    for mime_type in [
        "image/jpeg",
        "Image/PNG; x=y",
        "video/mp4",
        "audio/ogg",
        "text/plain; charset=utf-8",
        "application/pdf",
    ] {
        assert!(is_inline_safe(mime_type), "{mime_type}");
    }
    for mime_type in [
        "image/svg+xml",
        "text/html",
        "application/xhtml+xml",
        "text/xml",
        "application/xml",
        "text/javascript",
        "application/octet-stream",
        "image/x-unknown",
        "video/x-unknown",
        "text/html, image/png",
        "text/html;image/png",
        "image/png, text/html",
        "multipart/x-mixed-replace",
        "",
    ] {
        assert!(!is_inline_safe(mime_type), "{mime_type}");
    }
}

#[test]
fn types_that_say_nothing_are_known() {
    for text in [
        "application/octet-stream",
        "Application/Octet-Stream; x=y",
        "*/*",
        "image/*",
        "",
        "file",
        "binary/octet-stream",
    ] {
        assert!(says_nothing(text), "{text}");
    }
    for text in ["image/png", "text/plain; charset=x", "application/x-made-up"] {
        assert!(!says_nothing(text), "{text}");
    }
}

#[test]
fn texts_in_utf8_are_served_as_such() {
    for (mime_type, first, whole, expected) in [
        ("text/plain", "é".as_bytes(), true, "text/plain; charset=utf-8"),
        ("Text/CSV", b"a;b", true, "Text/CSV; charset=utf-8"),
        ("text/plain; format=flowed;", b"a", true, "text/plain; format=flowed; charset=utf-8"),
        ("text/plain", b"caf\xC3", false, "text/plain; charset=utf-8"),
        ("text/plain", b"", true, "text/plain; charset=utf-8"),
        ("text/plain", b"caf\xC3", true, "text/plain"),
        ("text/plain", b"caf\xE9 au lait", false, "text/plain"),
        ("text/plain", b"a\0b\0", true, "text/plain"),
        ("text/plain; Charset=iso-8859-1", b"a", true, "text/plain; Charset=iso-8859-1"),
        ("text/plain; charset", b"a", true, "text/plain; charset"),
        ("image/png", b"a", true, "image/png"),
        ("text/", b"a", true, "text/"),
    ] {
        assert_eq!(with_charset(mime_type, first, whole), expected, "{mime_type}");
    }
}

#[test]
fn only_valid_types_are_stored() {
    for text in ["image/png", "a/b", "text/plain; charset=utf-8", "x/y;a=\"b;c\"", "application/vnd.a+b; "] {
        assert_eq!(parse(text).as_deref(), Ok(text.trim()));
    }
    let long = format!("a/{}", "b".repeat(limits::MIME_TYPE_BYTES));
    for text in [
        "",
        "image",
        "/png",
        "image/",
        "image/png/x",
        "im age/png",
        "image/p\u{0}ng",
        "image/png\r\nA: b",
        "é/é",
        "image/png; x",
        "image/png; x=\"y",
        "image/png; é=x",
        "image/png; x=é",
        "a/b; x=\t1",
        "image/png, a/b",
        &long,
    ] {
        assert_eq!(parse(text), Err(Refusal::BadMimeType), "{text:?}");
    }
}

#[test]
fn pictures_and_films_may_have_previews() {
    for (mime_type, expected) in [
        ("image/jpeg", true),
        ("Image/HEIC; a=b", true),
        ("video/mp4", true),
        ("image/svg+xml", false),
        ("image/jxl", false),
        ("audio/mpeg", false),
        ("application/pdf", false),
        ("any text", false),
        ("", false),
    ] {
        assert_eq!(may_have_preview(mime_type), expected, "{mime_type}");
    }
}
