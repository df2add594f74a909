//! The client against a store that is a script: the bytes of each response are given.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use socket2::SockRef;

use super::{Client, Entry, Settings, Unfinished};
use crate::error::{Error, Kind};
use crate::limits;
use crate::secret::Secret;
use crate::testing::Scratch;

const SECRET: &str = "hunter2hunter2";

/// A store that answers each request with the next response, and then with none.
struct Script {
    port: u16,
    requests: Arc<Mutex<Vec<Received>>>,
}

#[derive(Clone, Debug)]
struct Received {
    /// The method, and the path without the signature.
    line: String,
    head: String,
    body: Vec<u8>,
}

/// The action of the script on a request.
enum Act {
    /// Sends these bytes and closes the connection.
    Send(Vec<u8>),
    /// Sends nothing, for longer than the client waits.
    Stall,
    /// Sends these bytes, the last ones of them one by one with a pause before each.
    Drip(Vec<u8>, usize),
    /// Reads the request as slowly, and never responds.
    Sip,
}

/// The pause of a store that is slow: shorter than a connection may stand still.
const PAUSE: Duration = Duration::from_millis(100);

impl Script {
    /// Sends each response in pieces of this size.
    fn new(acts: Vec<Act>, piece: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Connections inherit it: a request that is read slowly can't hide in it.
        SockRef::from(&listener).set_recv_buffer_size(16 * 1024).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&requests);
        thread::spawn(move || {
            let mut stalled = Vec::new();
            for (act, socket) in acts.into_iter().zip(listener.incoming()) {
                let mut socket = socket.unwrap();
                socket.set_nodelay(true).unwrap();
                if matches!(act, Act::Sip) {
                    sip(&mut socket);
                    continue;
                }
                received.lock().unwrap().push(receive(&mut socket));
                match act {
                    Act::Drip(bytes, last) => drip(&mut socket, &bytes, last),
                    Act::Send(bytes) => {
                        bytes.chunks(piece).for_each(|piece| socket.write_all(piece).unwrap());
                    }
                    Act::Stall => stalled.push(socket),
                    Act::Sip => {}
                }
            }
            while !stalled.is_empty() {
                thread::park();
            }
        });
        Self { port, requests }
    }

    fn of(responses: &[Vec<u8>]) -> Self {
        Self::new(responses.iter().cloned().map(Act::Send).collect(), usize::MAX)
    }

    fn settings(&self) -> Settings {
        settings(&format!("http://127.0.0.1:{}", self.port))
    }

    fn client(&self) -> Client {
        Client::new(&self.settings()).unwrap()
    }

    fn received(&self) -> Vec<Received> {
        self.requests.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.received().into_iter().map(|received| received.line).collect()
    }
}

fn settings(endpoint: &str) -> Settings {
    Settings {
        endpoint: endpoint.to_owned(),
        bucket: "media".to_owned(),
        region: "us-east-1".to_owned(),
        access_key: "AKIA".to_owned(),
        secret_key: Secret::new(SECRET),
        timeout: Duration::from_millis(300),
    }
}

fn receive(socket: &mut TcpStream) -> Received {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() > 0 {
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).unwrap();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query: Vec<_> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-")).collect();
    let line = format!("{method} {path} {}", query.join("&")).trim().to_owned();
    Received { line, head, body }
}

/// Sends bytes, the last ones slowly, until the client goes away.
fn drip(socket: &mut TcpStream, bytes: &[u8], last: usize) {
    let (first, last) = bytes.split_at(bytes.len() - last);
    socket.write_all(first).unwrap();
    for byte in last.chunks(1) {
        thread::sleep(PAUSE);
        if socket.write_all(byte).is_err() {
            return;
        }
    }
}

/// Reads slowly until the client goes away.
fn sip(socket: &mut TcpStream) {
    while matches!(socket.read(&mut [0; 16 * 1024]), Ok(read) if read > 0) {
        thread::sleep(PAUSE);
    }
}

