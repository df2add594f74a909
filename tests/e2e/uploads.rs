//! Files that are sent by slot (XEP-0363): `/upload` and `/external`. The slots are granted by the server's own code in this
//! process, on the server's database.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use media_server::uploads::{Purpose, Slot, SlotRequest};
use sha2::Sha256;

use crate::support::granter::{Granter, request};
use crate::support::http::{Answer, Raw, Request};
use crate::support::media::file;
use crate::support::server::{Server, Xmpp};
use crate::support::{free_port, wait_for};

const SECRET: &str = "a secret of 16 bytes or more";

/// A server without an XMPP server: what it serves here needs none.
struct Bench {
    server: Server,
    slots: Granter,
}

impl Bench {
    fn start(settings: &[(&str, &str)]) -> Self {
        let xmpp = Xmpp { client_port: free_port(), component_port: free_port() };
        let usual = [("upload.enabled", "true"), ("http.endpoint", "http://127.0.0.1")];
        let kept = usual.into_iter().filter(|(key, _)| !settings.iter().any(|(other, _)| other == key));
        let server = Server::start(xmpp, &kept.chain(settings.iter().copied()).collect::<Vec<_>>());
        let endpoint = format!("http://127.0.0.1:{}", server.port());
        let slots = Granter::new(&server.configuration(), &endpoint);
        Self { server, slots }
    }

    fn put(&self, slot: &Slot, bytes: &[u8]) -> Answer {
        put(&slot.put_url, bytes, &[])
    }

    /// Stores a text.
    fn store(&self, name: &str, bytes: &[u8], mime_type: &str) -> Slot {
        let slot = self.slots.slot(name, bytes.len(), mime_type);
        self.put(&slot, bytes).expect(201);
        slot
    }

    /// Every file of an upload, and those of uploads that are under way.
    fn files(&self) -> Vec<PathBuf> {
        let list = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
        let storage = self.server.storage();
        let folders = list(storage.join(".uploads")).map(|entry| entry.path());
        let stored = folders.flat_map(list).map(|entry| entry.path());
        let temporary = list(storage).map(|entry| entry.path());
        let is_temporary = |path: &PathBuf| path.to_string_lossy().contains("/.upload-");
        stored.chain(temporary.filter(is_temporary)).collect()
    }

    fn connect(&self) -> Raw {
        Raw::connect(self.server.port())
    }

    /// The path and query of one of its addresses.
    fn path(&self, url: &str) -> String {
        let endpoint = format!("http://127.0.0.1:{}", self.server.port());
        url.strip_prefix(&endpoint).expect("it is an address of this server's").to_owned()
    }
}

/// Sends a file by PUT, with these arguments of curl's.
pub fn put(url: &str, bytes: &[u8], arguments: &[&str]) -> Answer {
    let sent = file("sent", bytes);
    let data = format!("@{}", sent.path().display());
    let request = Request::new("PUT", url).with(&["--data-binary", &data]).with(arguments);
    // curl would name a type of its own.
    let request = if arguments.iter().any(|argument| argument.starts_with("Content-Type")) {
        request
    } else {
        request.with(&["-H", "Content-Type:"])
    };
    request.send()
}

/// An address with another last character.
fn another(url: &str) -> String {
    let (rest, last) = url.split_at(url.len() - 1);
    format!("{rest}{}", if last == "A" { "B" } else { "A" })
}

