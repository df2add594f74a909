use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::store::{Console, SqliteSchema};
use crate::testing::{Random, Scratch};

const SHA1: &str = "bc46e5fac2f1cbb607c8b253a5af33181f161562";
const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn of_foreign(path: &str) -> String {
    let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    crate::uploads::ForeignPath::of(&segments).unwrap().id().as_str().to_owned()
}

/// A line of each kind, in the order of an export, and the sums that they come to.
fn lines() -> Vec<Value> {
    let upload = "A".repeat(24);
    let usage = |kind: &str, name: &str, files: u64, bytes: u64| json!({"record": "usage", "kind": kind, "name": name, "files": files, "bytes": bytes});
    vec![
        json!({"record": "store", "format": 1, "id": "abcdefghij0123456789"}),
        json!({"record": "media", "id": "a1", "channel": "room@example.org", "author": "alice@example.org/phone",
            "name": "Büro.jpg", "title": null, "description": "", "type": "image/jpeg", "uploaded": 1_390_500_000_123_456_i64,
            "updated": 1_390_500_000_123_457_i64, "extension": "jpg", "sha1": SHA1, "sha256": SHA256, "size": 100, "length": 5,
            "height": 312, "width": 400}),
        json!({"record": "media", "id": "a2", "channel": "alice@example.org", "author": "alice@example.org",
            "name": null, "title": "A \"title\" \u{7f} 😀", "description": null, "type": "text/plain; charset=utf-8",
            "uploaded": -1, "updated": 0, "extension": null, "sha1": "", "sha256": null, "size": 0, "length": null, "height": null,
            "width": null}),
        json!({"record": "preview", "id": "p1", "media": "a1", "height": 50, "width": 60, "type": "image/png",
            "size": 7, "sha1": SHA1, "used": 0}),
        json!({"record": "avatar", "channel": "room@example.org", "media": "a1"}),
        json!({"record": "upload", "id": upload, "path": null, "file": "B".repeat(24), "owner": "alice@example.org",
            "name": "a b.jpg", "type": "image/jpeg", "size": 10, "sha256": SHA256, "purpose": "message",
            "created": 1_390_500_000_000_000_i64, "expires": 1_390_600_000_000_000_i64, "slot_ends": 1_390_500_300_000_000_i64}),
        json!({"record": "emptied", "id": "B".repeat(24), "purpose": "profile", "created": 3, "slot_ends": 4}),
        json!({"record": "upload", "id": of_foreign("slot1/a.jpg"), "path": "slot1/a.jpg", "file": "C".repeat(24),
            "owner": null, "name": "a.jpg", "type": "image/jpeg", "size": 20, "sha256": SHA256, "purpose": "message",
            "created": 5, "expires": null, "slot_ends": null}),
        json!({"record": "block", "jid": "eve@example.org", "since": 6, "by": "admin@example.org"}),
        usage("channel", "alice@example.org", 1, 16),
        usage("channel", "room@example.org", 1, 109),
        usage("total", "", 2, 125),
        usage("upload-day", "alice@example.org 2317500", 1, 10),
        usage("upload-message", "alice@example.org", 1, 10),
        usage("upload-total", "", 2, 30),
        usage("upload-user", "alice@example.org", 1, 10),
        usage("user", "alice@example.org", 1, 16),
        usage("user", "alice@example.org/phone", 1, 109),
        json!({"record": "end", "records": 18}),
    ]
}