fn response(status: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
        .into_bytes()
}

fn stored() -> Vec<u8> {
    response("200 OK", "ETag: \"1\"\r\n", "")
}

fn refusal(status: &str, code: &str) -> Vec<u8> {
    response(status, "", &format!("<Error><Code>{code}</Code><Message>words</Message></Error>"))
}

fn gone() -> Vec<u8> {
    response("204 No Content", "", "")
}

/// A file with these bytes, and their SHA-256 in hexadecimal.
fn file(bytes: &[u8]) -> (Scratch, File, String) {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("file"), bytes).unwrap();
    let hash = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = File::open(scratch.join("file")).unwrap();
    (scratch, file, hash)
}

/// Fails unless this is an error that says what to do and hides the secret.
#[track_caller]
fn told<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(words), "{words:?} is not in {text}");
    assert!(!text.contains(SECRET) && !text.contains("X-Amz-Signature"), "{text}");
}

#[test]
fn an_object_is_stored_with_its_length_and_checksum() {
    let (_scratch, file, hash) = file(b"four");
    let whole = stored();
    for piece in 1..=whole.len() {
        let script = Script::new(vec![Act::Send(whole.clone())], piece);
        script.client().put("room@example.org/id", &file, 4, &hash).unwrap();
        let [request] = &script.received()[..] else { panic!("{:?}", script.lines()) };
        assert_eq!(
            (request.line.as_str(), request.body.as_slice()),
            ("PUT /media/room%40example.org/id", &b"four"[..])
        );
        let checksum = format!("x-amz-checksum-sha256: {}\r\n", STANDARD.encode(Sha256::digest(b"four")));
        assert!(request.head.contains(&checksum), "{}", request.head);
        let head = request.head.to_ascii_lowercase();
        assert!(
            head.contains("content-length: 4\r\n")
                && head.contains("x-amz-signedheaders=host%3bx-amz-checksum-sha256"),
            "{head}"
        );
    }
}

#[test]
fn an_object_without_proof_is_not_stored() {
    let (_scratch, file, hash) = file(b"four");
    let other = response("200 OK", "ETag: \"1\"\r\nx-amz-checksum-sha256: AAAA\r\n", "");
    let mut cut = stored();
    cut.truncate(30);
    for (answer, words) in [
        (response("200 OK", "", ""), "has no ETag"),
        (response("200 OK", "ETag: \r\n", ""), "has no ETag"),
        (other, "other bytes than it was sent"),
        (cut, "the connection was lost"),
        (Vec::new(), "the connection was lost"),
        (refusal("500 Internal Server Error", "InternalError"), "its own log says why"),
        (refusal("503 Slow Down", "SlowDown"), "wants fewer requests"),
        (refusal("400 Bad Request", "BadDigest"), "BadDigest"),
        (b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), "does not answer in HTTP as it should"),
    ] {
        let mut answers = vec![answer; 4];
        answers.push(gone());
        for is_held in [false, true] {
            let script = Script::of(&answers);
            let client = script.client();
            let put = match is_held {
                true => client.put_held("a@b/c", b"four", &hash),
                false => client.put("a@b/c", &file, 4, &hash),
            };
            told(put, words);
            let mut expected = vec!["PUT /media/a%40b/c"; 4];
            expected.push("DELETE /media/a%40b/c");
            assert_eq!(script.lines(), expected, "{words}");
        }
    }
}

#[test]
fn a_failure_that_passes_is_not_seen() {
    let (_scratch, file, hash) = file(b"four");
    for failure in [refusal("503 Slow Down", "SlowDown"), Vec::new(), response("200 OK", "", "")] {
        let script = Script::of(&[failure.clone(), failure, stored()]);
        script.client().put("a@b/c", &file, 4, &hash).unwrap();
        assert_eq!(script.lines().len(), 3);
        assert!(script.received().iter().all(|request| request.body == b"four"));
    }
}