#[test]
fn a_file_that_is_sent_by_slot_is_served_as_it_was_sent() {
    let bench = Bench::start(&[]);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let slot = bench.slots.slot("Büro 50% #1.jpg", bytes.len(), "Image/JPEG; x=1");
    Request::get(&slot.get_url).send().expect(404);
    let stored = put(&slot.put_url, &bytes, &["-H", "Content-Type: text/html"]).expect(201);
    assert_eq!(stored.header("access-control-allow-origin"), Some("*"));
    let answer = Request::get(&slot.get_url).header("Origin", "https://a.example").send().expect(200);
    assert!(answer.body == bytes, "{} bytes came back", answer.body.len());
    for (name, value) in [
        ("content-type", "Image/JPEG; x=1"),
        ("content-length", "3000000"),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "public, max-age=86400"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert!(answer.header("content-security-policy").is_some_and(|policy| policy.starts_with("sandbox")));
    let disposition = answer.header("content-disposition").expect("there is one");
    assert!(disposition.starts_with("inline; filename=\"B_ro 50_ #1.jpg\""), "{disposition}");
    let head = Request::new("HEAD", &slot.get_url).send().expect(200);
    assert_eq!((head.header("content-length"), head.body.len()), (Some("3000000"), 0));

    let (id, _) = slot.get_url.rsplit_once('/').expect("it has a name");
    for (url, status) in [
        (format!("{id}/another%20name"), 200),
        (slot.put_url.clone(), 200),
        (id.to_owned(), 404),
        (format!("{id}/"), 404),
        (format!("{id}/a/b"), 404),
        (format!("{}/a", another(id)), 404),
    ] {
        assert_eq!(Request::new("HEAD", &url).send().status, status, "{url}");
    }
    Request::new("DELETE", &slot.get_url).send().expect(405);
}

#[test]
fn ranges_and_conditions_count() {
    let bench = Bench::start(&[]);
    let slot = bench.store("a.bin", b"0123456789", "application/octet-stream");
    let get = || Request::get(&slot.get_url);
    let part = get().header("Range", "bytes=7-").send().expect(206);
    assert_eq!((part.text().as_str(), part.header("content-range")), ("789", Some("bytes 7-9/10")));
    let beyond = get().header("Range", "bytes=10-").send().expect(416);
    assert_eq!(beyond.header("content-range"), Some("bytes */10"));
    assert_eq!(beyond.header("content-type"), Some("text/plain; charset=utf-8"));
    let etag = get().send().expect(200).header("etag").expect("it has one").to_owned();
    assert_eq!(get().header("If-None-Match", &etag).send().status, 304);
    get().header("If-Match", "\"other\"").send().expect(412);
    let resumed = get().header("Range", "bytes=5-").header("If-Range", &etag).send();
    assert_eq!(resumed.expect(206).text(), "56789");
}

#[test]
fn pages_of_every_origin_may_use_slots() {
    let bench = Bench::start(&[("http.cors.origins", "https://only.example")]);
    let slot = bench.slots.slot("a.txt", 1, "text/plain");
    let preflight = Request::new("OPTIONS", &slot.put_url)
        .header("Origin", "https://a.example")
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "content-type")
        .send()
        .expect(200);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, HEAD, PUT, OPTIONS"));
    let allowed =
        preflight.header("access-control-allow-headers").expect("there are some").to_ascii_lowercase();
    assert!(allowed.contains("content-type") && allowed.contains("authorization"), "{allowed}");
    for answer in [bench.put(&slot, b"x"), bench.put(&slot, b"y"), Request::get(&slot.get_url).send()] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{}", answer.status);
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

#[test]
fn a_refused_put_stores_nothing_and_says_why_in_a_sentence() {
    let bench = Bench::start(&[]);
    let slot = bench.slots.slot("a.txt", 5, "text/plain");
    let (url, token) = slot.put_url.split_once("?slot=").expect("it has a token");
    let (id, name) = url.rsplit_once('/').expect("it has a name");
    let mut refused = vec![
        (url.to_owned(), &b"12345"[..], 403),
        (format!("{url}?slot="), b"12345", 403),
        (format!("{url}?slot={token}="), b"12345", 403),
        (format!("{url}?slot={token}A"), b"12345", 403),
        (format!("{id}/other.txt?slot={token}"), b"12345", 403),
        (format!("{}/{name}?slot={token}", another(id)), b"12345", 403),
        (slot.put_url.clone(), b"1234", 400),
        (slot.put_url.clone(), b"123456", 400),
        (slot.put_url.clone(), b"", 400),
    ];
    for place in (0..token.len()).step_by(7) {
        let mut changed = token.as_bytes().to_vec();
        changed[place] = if changed[place] == b'A' { b'Q' } else { b'A' };
        refused.push((format!("{url}?slot={}", String::from_utf8_lossy(&changed)), b"12345", 403));
    }
    for (url, bytes, status) in refused {
        let answer = put(&url, bytes, &[]).expect(status);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{url}");
        let text = answer.text();
        assert!(text.ends_with('.') && !text.contains(['{', '\n']), "{text}");
    }
    let answer = put(url, b"12345", &["-H", "Accept: application/json"]).expect(403);
    assert_eq!(answer.member("title"), "Upload not allowed");
    let chunked = put(&slot.put_url, b"12345", &["-H", "Transfer-Encoding: chunked"]);
    assert_eq!(chunked.status, 411);
    let part = put(&slot.put_url, b"12345", &["-H", "Content-Range: bytes 0-4/9"]);
    assert_eq!(part.status, 400);
    assert_eq!(bench.files(), Vec::<PathBuf>::new());
    Request::get(&slot.get_url).send().expect(404);

    // A body that is cut leaves the slot as it was.
    let mut raw = bench.connect();
    raw.send(format!("PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12", bench.path(&slot.put_url)));
    raw.end();
    assert_eq!(raw.answer().map(|answer| answer.status), Some(400));
    assert_eq!(bench.files(), Vec::<PathBuf>::new());
    bench.put(&slot, b"12345").expect(201);
    bench.put(&slot, b"12345").expect(201);
    bench.put(&slot, b"54321").expect(409);
    assert_eq!(bench.files().len(), 1);
}

#[test]
fn of_several_puts_the_first_to_end_wins_and_none_waits_for_another() {
    let bench = Bench::start(&[]);
    let slot = bench.slots.slot("a.txt", 5, "text/plain");
    let path = bench.path(&slot.put_url);
    let begin = |first: &str| {
        let mut raw = bench.connect();
        raw.send(format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{first}"));
        raw
    };
    let (mut slow, mut winner, mut same) = (begin("slow"), begin("first"), begin("firs"));
    assert_eq!(winner.answer().map(|answer| answer.status), Some(201));
    assert_eq!(Request::get(&slot.get_url).send().text(), "first");
    assert_eq!(slow.send("!").answer().map(|answer| answer.status), Some(409));
    assert_eq!(same.send("t").answer().map(|answer| answer.status), Some(201));
    let at_once: Vec<u16> = std::thread::scope(|scope| {
        let slot = bench.slots.slot("b.txt", 1, "text/plain");
        let put = |number: u8| {
            let url = slot.put_url.clone();
            scope.spawn(move || put(&url, &[number], &[]).status)
        };
        let puts: Vec<_> = (0..8).map(put).collect();
        puts.into_iter().map(|put| put.join().expect("it ends")).collect()
    });
    assert_eq!(at_once.iter().filter(|status| **status == 201).count(), 1, "{at_once:?}");
    assert!(at_once.iter().all(|status| [201, 409].contains(status)), "{at_once:?}");
    assert_eq!(bench.files().len(), 2);
}

#[test]
fn an_ephemeral_file_is_gone_at_its_stamp_and_removed_soon_after() {
    let bench = Bench::start(&[]);
    let stamp = SystemTime::now() + Duration::from_secs(3);
    let wanted = SlotRequest {
        purpose: Some(Purpose::Ephemeral),
        expire_before: Some(stamp.into()),
        ..request("a.txt", 3, "text/plain")
    };
    let slot = bench.slots.ask(wanted).expect("there is a slot");
    bench.put(&slot, b"one").expect(201);
    let kept = bench.store("b.txt", b"two", "text/plain");
    let answer = Request::get(&slot.get_url).send().expect(200);
    let age = answer.header("cache-control").expect("there is one").trim_start_matches("public, max-age=");
    assert!(age.parse::<u64>().is_ok_and(|age| age < 3), "{age}");
    wait_for("the file to be gone", || {
        let asked = SystemTime::now();
        let status = Request::get(&slot.get_url).send().status;
        let answered = SystemTime::now();
        match status {
            200 => assert!(asked < stamp, "it is served after its stamp"),
            _ => assert!(status == 404 && answered >= stamp, "{status}"),
        }
        (status == 404).then_some(())
    });
    assert_eq!(bench.put(&slot, b"one").status, 403);
    wait_for("the file to be removed", || (bench.files().len() == 1).then_some(()));
    Request::get(&kept.get_url).send().expect(200);
    bench.server.wait_log("has expired");
}

#[test]
fn logs_show_the_beginning_of_an_address_only() {
    let bench = Bench::start(&[
        ("logging.level", "debug"),
        ("upload.external.secret", SECRET),
        ("upload.external.protocol", "jwt"),
    ]);
    let slot = bench.store("secret name.txt", b"bytes", "text/plain");
    Request::get(&slot.get_url).send().expect(200);
    let escaped = slot.get_url.replace("/upload/", "/%75pload/");
    Request::get(&escaped).send().expect(200);
    Request::get(&format!("http://127.0.0.1:{}/external/abcdefghijkl/name", bench.server.port()))
        .send()
        .expect(404);
    let id = slot.get_url.split('/').nth(4).expect("it has an id").to_owned();
    for line in ["PUT", "GET"].map(|method| format!("{method} /upload/{}... ", &id[..6])) {
        bench.server.wait_log(&line);
    }
    bench.server.wait_log("GET /external/abcdef... ");
    let log = bench.server.log();
    assert!(log.contains("alice@example.org PUT"), "{log}");
    for secret in [&id[..7], "secret%20name", "secret name", "abcdefg", "slot="] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// A token of Prosody's `mod_http_file_share`.
fn jwt(claims: &str, secret: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(r#"{"typ":"JWT","alg":"HS256"}"#), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[test]
fn slots_of_prosody_are_served() {
    let bench = Bench::start(&[
        ("upload.enabled", "false"),
        ("upload.external.secret", SECRET),
        ("upload.external.protocol", "jwt"),
        ("upload.deny", "bob@example.org"),
    ]);
    let base = format!("http://127.0.0.1:{}/external", bench.server.port());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_secs();
    let claims = |user: &str, slot: &str, exp: u64| {
        format!(
            r#"{{"slot":"{slot}","iat":{now},"exp":{exp},"sub":"{user}@example.org","filename":"ü.jpg",
            "filesize":5,"filetype":"image/jpeg","expires":{}}}"#,
            now + 3600
        )
    };
    let send = |url: &str, claims: &str, secret: &str, bytes: &[u8]| {
        put(url, bytes, &["-H", &format!("Authorization: Bearer {}", jwt(claims, secret))])
    };
    let url = format!("{base}/s1/%C3%BC.jpg");
    let good = claims("alice", "s1", now + 300);
    send(&url, &good, "another secret, as long", b"12345").expect(403);
    send(&url, &good, SECRET, b"1234").expect(400);
    send(&url, &claims("alice", "s1", now), SECRET, b"12345").expect(403);
    send(&url, &claims("alice", "s2", now + 300), SECRET, b"12345").expect(403);
    let denied = send(&url, &claims("bob", "s1", now + 300), SECRET, b"12345").expect(403);
    assert_eq!(denied.text(), "You may not send files to this server.");
    put(&url, b"12345", &[]).expect(403);
    assert_eq!(bench.files(), Vec::<PathBuf>::new());
    send(&url, &good, SECRET, b"12345").expect(201);
    send(&url, &good, SECRET, b"12345").expect(201);
    send(&url, &good, SECRET, b"54321").expect(409);
    let answer = Request::get(&url).send().expect(200);
    assert_eq!((answer.text().as_str(), answer.header("content-type")), ("12345", Some("image/jpeg")));
    let age = answer.header("cache-control").expect("there is one").trim_start_matches("public, max-age=");
    assert!(age.parse::<u64>().is_ok_and(|age| age <= 3600), "{age}");
    // Slots of ours are switched off.
    let own = bench.slots.slot("a.txt", 1, "text/plain");
    assert_eq!(bench.put(&own, b"x").status, 403);
}

#[test]
fn an_upload_answered_201_outlives_the_server() {
    let mut bench = Bench::start(&[]);
    let slot = bench.store("a.txt", b"bytes", "text/plain");
    let unused = bench.slots.slot("b.txt", 3, "text/plain");
    bench.server.kill();
    bench.server.start_again();
    assert_eq!(Request::get(&slot.get_url).send().expect(200).text(), "bytes");
    bench.put(&slot, b"bytes").expect(201);
    bench.put(&unused, b"new").expect(201);
    bench.server.stop();
}
