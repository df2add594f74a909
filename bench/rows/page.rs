//! The page of a channel with 100 previews, as a browser loads it on one connection: HTML, style, script, previews. nginx
//! has the same bytes as files.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::http::{head, p99};
use crate::options::Options;
use crate::peers::nginx::Nginx;
use crate::report::{Goal, Report};
use crate::rounds::{Done, Side, alternate};
use crate::site::{PUBLIC, Site};
use crate::support::http::Request;
use crate::support::media::noise;
use crate::support::scratch::Scratch;

/// Previews on the page.
const PREVIEWS: usize = 100;
/// The field `Accept` of a browser.
const ACCEPT: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// A view of the page after the other, from either server.
pub fn views(options: &Options, report: &mut Report) {
    let (site, nginx) = (Site::start(&[]), Nginx::start());
    let picture = noise("picture.jpg", 800, &[]);
    for _ in 0..PREVIEWS {
        site.upload(PUBLIC, picture.path(), "image/jpeg");
    }
    let (scratch, mut copies) = (Scratch::new(), Vec::new());
    let paths = paths(&site);
    for (number, path) in paths.iter().enumerate() {
        let body = Request::get(&site.url(path)).header("Accept", ACCEPT).send().expect(200).body;
        let file = scratch.join(format!("file{number}"));
        std::fs::write(&file, &body).expect("the scratch directory takes files");
        copies.push((nginx.serve(&format!("file{number}"), &file), body.len() as u64));
    }
    let originals =
        paths.iter().zip(&copies).map(|(path, (_, length))| (format!("/{path}"), *length)).collect();
    let [mut ours, mut theirs] =
        [View { port: site.server.port(), files: originals }, View { port: nginx.port(), files: copies }];
    let sides = alternate(
        options.time,
        vec![
            Side::new("media server", site.server.pid(), move |time| ours.run(time)),
            Side::new("nginx", nginx.pid(), move |time| theirs.run(time)),
        ],
    );
    let milliseconds = |turn: &crate::rounds::Turn| 1000.0 / turn.rate;
    report.compare("page of 100 previews", "ms", &sides[0], &sides[1], Goal::AtMost(2.0), milliseconds);
}

/// The paths of the page and of all that it shows, without their first slash.
fn paths(site: &Site) -> Vec<String> {
    let page = format!("{PUBLIC}?max={PREVIEWS}");
    let text = Request::get(&site.url(&page)).header("Accept", ACCEPT).send().expect(200).text();
    let linked = |attribute: &str| -> BTreeSet<String> {
        let values = text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
        values.filter_map(|value| value.strip_prefix("./")).map(|path| path.replace("&amp;", "&")).collect()
    };
    let styles = linked(" href=\"").into_iter().filter(|path| path.contains(".css"));
    let paths: Vec<String> = [page].into_iter().chain(styles).chain(linked(" src=\"")).collect();
    assert_eq!(paths.len(), PREVIEWS + 3, "HTML, style, script and previews");
    paths
}

/// Loads these files again and again.
struct View {
    port: u16,
    /// Their paths and sizes.
    files: Vec<(String, u64)>,
}

impl View {
    /// The unit is a view.
    fn run(&mut self, time: Duration) -> Done {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        socket.set_nodelay(true).expect("TCP has no delay");
        let (begun, mut took, mut buffer) = (Instant::now(), Vec::new(), vec![0; 1 << 20]);
        while begun.elapsed() < time {
            let since = Instant::now();
            for (path, length) in &self.files {
                // nginx ends a connection after its thousandth request.
                if get(&mut socket, path, *length, &mut buffer).is_none() {
                    socket = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
                    get(&mut socket, path, *length, &mut buffer).expect("a new connection serves");
                }
            }
            took.push(since.elapsed());
        }
        Done { units: took.len() as f64, time: begun.elapsed(), p99: p99(took) }
    }
}

/// Loads a file; `None` if the connection has ended.
fn get(socket: &mut TcpStream, path: &str, length: u64, buffer: &mut [u8]) -> Option<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {ACCEPT}\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut filled = 0;
    loop {
        match socket.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return None,
            Ok(count) => filled += count,
        }
        if let Some(head) = head(&buffer[..filled]) {
            assert_eq!((head.status, head.length), (200, length), "{path}");
            if filled as u64 == head.bytes as u64 + length {
                return Some(());
            }
        }
    }
}