#[test]
fn a_failure_that_stays_is_told_at_once() {
    let (_scratch, file, hash) = file(b"four");
    for (answer, words) in [
        (refusal("403 Forbidden", "InvalidAccessKeyId"), "media.storage.s3.access.key"),
        (refusal("403 Forbidden", "SignatureDoesNotMatch"), "media.storage.s3.secret.key"),
        (refusal("404 Not Found", "NoSuchBucket"), "there is no bucket media"),
        (refusal("403 Forbidden", "RequestTimeTooSkewed"), "by NTP"),
        (
            response("403 Forbidden", "Date: Thu, 01 Jan 2015 00:00:00 GMT\r\n", ""),
            "ahead of that of the store",
        ),
        (response("301 Moved", "Location: http://example.org/\r\n", ""), "a redirect is not followed"),
        (response("404 Not Found", "Content-Type: text/html\r\n", "<html></html>"), "this is no S3 store"),
    ] {
        let script = Script::of(&[answer, gone()]);
        told(script.client().put("a@b/c", &file, 4, &hash), words);
        assert_eq!(script.lines(), ["PUT /media/a%40b/c", "DELETE /media/a%40b/c"], "{words}");
    }
    let script = Script::of(&[response("507 Insufficient Storage", "", ""), gone()]);
    let full = script.client().put("a@b/c", &file, 4, &hash).unwrap_err();
    assert_eq!(full.kind(), Kind::Full);
}

#[test]
fn a_failure_removes_no_object_of_a_lasting_key() {
    let (_scratch, file, hash) = file(b"four");
    for answer in [
        refusal("403 Forbidden", "AccessDenied"),
        response("507 Insufficient Storage", "", ""),
        response("200 OK", "", ""),
        Vec::new(),
    ] {
        let script = Script::of(&vec![answer; 5]);
        script.client().put_lasting("a@b/c", &file, 4, &hash).unwrap_err();
        assert!(script.lines().iter().all(|line| line == "PUT /media/a%40b/c"), "{:?}", script.lines());
    }
}

#[test]
fn a_store_that_stands_still_or_is_not_there_is_told() {
    let script = Script::new(vec![Act::Stall, Act::Stall, Act::Stall, Act::Stall], 1);
    told(script.client().put_bytes("a@b/c", b"x"), "nothing moved for 300 ms");
    let port = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let client = |endpoint: &str| Client::new(&settings(endpoint)).unwrap();
    told(client(&format!("http://127.0.0.1:{port}")).put_bytes("a", b"x"), "it can't be reached: ");
    told(client("http://nowhere.invalid").put_bytes("a", b"x"), "not in the DNS");
    let script = Script::of(&vec![response("200 OK", "", ""); 4]);
    told(
        client(&format!("https://127.0.0.1:{}", script.port)).put_bytes("a", b"x"),
        "TLS with 127.0.0.1 failed",
    );
    assert_eq!(Client::new(&settings("ftp://a")).unwrap_err().kind(), Kind::Config);
}

/// The settings of a client whose connections may stand still for longer than the pauses of a slow store.
fn patient(script: &Script) -> Settings {
    Settings { timeout: 10 * PAUSE, ..script.settings() }
}