/// The sample of a kind, with one member changed.
fn changed(kind: &str, member: &str, value: Value) -> String {
    let mut line = lines().into_iter().find(|line| line["record"] == kind).unwrap();
    line[member] = value;
    line.to_string()
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// An empty embedded database.
struct Bench {
    _scratch: Scratch,
    path: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("metadata.sqlite");
        SqliteSchema::new(&path).set_up().unwrap();
        Self { _scratch: scratch, path }
    }

    fn import(&self, text: &[u8]) -> Result<TransferCounts> {
        let mut counts = TransferCounts::default();
        let mut console = Console::sqlite_to_fill(&self.path, false)?;
        console.import(&mut |sink| {
            counts = import(&mut &*text, sink)?;
            Ok(())
        })?;
        Ok(counts)
    }

    fn export(&self) -> Result<String> {
        let mut out = Vec::new();
        export(&mut Console::sqlite(&self.path)?, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn sql(&self, sql: &str) {
        rusqlite::Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }

    /// The error of an import of this text, which writes nothing.
    fn refusal(&self, text: &[u8]) -> String {
        let empty = self.export().unwrap();
        let error = self.import(text).unwrap_err();
        assert_eq!(self.export().unwrap(), empty, "{error}");
        error.to_string()
    }
}

#[test]
fn an_imported_file_is_exported_byte_for_byte() {
    let bench = Bench::new();
    let sample: String = lines()
        .iter()
        .map(|line| match parse(&line.to_string()).unwrap() {
            Line::Row(row) => write(&row) + "\n",
            Line::End { records } => format!("{{\"record\":\"end\",\"records\":{records}}}\n"),
        })
        .collect();
    let counts = bench.import(text(&lines()).as_bytes()).unwrap();
    let expected = TransferCounts { media: 2, previews: 1, avatars: 1, uploads: 2, emptied: 1, blocks: 1 };
    assert_eq!(counts, expected);
    let exported = bench.export().unwrap();
    assert_eq!(exported, sample);
    let other = Bench::new();
    other.import(exported.as_bytes()).unwrap();
    assert_eq!(other.export().unwrap(), exported);
}

#[test]
fn an_export_without_rows_imports_nothing() {
    let bench = Bench::new();
    let empty = bench.export().unwrap();
    assert_eq!(
        empty,
        "{\"record\":\"store\",\"format\":1,\"id\":null}\n{\"record\":\"end\",\"records\":1}\n"
    );
    assert_eq!(bench.import(empty.as_bytes()).unwrap(), TransferCounts::default());
    assert_eq!(bench.export().unwrap(), empty);
}

/// Each is refused as it would be of a client, or as no server of ours stores it.
#[test]
fn values_that_no_client_could_bring_are_refused() {
    let long = "x".repeat(limits::FIELD_BYTES + 1);
    let table: Vec<(&str, &str, Vec<Value>)> = vec![
        ("store", "id", vec![json!(""), json!("short"), json!("../../../../../etc/a"), json!(1)]),
        ("store", "format", vec![json!(0), json!(2), json!(null), json!("1"), json!(-1), json!(1.5)]),
        (
            "media",
            "id",
            vec![
                json!(""),
                json!("../a"),
                json!("a/b"),
                json!("a.b"),
                json!("x".repeat(65)),
                json!(null),
                json!(7),
            ],
        ),
        (
            "media",
            "channel",
            vec![
                json!(""),
                json!("example.org"),
                json!("../x@b"),
                json!("a@b/c"),
                json!("A@b"),
                json!("a@B"),
                json!("a b@c"),
                json!(format!("{}@b.c", "a".repeat(255))),
                json!(null),
            ],
        ),
        (
            "media",
            "author",
            vec![json!(""), json!("@"), json!("a b"), json!("a@b\nc"), json!(null), json!("a@b/\u{0}")],
        ),
        ("media", "name", vec![json!(long), json!("a\u{0}b"), json!(3)]),
        ("media", "title", vec![json!(long), json!("\u{0}"), json!([])]),
        ("media", "description", vec![json!(long), json!("\u{0}"), json!({})]),
        (
            "media",
            "type",
            vec![
                json!(""),
                json!("nonsense"),
                json!(" image/png"),
                json!("image/png\r\nX: y"),
                json!("image/é"),
                json!(null),
                json!(format!("a/{}", "b".repeat(255))),
            ],
        ),
        (
            "media",
            "uploaded",
            vec![
                json!(i64::MAX),
                json!(i64::MIN),
                json!(u64::MAX),
                json!(1.5),
                json!("2014-01-23T18:00:00Z"),
                json!(null),
            ],
        ),
        ("media", "updated", vec![json!(253_402_300_800_000_000_i64), json!(-62_135_596_800_000_001_i64)]),
        ("media", "extension", vec![json!("x".repeat(256)), json!("\u{0}")]),
        (
            "media",
            "sha1",
            vec![json!("xyz"), json!(SHA1.to_uppercase()), json!(format!("{SHA1}0")), json!(null)],
        ),
        ("media", "size", vec![json!(-1), json!((1_u64 << 50) + 1), json!(1e3), json!("1"), json!(null)]),
        ("media", "length", vec![json!(-1), json!(u64::MAX), json!(0.5)]),
        ("media", "height", vec![json!(-1), json!(1_u64 << 31), json!(1_u64 << 32), json!("1")]),
        ("media", "width", vec![json!(-1), json!(1_u64 << 31)]),
        ("preview", "id", vec![json!(".."), json!(null)]),
        ("preview", "media", vec![json!("a b"), json!(null)]),
        ("preview", "height", vec![json!(null), json!(1_u64 << 31)]),
        ("preview", "width", vec![json!(null), json!(-1)]),
        ("preview", "type", vec![json!("png"), json!(null)]),
        ("preview", "size", vec![json!(null), json!((1_u64 << 50) + 1)]),
        ("preview", "sha1", vec![json!("g"), json!(null)]),
        ("preview", "used", vec![json!(i64::MAX), json!(null)]),
        ("avatar", "channel", vec![json!("room"), json!("Room@example.org"), json!("room@example.org.")]),
        ("avatar", "media", vec![json!(""), json!("a/1")]),
        ("upload", "id", vec![json!("A"), json!("A".repeat(25)), json!("0".repeat(64)), json!(null)]),
        ("upload", "path", vec![json!("slot/a.jpg"), json!(""), json!("a/"), json!("a\nb")]),
        (
            "upload",
            "file",
            vec![json!("../../../../etc/passwd123"), json!("B"), json!(null), json!("é".repeat(12))],
        ),
        ("upload", "owner", vec![json!(""), json!("a@b/c"), json!("A@b"), json!("@")]),
        (
            "upload",
            "name",
            vec![json!(""), json!(".."), json!("a/b"), json!("a\u{1}b"), json!("x".repeat(256)), json!(null)],
        ),
        ("upload", "type", vec![json!("x"), json!(null)]),
        ("upload", "size", vec![json!(-1), json!(null), json!((1_u64 << 50) + 1)]),
        ("media", "sha256", vec![json!(""), json!(SHA1), json!(SHA256.to_uppercase()), json!(1)]),
        ("upload", "sha256", vec![json!(""), json!(SHA1), json!(SHA256.to_uppercase()), json!(null)]),
        ("upload", "purpose", vec![json!("Message"), json!(""), json!(null)]),
        ("upload", "created", vec![json!(i64::MAX), json!(null)]),
        ("upload", "expires", vec![json!(i64::MAX), json!("never")]),
        ("upload", "slot_ends", vec![json!(i64::MIN)]),
        ("emptied", "id", vec![json!("x"), json!(null)]),
        ("emptied", "purpose", vec![json!("none")]),
        ("emptied", "created", vec![json!(i64::MAX)]),
        ("emptied", "slot_ends", vec![json!(i64::MAX)]),
        ("block", "jid", vec![json!("Eve@example.org"), json!("eve@example.org/x"), json!("")]),
        ("block", "by", vec![json!(""), json!("A@b")]),
        ("block", "since", vec![json!(i64::MIN), json!(null)]),
        ("usage", "kind", vec![json!("users"), json!(null)]),
        ("usage", "name", vec![json!("\u{0}"), json!(null)]),
        ("usage", "files", vec![json!(-1), json!(null)]),
        ("usage", "bytes", vec![json!(-1), json!((1_u64 << 50) + 1)]),
        ("end", "records", vec![json!(-1), json!(null)]),
    ];
    for (kind, member, values) in table {
        parse(&changed(kind, "record", json!(kind))).unwrap();
        for value in values {
            let line = changed(kind, member, value.clone());
            let shown: String = value.to_string().chars().take(40).collect();
            assert!(parse(&line).is_err(), "{kind}.{member}: {shown}");
        }
        assert!(parse(&changed(kind, "more", json!(1))).is_err(), "{kind} has no such member");
    }
}

#[test]
fn texts_that_are_no_line_are_refused() {
    let twice = r#"{"record":"avatar","channel":"a@b","media":"x","media":"y"}"#;
    for text in
        ["", "x", "null", "[]", "{}", "1", "\"\"", r#"{"record":"secret"}"#, r#"{"record":null}"#, twice]
    {
        let error = parse(text).unwrap_err();
        assert!(!error.contains("at line 1") && !error.is_empty(), "{text}: {error}");
    }
    for line in lines() {
        let line = line.to_string();
        for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
            assert!(parse(&line[..end]).is_err(), "{}", &line[..end]);
        }
        assert!(parse(&format!("{line}{line}")).is_err());
    }
}

/// A change of an export, and how the error begins. Lines are counted from 1.
type BadFile = (&'static str, Change, &'static str);
type Change = Box<dyn Fn(&mut Vec<Value>)>;

#[test]
fn a_bad_line_ends_an_import_with_its_number_and_nothing_is_written() {
    fn change(change: impl Fn(&mut Vec<Value>) + 'static) -> Change {
        Box::new(change)
    }
    let table: Vec<BadFile> = vec![
        ("no first line", change(|lines| drop(lines.remove(0))), "line 1: the first line"),
        ("two first lines", change(|lines| lines.insert(1, lines[0].clone())), "line 2: only the first"),
        ("a first line later", change(|lines| lines.insert(5, lines[0].clone())), "line 6: only the first"),
        (
            "a line twice",
            change(|lines| lines.insert(2, lines[1].clone())),
            "line 3: the line before has the same",
        ),
        ("lines in another order", change(|lines| lines.swap(1, 2)), "line 3: it must come before"),
        ("tables in another order", change(|lines| lines.swap(3, 4)), "line 5: it must come before"),
        (
            "a value that can't be",
            change(|lines| lines[2]["id"] = json!("a/2")),
            "line 3: id: \"a/2\" is not",
        ),
        ("a member too much", change(|lines| lines[8]["x"] = json!(1)), "line 9: unknown field `x`"),
        (
            "a member too little",
            change(|lines| drop(lines[8].as_object_mut().unwrap().remove("by"))),
            "line 9: missing field `by`",
        ),
        (
            "a preview without its media",
            change(|lines| lines[3]["media"] = json!("a3")),
            "line 4: there is no such media (a3)",
        ),
        (
            "an avatar without its media",
            change(|lines| lines[4]["media"] = json!("a3")),
            "line 5: there is no such media (a3)",
        ),
        (
            "an avatar of another channel",
            change(|lines| lines[4]["media"] = json!("a2")),
            "line 5: there is no such media (a2)",
        ),
        (
            "two previews of one size",
            change(|lines| {
                let mut other = lines[3].clone();
                other["id"] = json!("p2");
                lines.insert(4, other);
            }),
            "line 5: the media a1 has another preview",
        ),
        (
            "a file of two uploads",
            change(|lines| lines[7]["file"] = json!("B".repeat(24))),
            "line 8: another upload has that file",
        ),
        (
            "a media missing",
            change(|lines| drop(lines.remove(2))),
            "line 9: the rows of the file come to 0 files and 0 bytes",
        ),
        (
            "a wrong sum",
            change(|lines| lines[11]["bytes"] = json!(1)),
            "line 12: the rows of the file come to 2 files and 125 bytes",
        ),
        (
            "a sum of nobody",
            change(|lines| lines[17]["name"] = json!("zoe@example.org")),
            "line 18: the rows of the file come to 0",
        ),
        (
            "a sum missing",
            change(|lines| {
                lines.remove(10);
                lines[17]["records"] = json!(17);
            }),
            "the file is incomplete: it has 8 sums",
        ),
        ("no end", change(|lines| drop(lines.pop())), "the file is incomplete: it ends after line 18"),
        ("nothing", change(Vec::clear), "the file is incomplete: it ends after line 0"),
        (
            "a line missing",
            change(|lines| drop(lines.remove(8))),
            "line 18: it counts 18 lines before it, but there are 17",
        ),
        ("something after the end", change(|lines| lines.push(json!({}))), "line 20: something follows"),
    ];
    let bench = Bench::new();
    for (what, change, expected) in table {
        let mut lines = lines();
        change(&mut lines);
        let error = bench.refusal(text(&lines).as_bytes());
        assert!(error.starts_with(expected), "{what}: {error}");
    }
    let whole = text(&lines());
    let table: [(&str, Vec<u8>, &str); 5] = [
        ("an empty line", whole.replacen('\n', "\n\n", 1).into_bytes(), "line 2: EOF while parsing a value"),
        ("half a line", whole.as_bytes()[..250].to_vec(), "line 2: EOF while parsing a string"),
        ("bytes that are no text", [&b"\xff\n"[..], whole.as_bytes()].concat(), "line 1: it is not UTF-8"),
        (
            "a long line",
            [vec![b' '; limits::TRANSFER_LINE_BYTES + 1], whole.clone().into_bytes()].concat(),
            "line 1: it is longer",
        ),
        ("another file", b"SQLite format 3\0".to_vec(), "line 1: expected value"),
    ];
    for (what, bytes, expected) in table {
        let error = bench.refusal(&bytes);
        assert!(error.starts_with(expected), "{what}: {error}");
    }
    bench.import(whole.as_bytes()).unwrap();
}

#[test]
fn a_database_that_holds_something_is_refused() {
    for sql in [
        "INSERT INTO blocks VALUES ('a@b', 0, 'c@d')",
        "INSERT INTO avatars (entityId) VALUES ('a@b')",
        "INSERT INTO previews (id, mimeType) VALUES ('a', 'b/c')",
        "INSERT INTO uploads (id, fileSize, purpose, created) VALUES ('x', 0, 'message', 0)",
        "INSERT INTO medias (id, entityId, author, mimeType, uploadedDate, lastUpdatedDate, shaChecksum, fileSize) \
         VALUES ('a', 'a@b', 'a@b', 'b/c', 0, 0, '', 0)",
    ] {
        let bench = Bench::new();
        bench.sql(sql);
        let error = bench.import(text(&lines()).as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("the database is not empty: table "), "{error}");
        Console::sqlite(&bench.path).unwrap().may_import().unwrap_err();
    }
    let bench = Bench::new();
    bench.sql("INSERT INTO store VALUES (1, 'abcdefghij0123456780')");
    let error: Error = bench.import(text(&lines()).as_bytes()).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().starts_with("line 1: the database belongs to another store"), "{error}");
    let bench = Bench::new();
    bench.sql("INSERT INTO store VALUES (1, 'abcdefghij0123456789')");
    bench.import(text(&lines()).as_bytes()).unwrap();
}

/// The old database is still there when it is told.
#[test]
fn a_row_that_could_not_be_imported_ends_an_export_with_its_name() {
    let media = |columns: &str, values: &str| {
        format!(
            "INSERT INTO medias (id, uploadedDate, lastUpdatedDate, fileSize, {columns}) VALUES ('old', 0, 0, 0, {values})"
        )
    };
    let table = [
        (
            media("entityId, author, mimeType, shaChecksum", "'Room@b', 'a@b', 'a/b', ''"),
            "the media of \"Room@b\" can't be exported",
        ),
        (
            media("entityId, author, mimeType, shaChecksum", "'room@b', 'nobody at all', 'a/b', ''"),
            "an import would refuse \"media\" \"old\": author: \"nobody at all\" is not an XMPP address",
        ),
        (
            media("entityId, author, mimeType, shaChecksum", "'room@b', 'a@b', 'x', ''"),
            "an import would refuse \"media\" \"old\": type: \"x\" is not a media type",
        ),
        (
            "INSERT INTO uploads (id, fileSize, purpose, created) VALUES ('abcdefghi', 0, 'message', 0)"
                .to_owned(),
            "the upload \"abcdef\" has no valid id",
        ),
    ];
    for (sql, expected) in table {
        let bench = Bench::new();
        bench.sql(&sql);
        let error = bench.export().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// As the fuzz target `transfer`: a line that is read is written as it is read again, whatever was changed in it.
#[test]
fn changed_lines_are_refused_or_read_back() {
    let samples: Vec<Vec<u8>> = lines().iter().map(|line| line.to_string().into_bytes()).collect();
    let mut random = Random::new(17);
    let mut read = 0;
    for round in 0..50_000 {
        let mut bytes = samples[round % samples.len()].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\"{}:,0-9a/@\\"[random.below(12)]),
            }
        }
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        if let Ok(Line::Row(row)) = parse(text) {
            read += 1;
            let written = write(&row);
            assert_eq!(parse(&written), Ok(Line::Row(row)), "{text}");
        }
    }
    assert!(read > 1000, "{read}");
}
