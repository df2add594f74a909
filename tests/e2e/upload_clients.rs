//! Uploads by slot with the clients that people use, through Prosody and through ejabberd; and with scripts that do what
//! other clients do.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::site::{photo, photo_bytes, unique, xmpp_of};
use crate::slots::UPLOADS;
use crate::support::child::{Guarded, run};
use crate::support::ejabberd::Ejabberd;
use crate::support::gateway::Gateway;
use crate::support::http::{Raw, Request};
use crate::support::prosody::{ABSENT, COMPONENT, DOMAIN, PASSWORD, Prosody};
use crate::support::python::python;
use crate::support::scratch::Scratch;
use crate::support::server::{Server, Xmpp};
use crate::support::slot::{PURPOSE, Slot, UPLOAD, ask, ask_for};
use crate::support::stanza::Stanza;
use crate::support::xmpp_client::{Client, Policy};
use crate::support::{free_port, wait_for};

/// A media server with an upload service, on an XMPP server that offers TLS.
struct Site {
    xmpp: Xmpp,
    server: Server,
    login: Box<dyn Fn(&str) -> Client + Send + Sync>,
}

impl Site {
    fn on_prosody() -> &'static Self {
        static SITE: OnceLock<Site> = OnceLock::new();
        SITE.get_or_init(|| {
            let prosody = Prosody::start_with_tls();
            Self::start(xmpp_of(&prosody), move |user| prosody.login(DOMAIN, user, Policy::Ignore))
        })
    }

    fn on_ejabberd() -> &'static Self {
        static SITE: OnceLock<Site> = OnceLock::new();
        SITE.get_or_init(|| {
            let ejabberd = Ejabberd::start();
            Self::start(ejabberd.xmpp(), move |user| {
                ejabberd.login(&format!("{user}@{DOMAIN}"), Policy::Ignore)
            })
        })
    }

    fn start(xmpp: Xmpp, login: impl Fn(&str) -> Client + Send + Sync + 'static) -> Self {
        let settings = [&UPLOADS[..], &[("upload.purpose.prefixes", "true")]].concat();
        let site = Self { xmpp, server: Server::start(xmpp, &settings), login: Box::new(login) };
        let user = site.user();
        wait_for("the component to reply", || {
            let pong =
                user.ask("get", COMPONENT, "<ping xmlns='urn:xmpp:ping'/>").expect("a reply or a bounce");
            (pong.attribute("type") == "result").then_some(())
        });
        site
    }

    fn both() -> [&'static Self; 2] {
        [Self::on_prosody(), Self::on_ejabberd()]
    }

    /// Logs in a user nobody else is.
    fn user(&self) -> Client {
        (self.login)(&unique("user"))
    }

    /// A slot for a file of this name, size and type.
    fn slot(&self, name: &str, size: usize, kind: &str) -> Slot {
        ask_for(&self.user(), COMPONENT, name, size, kind).expect("a slot")
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.xmpp.client_port)
    }

    /// Asserts that an address is one of ours, and that the photo is there, with the type that a client looks for.
    #[track_caller]
    fn assert_photo(&self, url: &str) {
        let start = format!("http://127.0.0.1:{}/upload/", self.server.port());
        assert!(url.starts_with(&start), "{url}");
        let answer = Request::get(url).send().expect(200);
        assert_eq!(answer.body, photo_bytes());
        assert_eq!(answer.header("content-type"), Some("image/jpeg"));
    }
}

/// Uploads a file with slixmpp; gives the exit status and what was printed.
fn slixmpp(site: &Site, user: &str, file: &Path, purpose: &str) -> (i32, String) {
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/upload-by-slot.py").display().to_string();
    let (jid, address, file) = (format!("{user}@{DOMAIN}"), site.address(), file.display().to_string());
    let python = python();
    let command = [&python, &script, &jid, PASSWORD, &address, &file, purpose];
    run(&command[..if purpose.is_empty() { 6 } else { 7 }])
}

#[test]
fn slixmpp_uploads_with_every_purpose() {
    let names: fn(&Site) -> String =
        |site| (site.user().bare().split('@').next().expect("a local part")).to_owned();
    for site in Site::both() {
        let user = names(site);
        for purpose in ["", "message", "profile", "ephemeral", "permanent"] {
            let (status, printed) = slixmpp(site, &user, &photo(), purpose);
            assert_eq!(status, 0, "{purpose}: {printed}");
            site.assert_photo(printed.trim());
        }
        // It reads the size that is announced.
        let scratch = Scratch::new();
        let large = fs::File::create(scratch.join("large")).expect("the scratch directory takes files");
        large.set_len(104_857_600 + 18).expect("it may have holes");
        let (status, printed) = slixmpp(site, &user, &scratch.join("large"), "");
        assert_eq!(status, 1, "{printed}");
        assert!(printed.contains("FileTooBig"), "{printed}");
    }
}