/// A store that always moves, but too slowly, holds a thread for a bounded time, whatever the request is.
#[test]
fn a_store_that_is_too_slow_is_given_up() {
    let slow = "it is too slow: a request may take 3 times media.storage.s3.timeout";
    let long = "x".repeat(10_000);
    let cases = [
        ("get", Act::Drip(part("0-9999/10000", &long), 9000), slow),
        ("get", Act::Drip(part("0-9999/10000", &long), 10_050), slow),
        ("read", Act::Drip(response("200 OK", "", &long), 9000), slow),
        ("read", Act::Drip(response("403 Forbidden", "", &long), 9000), "this is no S3 store"),
        ("head", Act::Drip([b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 9000]].concat(), 9000), slow),
        ("list", Act::Drip(response("200 OK", "", &long), 9000), slow),
        ("put", Act::Sip, slow),
    ];
    thread::scope(|scope| {
        for (what, act, words) in cases {
            scope.spawn(move || {
                let script = Script::new(vec![act], usize::MAX);
                let client = Client::with_rate(&patient(&script), 1 << 30);
                let begun = Instant::now();
                let result = match what {
                    "get" => client.get("a@b/c", 0..10_000, 10_000, &mut Vec::new()).map(drop),
                    "read" => client.read("a@b/c").map(drop),
                    "head" => client.head("a@b/c").map(drop),
                    "list" => client.list("").next().unwrap().map(drop),
                    _ => {
                        let (_scratch, file, hash) = file(&vec![b'x'; 32 * 1024 * 1024]);
                        client.put_lasting("a@b/c", &file, 32 * 1024 * 1024, &hash)
                    }
                };
                let (time, expected) = (begun.elapsed(), patient(&script).timeout * 3);
                assert!(time >= expected && time < 5 * expected, "{what}: {time:?}");
                told(result, words);
            });
        }
    });
}

/// A body that keeps up with the minimum rate has the time for its bytes, however long that is.
#[test]
fn a_slow_body_has_the_time_for_its_bytes() {
    let body = "x".repeat(50);
    let script = Script::new(vec![Act::Drip(part("0-49/50", &body), 50)], usize::MAX);
    let client = Client::with_rate(&patient(&script), 2);
    let (mut bytes, begun) = (Vec::new(), Instant::now());
    assert!(client.get("a@b/c", 0..50, 50, &mut bytes).unwrap() && bytes == body.as_bytes());
    assert!(begun.elapsed() >= patient(&script).timeout * 3, "or it proves nothing");
}

fn part(range: &str, body: &str) -> Vec<u8> {
    response("206 Partial Content", &format!("Content-Range: bytes {range}\r\n"), body)
}

fn get(script: &Script, range: std::ops::Range<u64>) -> Result<Option<String>, Error> {
    let mut bytes = Vec::new();
    let found = script.client().get("a@b/c", range, 10, &mut bytes)?;
    Ok(found.then(|| String::from_utf8(bytes).unwrap()))
}

#[test]
fn a_range_is_read_however_its_bytes_come() {
    let whole = part("2-6/10", "cdefg");
    for piece in 1..=whole.len() {
        let script = Script::new(vec![Act::Send(whole.clone())], piece);
        assert_eq!(get(&script, 2..7).unwrap().as_deref(), Some("cdefg"));
        assert!(script.received()[0].head.to_ascii_lowercase().contains("range: bytes=2-6\r\n"));
    }
    let script = Script::of(&[response("200 OK", "", "abcdefghij")]);
    assert_eq!(get(&script, 0..10).unwrap().as_deref(), Some("abcdefghij"));
    assert!(!script.received()[0].head.to_ascii_lowercase().contains("range:"), "it is no part");
    assert_eq!(get(&Script::of(&[]), 3..3).unwrap().as_deref(), Some(""));
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let whole = part("2-6/10", "cdefg");
    let head = whole.len() - 5;
    for kept in 0..5 {
        let rest = part(&format!("{}-6/10", 2 + kept), &"cdefg"[kept..]);
        let script = Script::of(&[whole[..head + kept].to_vec(), rest]);
        assert_eq!(get(&script, 2..7).unwrap().as_deref(), Some("cdefg"), "{kept}");
        let again = script.received()[1].head.to_ascii_lowercase();
        assert!(again.contains(&format!("range: bytes={}-6\r\n", 2 + kept)), "{again}");
    }
}

