use std::io::{self, Read};

use super::super::tests::{Reading, TEXT_LIMITS, read_every_way, read_pieces};
use super::super::{Failure, read};
use super::*;

const TYPE: &str = "multipart/form-data; boundary=B";
const DATA: &str = "--B\r\nContent-Disposition: form-data; name=data\r\n\r\n";

fn parse(body: impl AsRef<[u8]>) -> Reading {
    read_every_way(TYPE, body.as_ref())
}

fn data(body: impl AsRef<[u8]>) -> Result<String, Refusal> {
    parse(body).map(|(_, data)| data.escape_ascii().to_string())
}

fn field(name: &str, value: &str) -> String {
    format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

#[test]
fn a_browsers_form_is_read() {
    let boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW";
    let body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nGrüße\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a ; \\\"b\\\".jpg\"\r\n\
         Content-Type: image/jpeg\r\n\r\n\0\r\n--\r\n\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"Content-Type\"\r\n\r\n\r\n\
         --{boundary}--\r\n"
    );
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let (form, data) = read_every_way(&content_type, body.as_bytes()).unwrap();
    assert_eq!(data, b"\0\r\n--\r\n");
    assert_eq!(form.text("title"), Some("Grüße"));
    assert_eq!(form.text("content-type"), Some(""));
    let part = form.data().unwrap();
    assert_eq!(part.file_name.as_deref(), Some("a ; \"b\".jpg"));
    assert_eq!(part.content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(part.bytes, 7);
}

#[test]
fn text_like_a_delimiter_is_data() {
    for content in [
        "",
        "\r",
        "\n",
        "\r\n",
        "\r\n\r\n",
        "--B",
        "x--B--",
        "\n--B--\r\n",
        "\r--B--\r\n",
        "\r\n-B",
        "\r\n--b--",
        "\r\n--A",
        "\r\n--BB\r\n",
        "\r\n--B-",
        "\r\n--B-\r\n",
        "\r\n--B- -",
        "\r\n--Bx--",
        "\r\n--B--x\r\n",
        "\r\n--B -- \r\n",
        "\r\n--B \rx",
        "\r\n--B\n",
        "\r\n--B--\n",
        "\r\n--\r\n--",
        "\r\r\n--\r\n--BX\r\n-",
        "\r\n--B--B",
    ] {
        // Directly behind the head, "--B" would begin a line, so a letter stands before it.
        let body = format!("{DATA}x{content}\r\n--B--\r\n");
        let expected = format!("x{content}").as_bytes().escape_ascii().to_string();
        assert_eq!(data(&body), Ok(expected), "{content:?}");
    }
    let padded = format!("\r\n--B{}\r\n", " ".repeat(limits::BOUNDARY_PADDING + 1));
    let (_, data) = read_pieces(TYPE, format!("{DATA}{padded}\r\n--B--").as_bytes(), 64, 64).unwrap();
    assert_eq!(data, padded.as_bytes());
}

#[test]
fn delimiters_are_read_in_every_spelling() {
    for body in [
        format!("{DATA}x\r\n--B--\r\n"),
        format!("{DATA}x\r\n--B--"),
        format!("{DATA}x\r\n--B--\r"),
        format!("{DATA}x\r\n--B-- \t\r\n"),
        format!("{DATA}x\r\n--B-- \t"),
        format!("{DATA}x\r\n--B--\r\nepilogue\r\n--B\r\n"),
        format!("{DATA}x\r\n--B \t\r\nX: y\r\n\r\n\r\n--B--"),
        format!("\r\n{DATA}x\r\n--B--"),
        format!("preamble --B\r\n{DATA}x\r\n--B--"),
    ] {
        assert_eq!(data(&body).as_deref(), Ok("x"), "{body:?}");
    }
}

#[test]
fn empty_parts_have_no_content() {
    assert_eq!(data(format!("{DATA}--B--")).as_deref(), Ok(""), "the line end before is the head's");
    assert_eq!(data(format!("{DATA}\r\n--B--")).as_deref(), Ok(""));
    assert_eq!(data(format!("--B\r\n\r\n\r\n{DATA}x\r\n--B--")).as_deref(), Ok("x"));
    assert_eq!(data(format!("--B\r\n\r\n{DATA}x\r\n--B--")).as_deref(), Ok("x"));
    let (form, _) = parse("--B--\r\n").unwrap();
    assert_eq!(form, super::super::Form::default());
    assert_eq!(parse(format!("{DATA}--B--")).unwrap().0.data().map(|data| data.bytes), Some(0));
}

#[test]
fn a_body_cut_at_any_byte_is_refused() {
    let body = format!("{}{DATA}some bytes\r\n{}--B--", field("title", "x"), field("description", "y"));
    for cut in 1..body.len() {
        for piece in [1, 3, usize::MAX] {
            let read = read_pieces(TYPE, &body.as_bytes()[..cut], piece, piece);
            assert_eq!(read, Err(Refusal::BadForm), "cut at {cut}");
        }
    }
    assert!(parse(&body).is_ok());
}

#[test]
fn malformed_bodies_are_refused() {
    for body in [
        "x".to_owned(),
        "\r\n".to_owned(),
        "no boundary at all".to_owned(),
        "--B\r\n--B--".to_owned(),
        "--B\n\n--B--".to_owned(),
        "--B\r\nContent-Disposition: form-data; name=data\n\nx\r\n--B--".to_owned(),
        "--B\r\nContent-Disposition: form-data; name=data\r\n--B--".to_owned(),
        "--B\r\nbroken\r\n\r\nx\r\n--B--".to_owned(),
        "--B\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--B--".to_owned(),
        "--B\r\nContent-Disposition: form-data; name=\"da\r\n\r\nx\r\n--B--".to_owned(),
    ] {
        assert_eq!(data(&body), Err(Refusal::BadForm), "{body:?}");
    }
    let latin1 = b"--B\r\nContent-Disposition: form-data; name=title\r\n\r\n\xe9\r\n--B--";
    assert_eq!(data(latin1), Err(Refusal::NotUtf8));
}

#[test]
fn the_first_field_of_a_name_counts() {
    let body = format!(
        "{}{}{}{}--B--",
        field("TITLE", "1"),
        field("title", "2"),
        field("Data", "first"),
        field("\u{c9}", "é"),
    );
    let (form, data) = parse(&body).unwrap();
    assert_eq!((form.text("title"), data.as_slice()), (Some("1"), &b"first"[..]));
    assert_eq!(form.text("\u{c9}"), Some("é"));
    let nameless = format!("--B\r\nContent-Type: image/png\r\n\r\n\u{7f}\r\n{DATA}x\r\n--B--");
    assert_eq!(parse(&nameless).unwrap().1, b"x");
}

#[test]
fn no_file_is_dropped_without_a_word() {
    let file = |name: &str, content: &[u8]| {
        let head = format!("--B\r\nContent-Disposition: form-data; name={name}; filename=a.jpg\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    };
    let parse = |parts: &[Vec<u8>]| read_every_way(TYPE, &[&parts.concat()[..], b"--B--"].concat()).err();
    assert_eq!(parse(&[file("data", b"1"), file("DATA", b"2")]), Some(Refusal::SecondData));
    for content in [&b"\xFF\xD8\xFF"[..], b"a\0b"] {
        assert_eq!(parse(&[file("file", content)]), Some(Refusal::MissingData), "{content:?}");
    }
    let long = [file("file", &[b'a'; limits::FIELD_BYTES + 1]), b"--B--".to_vec()].concat();
    assert_eq!(read_pieces(TYPE, &long, 1000, 1000).err(), Some(Refusal::MissingData));
    // A text may come with a file name.
    assert_eq!(parse(&[file("title", b"a title"), file("data", b"\xFF")]), None);
}

#[test]
fn every_limit_of_a_multipart_form_holds() {
    let whole = |body: &str| {
        let read = read_pieces(TYPE, body.as_bytes(), usize::MAX, usize::MAX).map(|_| ());
        assert_eq!(read_pieces(TYPE, body.as_bytes(), 1000, 1000).map(|_| ()), read);
        read
    };
    let parts =
        |count: usize| (0..count).map(|at| field(&format!("f{at}"), "")).collect::<String>() + "--B--";
    assert_eq!(whole(&parts(limits::FORM_PARTS)), Ok(()));
    assert_eq!(whole(&parts(limits::FORM_PARTS + 1)), Err(Refusal::TooManyParts));
    assert_eq!(whole(&parts(100_000)), Err(Refusal::TooManyParts));

    for (name, max, refusal) in TEXT_LIMITS {
        let text = |bytes: usize| field(name, &"x".repeat(bytes)) + "--B--";
        assert_eq!(whole(&text(max)), Ok(()), "{name}");
        assert_eq!(whole(&text(max + 1)), Err(refusal), "{name}");
    }

    let texts = (0..8).map(|at| field(&at.to_string(), &"x".repeat(limits::FIELD_BYTES)));
    assert_eq!(whole(&(texts.collect::<String>() + "--B--")), Err(Refusal::TooLarge));

    let name = |bytes: usize| field(&"n".repeat(bytes), "") + "--B--";
    assert_eq!(whole(&name(limits::FIELD_NAME_BYTES)), Ok(()));
    assert_eq!(whole(&name(limits::FIELD_NAME_BYTES + 1)), Err(Refusal::FieldTooLong));

    let head = |bytes: usize| format!("--B\r\nX: {}\r\n\r\n--B--", "x".repeat(bytes - "X: \r\n\r\n".len()));
    assert_eq!(whole(&head(limits::PART_HEAD_BYTES)), Ok(()));
    assert_eq!(whole(&head(limits::PART_HEAD_BYTES + 1)), Err(Refusal::BadForm));
    assert_eq!(whole(&format!("--B\r\nX: {}", "x".repeat(1 << 20))), Err(Refusal::BadForm));

    let overhead = "x".repeat(usize::try_from(limits::FORM_OVERHEAD_BYTES).unwrap());
    assert_eq!(whole(&format!("{overhead}x\r\n--B--")), Err(Refusal::TooLarge));
    assert_eq!(whole(&format!("--B--\r\n{overhead}")), Err(Refusal::TooLarge));
    assert_eq!(whole(&format!("{DATA}\r\n--B\r\n\r\n{overhead}\r\n--B--")), Err(Refusal::TooLarge));
    assert_eq!(whole(&format!("{DATA}{overhead}{overhead}\r\n--B--")), Ok(()));
}

#[test]
fn data_of_any_size_passes_through() {
    const SIZE: u64 = 8 << 20;
    /// Counts, and checks that it is handed one step at a time.
    struct Counting(u64);
    impl io::Write for Counting {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(bytes.len() == limits::FORM_STEP && bytes.iter().all(|byte| *byte == b'-'));
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Counting(0);
    let mut body = DATA.as_bytes().chain(io::repeat(b'-').take(SIZE)).chain(&b"\r\n--B--\r\n"[..]);
    read(Some(TYPE), &mut body, &mut sink).unwrap();
    assert_eq!(sink.0, SIZE);
}

#[test]
fn a_delimiter_is_found_wherever_a_step_ends() {
    const STEP: usize = limits::FORM_STEP;
    for size in (STEP - 8..STEP + 8).chain(limits::FORM_WINDOW - 120..limits::FORM_WINDOW + 8) {
        // Text that differs from a delimiter only in its last byte stands before the delimiter.
        let mut content = vec![b'x'; size];
        content[size - 7..].copy_from_slice(b"\r\n--B-x");
        let body = [DATA.as_bytes(), &content, b"\r\n--B--\r\n"].concat();
        for piece in [1000, STEP - 1, usize::MAX] {
            let (_, data) = read_pieces(TYPE, &body, piece, piece).unwrap();
            assert!(data == content, "{size} bytes in pieces of {piece}");
        }
    }
}

#[test]
fn a_sinks_refusal_ends_the_reading() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(Refusal::TooLarge.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut body = DATA.as_bytes().chain(io::repeat(b'-'));
    let read = read(Some(TYPE), &mut body, &mut Full);
    assert!(matches!(read, Err(Failure::Refused(Refusal::TooLarge))));
}