/// The address that a client sent to this user, in the body and as out-of-band data (XEP-0066).
fn received(user: &Client) -> String {
    let message = user.take(|stanza| stanza.all("body").iter().any(|body| body.text.starts_with("http")));
    let message = message.expect("the client sends the address");
    let url = message.all("body")[0].text.clone();
    assert_eq!(message.all("url").first().map(|oob| oob.text.clone()), Some(url.clone()), "{message:?}");
    url
}

#[test]
fn go_sendxmpp_uploads_and_sends_the_address() {
    for site in Site::both() {
        let (sender, recipient) = (site.user(), site.user());
        let (address, file) = (site.address(), photo().display().to_string());
        let command = ["go-sendxmpp", "-n", "-u", sender.bare(), "-p", PASSWORD, "-j", &address, "-h", &file];
        let (status, printed) = run(&[&command[..], &[recipient.bare()]].concat());
        assert_eq!(status, 0, "{printed}");
        site.assert_photo(&received(&recipient));
    }
}

#[test]
fn profanity_uploads_in_a_terminal() {
    for site in Site::both() {
        let (sender, recipient) = (site.user(), site.user());
        let scratch = Scratch::new();
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/profanity.py").display().to_string();
        let (folder, port) = (scratch.path().display().to_string(), site.xmpp.client_port.to_string());
        let file = photo().display().to_string();
        let command = [
            "/usr/bin/python3",
            &script,
            &folder,
            sender.bare(),
            PASSWORD,
            &port,
            COMPONENT,
            recipient.bare(),
            &file,
        ];
        let (status, printed) = run(&command);
        assert_eq!(status, 0, "{printed}");
        site.assert_photo(&received(&recipient));
    }
}

#[test]
fn gajim_s_library_uploads() {
    for site in Site::both() {
        let user = site.user();
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/support/nbxmpp_upload.py")
            .display()
            .to_string();
        let (address, file) = (site.address(), photo().display().to_string());
        let command = ["/usr/bin/python3", &script, user.bare(), PASSWORD, &address, &file, "image/jpeg"];
        let (status, printed) = run(&command);
        assert_eq!(status, 0, "{printed}");
        // The library's own warnings may stand before or behind it.
        let url = printed.lines().find(|line| line.starts_with("http"));
        site.assert_photo(url.unwrap_or_else(|| panic!("no address: {printed}")));
    }
}