#[test]
fn other_bytes_than_were_asked_for_are_never_taken() {
    for answer in [
        part("2-6/11", "cdefg"),
        part("2-5/10", "cdef"),
        part("1-5/10", "bcdef"),
        part("2-6/10", "cdefgh"),
        response("206 Partial Content", "", "cdefg"),
        response("200 OK", "", "cdefg"),
        response("200 OK", "", "abcdefghij"),
    ] {
        let script = Script::of(&vec![answer; 4]);
        told(get(&script, 2..7), "it sends other bytes, or fewer");
    }
    for (from, cut) in [(0, 9), (0, 1), (3, 7)] {
        let answer = response("200 OK", "", &"abcdefghij"[from..cut]);
        told(get(&Script::of(&vec![answer; 4]), 0..10), "it sends other bytes, or fewer");
    }
    let missing = Script::of(&[refusal("404 Not Found", "NoSuchKey")]);
    assert_eq!(get(&missing, 2..7).unwrap(), None);
    told(get(&Script::of(&[refusal("404 Not Found", "NoSuchBucket")]), 2..7), "there is no bucket");
}

#[test]
fn a_missing_bucket_is_no_missing_object() {
    let there = response("200 OK", "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n", "")
        .split(|byte| *byte == b'\r')
        .map(|line| String::from_utf8_lossy(line).replace("Content-Length: 0", "Content-Length: 7"))
        .collect::<Vec<_>>()
        .join("\r");
    let object = Script::of(&[there.into_bytes()]).client().head("a@b/c").unwrap().unwrap();
    assert_eq!(
        (object.size, httpdate::fmt_http_date(object.modified).as_str()),
        (7, "Thu, 01 Jan 2015 00:00:00 GMT")
    );
    let none = || response("404 Not Found", "", "");
    let missing = |code| Script::of(&[none(), refusal("404 Not Found", code)]).client().head("a@b/c");
    assert_eq!(missing("NoSuchKey").unwrap(), None);
    told(missing("NoSuchBucket"), "there is no bucket media");
    let read = |code| Script::of(&[refusal("404 Not Found", code)]).client().read(".store");
    assert_eq!(read("NoSuchKey").unwrap(), None);
    told(read("NoSuchBucket"), "there is no bucket media");
    let remove = |answer| Script::of(&[answer]).client().remove("a@b/c");
    remove(gone()).unwrap();
    remove(refusal("404 Not Found", "NoSuchKey")).unwrap();
    told(remove(refusal("404 Not Found", "NoSuchBucket")), "there is no bucket media");
}

#[test]
fn a_list_goes_on_page_by_page_and_never_ends_early() {
    let page = |more: &str, entries: &str| {
        response("200 OK", "", &format!("<ListBucketResult>{more}{entries}</ListBucketResult>"))
    };
    let entry = |key| {
        format!(
            "<Contents><Key>{key}</Key><Size>3</Size><LastModified>2026-11-26T18:37:41.000Z</LastModified></Contents>"
        )
    };
    let first = page(
        "<IsTruncated>true</IsTruncated><NextContinuationToken>a b</NextContinuationToken>",
        &format!("{}<CommonPrefixes><Prefix>x@y/</Prefix></CommonPrefixes>", entry("a@b/c")),
    );
    let script = Script::of(&[first, page("<IsTruncated>false</IsTruncated>", &entry("d"))]);
    let found: Vec<_> = script
        .client()
        .list_folder("")
        .map(|entry| match entry.unwrap() {
            Entry::Object(object) => format!("{} {}", object.key, object.size),
            Entry::Folder(name) => name,
        })
        .collect();
    assert_eq!(found, ["a@b/c 3", "x@y/", "d 3"]);
    assert_eq!(
        script.lines(),
        [
            "GET /media/ delimiter=%2F&list-type=2&prefix=",
            "GET /media/ continuation-token=a%20b&delimiter=%2F&list-type=2&prefix="
        ]
    );
    for broken in [
        page("<IsTruncated>true</IsTruncated>", &entry("a")),
        page("", "<Contents><Key>a</Key></Contents>"),
        response("200 OK", "", "<ListBucketResult><Contents>"),
        response("200 OK", "", "<html><p>x</p></html>"),
    ] {
        let mut list = Script::of(&vec![broken; 4]).client().list("a@b/");
        assert!(list.next().unwrap().is_err());
        assert!(list.next().is_none(), "after an error there is nothing more");
    }
}

