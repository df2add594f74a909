//! Slots that the XMPP server hands out itself, whose files are kept here: Prosody's mod_http_file_share, and ejabberd's
//! mod_http_upload.

use std::fs;

use crate::site::{Site, photo, photo_bytes, unique};
use crate::support::ejabberd::Ejabberd;
use crate::support::http::Request;
use crate::support::prosody::{DOMAIN, FILE_SHARE, FILE_SHARE_SECRET, Prosody};
use crate::support::server::Server;
use crate::support::slot::{Slot, ask_for};
use crate::support::wait_for;
use crate::support::xmpp_client::{Client, Policy};

/// A slot for the photo from an upload service that may be about to start.
fn slot(client: &Client) -> Slot {
    let size = photo_bytes().len();
    wait_for("the upload service", || ask_for(client, FILE_SHARE, "a photo.jpg", size, "image/jpeg").ok())
}

/// Uploads the photo by this slot, as the client of the XMPP server does, and reads it again.
fn upload_and_read(slot: &Slot, port: u16) {
    assert!(slot.put.starts_with(&format!("http://127.0.0.1:{port}/external/")), "{}", slot.put);
    slot.request(&photo()).header("Content-Type", "image/jpeg").send().expect(201);
    let read = Request::get(&slot.get).send().expect(200);
    assert_eq!(read.body, photo_bytes());
    assert_eq!(read.header("content-type"), Some("image/jpeg"));
}

#[test]
fn prosody_hands_out_slots_whose_files_are_kept_here() {
    let settings = [("upload.external.secret", FILE_SHARE_SECRET), ("upload.external.protocol", "jwt")];
    let mut site = Site::start_on(Prosody::start(), &settings);
    let port = site.server.port();
    site.prosody.start_again_with_file_share(&format!("http://127.0.0.1:{port}/external/"));
    let user = site.prosody.login(DOMAIN, &unique("user"), Policy::Ignore);
    let given = slot(&user);
    assert_eq!(given.headers.len(), 1, "a token");
    upload_and_read(&given, port);
    // A slot without Prosody's signature is refused, and so is a file of another size.
    let (name, token) = slot(&user).headers.remove(0);
    let other = slot(&user);
    Request::get(&other.put)
        .with(&["-T", &photo().display().to_string()])
        .header(&name, &token)
        .send()
        .expect(403);
    let small = site.server.directory().join("small");
    fs::write(&small, "hello").expect("the scratch directory takes files");
    let refused = other.upload(&small);
    assert!((400..500).contains(&refused.status), "{}", refused.status);
    other.upload(&photo()).expect(201);
}

#[test]
fn ejabberd_hands_out_slots_whose_files_are_kept_here() {
    let settings = [("upload.external.secret", FILE_SHARE_SECRET), ("upload.external.protocol", "v")];
    let mut ejabberd = Ejabberd::start();
    let server = Server::start(ejabberd.xmpp(), &settings);
    ejabberd.start_again_with(&format!(
        "  mod_http_upload:\n    host: {FILE_SHARE}\n    put_url: \"http://127.0.0.1:{}/external\"\n    \
         external_secret: \"{FILE_SHARE_SECRET}\"\n    access: all\n    rm_on_unregister: false\n",
        server.port()
    ));
    let user = ejabberd.login(&format!("{}@{DOMAIN}", unique("user")), Policy::Ignore);
    let given = slot(&user);
    assert!(given.put.contains("?v="), "{}", given.put);
    upload_and_read(&given, server.port());
    let other = slot(&user);
    // No signature ends like this.
    let forged = Slot { put: format!("{}g", &other.put[..other.put.len() - 1]), ..other };
    forged.upload(&photo()).expect(403);
}