/// The location of `examples/nginx.conf`, in front of a server on this port.
fn nginx(scratch: &Scratch, port: u16, backend: u16) -> Guarded {
    let example = include_str!("../../examples/nginx.conf");
    let (_, location) = example.split_once("\tlocation / {").expect("the example has a location");
    let location = location.rsplit_once('}').expect("the server's end").0;
    let location = location.replace("127.0.0.1:8080", &format!("127.0.0.1:{backend}"));
    let folder = scratch.path().display();
    // Its workers would be another user's, to whom the scratch directory may be closed.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let config = format!(
        "daemon off; {user} pid {folder}/pid; error_log {folder}/error.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
         server {{ listen 127.0.0.1:{port};\n location / {{{location} }} }}\n"
    );
    let path = scratch.join("nginx.conf").display().to_string();
    fs::write(&path, config).expect("the scratch directory takes files");
    let log = scratch.join("error.log").display().to_string();
    let mut nginx =
        Guarded::start(&["/usr/sbin/nginx", "-e", &log, "-c", &path], &[], &scratch.join("output"));
    wait_for("nginx to listen", || {
        assert!(nginx.ended().is_none(), "nginx ended:\n{}", nginx.printed());
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    nginx
}

#[test]
fn the_example_of_nginx_passes_large_uploads_on_as_they_come() {
    let (scratch, port) = (Scratch::new(), free_port());
    let endpoint = format!("http://127.0.0.1:{port}");
    let site = crate::site::Site::start(&[
        ("upload.enabled", "true"),
        ("http.endpoint", &endpoint),
        ("http.trusted.proxies", "127.0.0.1"),
    ]);
    let _nginx = nginx(&scratch, port, site.server.port());
    let bytes = fs::read(file(&scratch, 3_000_000)).expect("the file is there");
    let slot = ask_for(&site.user(), COMPONENT, "a b.bin", bytes.len(), "image/jpeg").expect("a slot");
    let target = slot.put.strip_prefix(&endpoint).expect("an address of nginx");
    let mut raw = Raw::connect(port);
    raw.send(format!("PUT {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", bytes.len()));
    raw.send(&bytes[..2_000_000]);
    // The server has the first part before the last is sent: nginx keeps nothing back.
    wait_for("the first part of the upload", || {
        let storage = fs::read_dir(site.server.storage()).expect("the storage is there").flatten();
        let mut names = storage.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.any(|name| name.starts_with(".upload-")).then_some(())
    });
    raw.send(&bytes[2_000_000..]);
    assert_eq!(raw.final_answer().expect("an answer").status, 201);
    assert_eq!(Request::get(&slot.get).send().expect(200).body, bytes);
}

/// A file of this size.
fn file(scratch: &Scratch, size: usize) -> PathBuf {
    let path = scratch.join("file");
    let bytes: Vec<u8> = (0..=255).cycle().take(size).collect();
    fs::write(&path, bytes).expect("the scratch directory takes files");
    path
}

#[test]
fn the_type_of_the_slot_is_served_whatever_type_the_put_has() {
    let (site, scratch) = (Site::on_prosody(), Scratch::new());
    let file = file(&scratch, 1000);
    for (client, slot_type, put_type, served) in [
        ("Movim and Libervia send no type", "image/jpeg", "", "image/jpeg"),
        ("Converse sends an empty type", "image/png", ";", "image/png"),
        ("Smack always sends the same type", "video/mp4", "application/octet-stream", "video/mp4"),
        (
            "Conversations and Gajim encrypt, and send the type of the plain text",
            "image/jpeg",
            "image/jpeg",
            "image/jpeg",
        ),
        (
            "Fluux hides the type of what it encrypts",
            "application/octet-stream",
            "application/octet-stream",
            "application/octet-stream",
        ),
        ("Gajim compares the whole type", "text/html", "text/html", "text/html"),
    ] {
        let slot = site.slot("file.bin", 1000, slot_type);
        let field = match put_type {
            "" => "Content-Type:".to_owned(), // curl's way to leave a field out
            ";" => "Content-Type;".to_owned(),
            other => format!("Content-Type: {other}"),
        };
        let answer = slot.request(&file).with(&["-H", &field]).send();
        assert_eq!(answer.status, 201, "{client}: {}", answer.text());
        let read = Request::get(&slot.get).send().expect(200);
        assert_eq!(read.header("content-type"), Some(served), "{client}");
        assert_eq!(read.body, fs::read(&file).expect("the file is there"), "{client}");
    }
    let slot = ask(&site.user(), COMPONENT, &[("filename", "a"), ("size", "1000")], "").expect("a slot");
    slot.upload(&file).expect(201);
    assert_eq!(Request::get(&slot.get).send().header("content-type"), Some("application/octet-stream"));
}

#[test]
fn siskin_counts_201_only_and_pidgin_writes_http_1_0_by_hand() {
    let site = Site::on_prosody();
    let slot = site.slot("a.txt", 5, "text/plain");
    let target = slot.put.splitn(4, '/').nth(3).expect("a path").to_owned();
    let mut raw = Raw::connect(site.server.port());
    // Pidgin's plug-in misspells the name of a field that nobody needs here.
    raw.send(format!(
        "PUT /{target} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorisation: x\r\nContent-Length: 5\r\n\r\nhello"
    ));
    let answer = raw.answer().expect("an answer");
    assert_eq!(answer.status, 201);
    assert!(answer.text().len() < 100, "nobody reads it: {}", answer.text());
}

#[test]
fn files_of_exactly_the_limit_pass_encrypted_and_with_clients_that_compare_strictly() {
    let settings = [&UPLOADS[..], &[("upload.sizelimit", "1000")]].concat();
    let site = crate::site::Site::start(&settings);
    let (user, scratch) = (site.user(), Scratch::new());
    let query = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    let info = user.ask("get", COMPONENT, query).expect("the component replies");
    let field = |field: &&Stanza| field.attribute("var") == "max-file-size";
    let announced = info.all("field").into_iter().find(field).expect("a size").children[0].text.clone();
    let announced: usize = announced.parse().expect("a number");
    // With OMEMO 16 bytes are added (XEP-0454). Dino, Siskin and Psi compare size < announced.
    assert!(1000 + 16 < announced);
    for size in [1000, 1016, announced] {
        let slot = ask_for(&user, COMPONENT, "a", size, "image/jpeg").expect("a slot");
        slot.upload(&file(&scratch, size)).expect(201);
    }
    assert!(ask_for(&user, COMPONENT, "a", announced + 1, "image/jpeg").is_err());
}

#[test]
fn conversations_asks_with_head_first_and_resumes_what_broke_off() {
    let (site, scratch) = (Site::on_prosody(), Scratch::new());
    let file = file(&scratch, 70_000);
    let slot = site.slot("film.mp4", 70_000, "video/mp4");
    slot.upload(&file).expect(201);
    for field in [("Accept-Encoding", "identity"), ("Accept", "*/*")] {
        let head = Request::new("HEAD", &slot.get).header(field.0, field.1).send().expect(200);
        assert_eq!(head.header("content-length"), Some("70000"));
        assert_eq!(head.header("content-type"), Some("video/mp4"));
    }
    let rest = Request::get(&slot.get).header("Range", "bytes=60000-").send().expect(206);
    assert_eq!(rest.header("content-range"), Some("bytes 60000-69999/70000"));
    assert_eq!(rest.body, fs::read(&file).expect("the file is there")[60_000..]);
    // Before the upload there is nothing, and no redirect: Movim's proxy follows none.
    let other = site.slot("film.mp4", 70_000, "video/mp4");
    Request::new("HEAD", &other.get).send().expect(404);
}

#[test]
fn browsers_may_upload_and_read_and_people_read_why_not() {
    let (site, scratch) = (Site::on_prosody(), Scratch::new());
    let (file, slot) = (file(&scratch, 1000), site.slot("a.txt", 1000, "text/plain"));
    let preflight = Request::new("OPTIONS", &slot.put)
        .header("Origin", "https://converse.example")
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "content-type,authorization")
        .send();
    assert!(matches!(preflight.status, 200 | 204), "{}", preflight.status);
    let allows = |name: &str| preflight.header(name).unwrap_or_default().to_ascii_lowercase();
    assert_eq!(allows("access-control-allow-origin"), "*");
    assert!(allows("access-control-allow-methods").contains("put"));
    let fields = allows("access-control-allow-headers");
    assert!(fields.contains("content-type") && fields.contains("authorization"), "{fields}");
    let from_page = |request: Request| {
        let answer = request.header("Origin", "https://converse.example").send();
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        answer
    };
    from_page(slot.request(&file)).expect(201);
    from_page(Request::get(&slot.get)).expect(200);
    // Converse shows the body of a refusal to people.
    let wrong = site.slot("a.txt", 999, "text/plain");
    let refused = from_page(wrong.request(&file));
    assert!((400..500).contains(&refused.status), "{}", refused.status);
    assert!(refused.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert!(refused.text().trim_end().ends_with('.') && !refused.text().contains('{'), "{}", refused.text());
}

#[test]
fn movim_names_its_purposes_before_the_name_of_a_file() {
    let (site, scratch) = (Site::on_prosody(), Scratch::new());
    let file = file(&scratch, 10);
    let max_age = |name: &str, more: &str| {
        let attributes = [("filename", name), ("size", "10"), ("content-type", "image/webp")];
        let slot = ask(&site.user(), COMPONENT, &attributes, more).expect("a slot");
        slot.upload(&file).expect(201);
        let answer = Request::get(&slot.get).send().expect(200);
        let cache = answer.header("cache-control").unwrap_or_default().to_owned();
        let (_, age) = cache.split_once("max-age=").unwrap_or_else(|| panic!("{cache}"));
        age.split(',').next().expect("a split gives one part").trim().parse::<u64>().expect("seconds")
    };
    const DAY: u64 = 86_400;
    // A story is gone after a day, and no cache may keep it any longer.
    let story = max_age("story_1.webp", "");
    assert!(story < DAY && story > DAY - 300, "{story}");
    for name in ["chat_1.webp", "post_1.webp", "mystory_1.webp"] {
        assert_eq!(max_age(name, ""), DAY, "{name}: cache.max.age");
    }
    assert_eq!(max_age("story_1.webp", &format!("<permanent xmlns='{PURPOSE}'/>")), DAY);
    let soon =
        "<ephemeral xmlns='PURPOSE' expire-before='2999-01-01T00:00:00Z'/>".replace("PURPOSE", PURPOSE);
    assert!(max_age("a.webp", &soon) < DAY, "a later date is cut");
}

#[test]
fn a_gateway_asks_from_its_own_address_and_for_its_users() {
    let settings = [&UPLOADS[..], &[("upload.allow", "example.org absent.example.org")]].concat();
    let site = crate::site::Site::start(&settings);
    let mut gateway = Gateway::connect(site.prosody.component_port(), ABSENT);
    for from in [ABSENT, "user@absent.example.org", "user@absent.example.org/phone"] {
        gateway.send(&format!(
            "<iq type='get' id='1' from='{from}' to='{COMPONENT}'>\
             <request xmlns='{UPLOAD}' filename='a' size='5'/></iq>"
        ));
        let reply = gateway.stanza();
        assert!(reply.child("slot", UPLOAD).is_some(), "{from}: {reply:?}");
        assert_eq!(reply.attribute("to"), from);
    }
}