#[test]
fn a_copy_that_fails_late_is_no_copy() {
    let head = || response("200 OK", "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n", "");
    let done = response("200 OK", "", "<CopyObjectResult><ETag>1</ETag></CopyObjectResult>");
    let script = Script::of(&[head(), done]);
    assert!(script.client().copy("ä@b/c", ".lost/c").unwrap());
    let copied = &script.received()[1];
    assert_eq!(copied.line, "PUT /media/.lost/c");
    assert!(copied.head.contains("x-amz-copy-source: /media/%C3%A4%40b/c\r\n"), "{}", copied.head);
    let failed = response("200 OK", "", "<Error><Code>InternalError</Code></Error>");
    let script = Script::of(&[head(), failed.clone(), failed.clone(), failed.clone(), failed]);
    told(script.client().copy("a@b/c", ".lost/c"), "can't copy a@b/c to .lost/c");
    let none = Script::of(&[response("404 Not Found", "", ""), refusal("404 Not Found", "NoSuchKey")]);
    assert!(!none.client().copy("a@b/c", ".lost/c").unwrap());
}

fn begun() -> Vec<u8> {
    let id = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
    response("200 OK", "", id)
}

fn completed() -> Vec<u8> {
    response(
        "200 OK",
        "",
        "<CompleteMultipartUploadResult><ETag>\"9\"</ETag></CompleteMultipartUploadResult>",
    )
}

const BEGIN: &str = "POST /media/a%40b/c uploads=";
const COMPLETE: &str = "POST /media/a%40b/c uploadId=u1";
const ABORT: &str = "DELETE /media/a%40b/c uploadId=u1";
const REMOVE: &str = "DELETE /media/a%40b/c";

fn put_parts(responses: &[Vec<u8>]) -> (Script, Client, Result<(), Error>) {
    let (_scratch, file, hash) = file(b"0123456789");
    let script = Script::of(responses);
    let client = Client::with_parts_of(&script.settings(), 4);
    let result = client.put("a@b/c", &file, 10, &hash);
    (script, client, result)
}

fn part_line(number: u32) -> String {
    format!("PUT /media/a%40b/c partNumber={number}&uploadId=u1")
}

#[test]
fn a_large_object_goes_in_parts() {
    let slow = refusal("503 Slow Down", "SlowDown");
    let (script, _, result) = put_parts(&[begun(), stored(), slow, stored(), stored(), completed()]);
    result.unwrap();
    let lines = script.lines();
    assert_eq!(
        lines,
        [BEGIN.to_owned(), part_line(1), part_line(2), part_line(2), part_line(3), COMPLETE.to_owned()]
    );
    let received = script.received();
    let bodies: Vec<_> =
        received[1..5].iter().map(|request| String::from_utf8_lossy(&request.body)).collect();
    assert_eq!(bodies, ["0123", "4567", "4567", "89"]);
    let body = String::from_utf8_lossy(&received[5].body).into_owned();
    assert!(body.starts_with("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;1&quot;</ETag><ChecksumSHA256>"), "{body}");
    assert_eq!(body.matches("<Part>").count(), 3);
}

