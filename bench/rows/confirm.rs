//! Requests that their sender confirms, and what confirmations alone would cost.

use std::fmt::Write as _;
use std::io::Write;

use crate::component::Component;
use crate::http::Load;
use crate::options::Options;
use crate::report::{Goal, Report};
use crate::rounds::{Side, alternate};
use crate::site::{PRIVATE, Site, file, token};
use crate::support::http::Request;
use crate::support::scratch::Scratch;

/// Bytes of the media.
pub const BYTES: usize = 10 * 1024;

/// Downloads from a private channel, beside the bare stanzas on the same Prosody.
pub fn downloads(options: &Options, report: &mut Report) {
    let site = Site::start(&[]);
    let scratch = Scratch::new();
    let path = site.upload(PRIVATE, &file(&scratch, "file.jpg", BYTES), "image/jpeg");
    Request::get(&site.url(&path[1..])).send().expect(401);
    let mut component = Component::connect(site.prosody.component_port());
    for (count, goal) in [(1, 0.75), (16, 0.85), (128, 0.9)] {
        let mut load = private_load(vec![site.server.port()], site.user.jid(), &path, count);
        let jid = site.user.jid().to_owned();
        let component = &mut component;
        let sides = alternate(
            options.time,
            vec![
                Side::new("media server", site.server.pid(), move |time| load.responses(time)),
                Side {
                    name: "bare stanzas",
                    servers: Vec::new(),
                    run: Box::new(move |time| component.ask(&jid, count, time)),
                },
            ],
        );
        let case = format!("confirmed GET 10 KiB, {count} at a time");
        report.rate(&case, "/s", &sides[0], &sides[1], Goal::AtLeast(goal));
        report.p99(&case, &sides[0], &sides[1], Goal::None);
    }
}

/// Requests of this user, each with a transaction of its own.
pub fn private_load(ports: Vec<u16>, jid: &str, path: &str, connections: usize) -> Load {
    let (path, jid) = (path.to_owned(), jid.to_owned());
    Load {
        ports,
        connections,
        status: 200,
        length: BYTES as u64,
        request: Box::new(move |request| {
            let mut head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
            let _ = write!(head, "Authorization: Basic {}\r\n\r\n", token(&jid));
            request.write_all(head.as_bytes()).expect("vectors take bytes");
        }),
    }
}
