//! The metadata that XMPP clients publish: `Accept: application/xml`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::site::{Site, photo_bytes};
use crate::support::http::Request;

#[test]
fn a_media_is_described_for_messages_and_posts() {
    let site = Site::start(&[("http.endpoint", "http://127.0.0.1:@PORT@")]);
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    let media = site.url(&format!("{channel}/{id}"));
    let metadata = || Request::get(&format!("{media}/metadata"));
    let answer = metadata().header("Accept", "application/xml").send().expect(200);
    assert_eq!(answer.header("content-type"), Some("application/xml; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    let text = answer.text();
    let sha256 = STANDARD.encode(Sha256::digest(photo_bytes()));
    for part in [
        "<file-sharing xmlns=\"urn:xmpp:sfs:0\" disposition=\"inline\">".to_owned(),
        "<media-type>image/jpeg</media-type>".to_owned(),
        "<name>photo.jpg</name>".to_owned(),
        format!("<size>{}</size>", photo_bytes().len()),
        "<width>256</width>\n<height>256</height>".to_owned(),
        format!("algo=\"sha-256\">{sha256}<"),
        "algo=\"sha-1\">".to_owned(),
        format!("target=\"{media}\""),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let thumbnail = text.split("uri=\"").nth(1).and_then(|rest| rest.split('"').next());
    let thumbnail = thumbnail.expect("a picture has one").replace("&amp;", "&");
    Request::get(&thumbnail).send().expect(200);

    // JSON is for all others, and caches know the difference.
    for accept in ["*/*", "text/html,application/xml;q=0.9", "application/json"] {
        let answer = metadata().header("Accept", accept).send().expect(200);
        assert_eq!(answer.member("id"), id, "{accept}");
        assert_eq!(answer.header("vary"), Some("Origin, Accept"), "{accept}");
    }
    // Files from before schema 8 have no SHA-256.
    site.metadata("UPDATE medias SET sha256 = NULL");
    let other = Site::url(&site, &format!("{channel}/{id}/metadata?again"));
    crate::support::wait_for("the row to be read again", || {
        let text = Request::get(&other).header("Accept", "application/xml").send().expect(200).text();
        (!text.contains("sha-256")).then(|| assert!(text.contains("algo=\"sha-1\"")))
    });
}