#[test]
fn an_upload_in_parts_that_fails_is_aborted() {
    let refused = refusal("403 Forbidden", "AccessDenied");
    let (script, _, result) = put_parts(&[begun(), stored(), refused.clone(), gone(), gone()]);
    told(result, "can't store part 2 of a@b/c");
    assert_eq!(script.lines()[3..], [ABORT, REMOVE]);
    // Stores answer a long operation with 200 before it is done.
    let late = response("200 OK", "", "<Error><Code>InternalError</Code></Error>");
    let answers = [
        begun(),
        stored(),
        stored(),
        stored(),
        late.clone(),
        late.clone(),
        late.clone(),
        late,
        gone(),
        gone(),
    ];
    let (script, client, result) = put_parts(&answers);
    told(result, "can't put the parts of a@b/c together");
    assert_eq!(script.lines()[8..], [ABORT, REMOVE]);
    assert_eq!(client.take_failed(), []);
    // The client remembers an upload that it can't abort now.
    let (_, client, result) = put_parts(&[begun(), refused.clone(), refused, gone()]);
    told(result, "can't store part 1");
    let failed = client.take_failed();
    let [Unfinished { key, id, .. }] = &failed[..] else { panic!("forgotten") };
    assert_eq!((key.as_str(), id.as_str()), ("a@b/c", "u1"));
    assert_eq!(client.take_failed(), []);
    let many = || failed.iter().cloned().cycle().take(limits::S3_FAILED - 1);
    client.remember_failed(many());
    client.remember_failed(many());
    assert_eq!(client.take_failed().len(), limits::S3_FAILED);
}

#[test]
fn parts_are_an_object_even_if_the_response_is_lost() {
    let ended = || refusal("404 Not Found", "NoSuchUpload");
    let object = |size: usize| {
        let head = response("200 OK", "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n", "");
        let head = String::from_utf8(head).unwrap();
        head.replace("Content-Length: 0", &format!("Content-Length: {size}")).into_bytes()
    };
    let parts = [begun(), stored(), stored(), stored()];
    let (_, _, result) = put_parts(&[&parts[..], &[Vec::new(), ended(), object(10)]].concat());
    result.unwrap();
    let (_, _, result) = put_parts(&[&parts[..], &[Vec::new(), ended(), object(9), gone(), gone()]].concat());
    told(result, "NoSuchUpload");
    let (_, _, result) = put_parts(&[&parts[..], &[ended(), gone(), gone()]].concat());
    told(result, "NoSuchUpload");
}

/// A page of the list of uploads that have not ended, with one.
fn page(more: &str, id: &str) -> Vec<u8> {
    let upload = format!(
        "<Upload><Key>a@b/c</Key><UploadId>{id}</UploadId><Initiated>2026-11-26T18:37:41Z</Initiated></Upload>"
    );
    response(
        "200 OK",
        "",
        &format!("<ListMultipartUploadsResult>{more}{upload}</ListMultipartUploadsResult>"),
    )
}

#[test]
fn an_upload_in_parts_that_runs_is_not_listed_as_unfinished() {
    let script = Script::of(&[begun(), page("", "u1"), gone(), page("", "u1")]);
    let client = script.client();
    let failed = client.in_parts("a@b/c", 1, 1, true, |_, _, _| {
        assert_eq!(client.unfinished().unwrap(), []);
        Err(Error::new(Kind::Failure, "on purpose"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "on purpose");
    assert_eq!(client.unfinished().unwrap().len(), 1, "it does not run any more");
    assert_eq!(script.lines(), [BEGIN, "GET /media/ uploads=", ABORT, "GET /media/ uploads="]);
}

#[test]
fn uploads_that_never_ended_are_listed_and_aborted() {
    let more = "<IsTruncated>true</IsTruncated><NextKeyMarker>a@b/c</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>";
    let script =
        Script::of(&[page(more, "1"), page("", "2"), gone(), refusal("404 Not Found", "NoSuchUpload")]);
    let client = script.client();
    let found = client.unfinished().unwrap();
    assert_eq!(found.iter().map(|upload| upload.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    found.iter().for_each(|upload| client.abort(upload).unwrap());
    assert_eq!(
        script.lines(),
        [
            "GET /media/ uploads=",
            "GET /media/ key-marker=a%40b%2Fc&upload-id-marker=1&uploads=",
            "DELETE /media/a%40b/c uploadId=1",
            "DELETE /media/a%40b/c uploadId=2",
        ]
    );
}

#[test]
fn a_bucket_that_may_be_the_wrong_one_is_only_read() {
    let (_scratch, file, hash) = file(b"four");
    let object = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\
                  Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n\r\n";
    let script = Script::of(&[object.as_bytes().to_vec(), response("200 OK", "", "four"), stored()]);
    let client = script.client();
    client.set_may_change(false);
    let unfinished =
        Unfinished { key: "a@b/c".to_owned(), id: "1".to_owned(), begun: SystemTime::UNIX_EPOCH };
    for refused in [
        client.put("a@b/c", &file, 4, &hash),
        client.put_lasting("a@b/c", &file, 4, &hash),
        client.put_bytes(".store", b"id"),
        client.put_parts("a@b/c", &file, 4),
        client.remove("a@b/c"),
        client.abort(&unfinished),
        client.copy("a@b/c", ".lost/c").map(drop),
        client.try_out(),
    ] {
        told(refused, "nothing is changed in the bucket");
    }
    assert_eq!(client.read("a@b/c").unwrap().as_deref(), Some(&b"four"[..]));
    assert_eq!(script.lines(), ["HEAD /media/a%40b/c", "GET /media/a%40b/c"]);
    client.set_may_change(true);
    client.put("a@b/c", &file, 4, &hash).unwrap();
}

#[test]
fn an_address_for_others_counts_for_a_minute_at_most() {
    let client = Client::new(&settings("https://s3.example.org/base/")).unwrap();
    let address = |seconds| {
        client.presigned("a@b/c", Duration::from_secs(seconds), &[("response-content-type", "image/png")])
    };
    assert!(address(10).starts_with("https://s3.example.org/base/media/a%40b/c?"), "{}", address(10));
    assert!(
        address(10).contains("X-Amz-Expires=10&")
            && address(10).contains("response-content-type=image%2Fpng")
    );
    assert!(address(3600).contains("X-Amz-Expires=60&") && address(0).contains("X-Amz-Expires=1&"));
    assert!(!address(10).contains(SECRET));
    assert!(limits::S3_PRESIGNED <= Duration::from_secs(60));
    assert!(!format!("{client:?}").contains(SECRET));
}

#[test]
fn a_file_that_can_not_be_read_is_not_the_fault_of_the_store() {
    let (_scratch, file, hash) = file(b"four");
    let longer = Script::of(&[stored(), gone()]).client().put("a@b/c", &file, 5, &hash).unwrap_err();
    assert!(longer.to_string().starts_with("can't read the bytes to store"), "{longer}");
    assert_eq!(longer.kind(), Kind::Failure);
    assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 4);
}

#[test]
fn a_connection_serves_several_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let store = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let part =
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-3/8\r\nContent-Length: 4\r\n\r\nabcd";
        let stored = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 0\r\n\r\n";
        let head =
            "HTTP/1.1 200 OK\r\nLast-Modified: Fri, 13 Nov 2026 10:00:00 GMT\r\nContent-Length: 8\r\n\r\n";
        for response in [part, stored, part, head, part] {
            receive(&mut socket);
            socket.write_all(response.as_bytes()).unwrap();
        }
    });
    let client = Client::new(&settings(&endpoint)).unwrap();
    let get = || {
        let mut bytes = Vec::new();
        assert!(client.get("a/b", 0..4, 8, &mut bytes).unwrap());
        assert_eq!(bytes, b"abcd");
    };
    get();
    client.put_bytes("a/c", b"bytes").unwrap();
    get();
    assert_eq!(client.head("a/b").unwrap().unwrap().size, 8);
    get();
    store.join().unwrap();
}
