//! Uploads, small and large.

use std::path::PathBuf;
use std::time::Duration;

use crate::component::Component;
use crate::options::Options;
use crate::peers::ejabberd::Ejabberd;
use crate::peers::nginx::Nginx;
use crate::peers::prosody::FileShare;
use crate::process::Tree;
use crate::report::{Goal, Report};
use crate::rounds::{Done, Measured, Side, alternate};
use crate::site::{PUBLIC, Site};
use crate::uploads::{ToNginx, ToNobody, ToSlots, ToUs, Uploader, clear, crowd};

/// Bytes of a small file, of a large one, and of the largest.
const SMALL: u64 = 10 * 1024;
const LARGE: u64 = 8 << 20;
const LARGEST: u64 = 1 << 30;
/// Bytes of each of the largest files where eight are sent at a time: 2 GiB in all.
const LARGEST_OF_MANY: u64 = 256 << 20;
/// The setting that leaves the fsyncs out.
const UNSYNCED: &[(&str, &str)] = &[("media.storage.sync", "off")];
/// The memory limit of an upload: the default of `media.todisk.threshold`, and the buffers beside it.
const HELD_MIB: f64 = 1.0 + 16.0;

/// Uploads as a side of a comparison; what it stored there is removed after each turn. Small files stay: ext4 takes long
/// to create a file where many were removed a moment ago.
fn side<'a, U: Uploader + 'a>(
    name: &'static str,
    server: u32,
    mut uploaders: Vec<U>,
    bytes: u64,
    stored: Option<PathBuf>,
) -> Side<'a> {
    Side::new(name, server, move |time: Duration| -> Done {
        let done = crowd(&mut uploaders, bytes, time);
        stored.iter().for_each(|folder| clear(folder));
        done
    })
}

fn ours(name: &'static str, site: &Site, count: usize, bytes: u64) -> Side<'static> {
    let uploaders = ToUs::several(count, site.server.port(), PUBLIC, site.user.jid());
    let stored = (bytes > SMALL).then(|| site.server.storage().join(PUBLIC));
    side(name, site.server.pid(), uploaders, bytes, stored)
}

/// The confirmation of an upload, without the upload.
fn confirmations<'a>(component: &'a mut Component, jid: &'a str, count: usize) -> Side<'a> {
    let run = move |time: Duration| component.ask(jid, count, time);
    Side { name: "a bare confirmation", servers: Vec::new(), run: Box::new(run) }
}

/// The cost of an upload's `shaChecksum` alone; the other servers have none.
fn hashes(count: usize, bytes: u64) -> Side<'static> {
    let mut uploaders = ToNobody::several(count);
    let run = move |time: Duration| crowd(&mut uploaders, bytes, time);
    Side { name: "SHA-1 alone", servers: Vec::new(), run: Box::new(run) }
}

/// Small files, confirmed, fsynced and committed; the peers' take a slot instead and sync nothing.
pub fn small(options: &Options, report: &mut Report) {
    let (site, unsynced) = (Site::start(&[]), Site::start(UNSYNCED));
    let mut component = Component::connect(site.prosody.component_port());
    let (prosody, ejabberd) = (FileShare::start(), Ejabberd::start());
    for count in [1, 8] {
        let sides = vec![
            ours("media server", &site, count, SMALL),
            ours("itself without fsync", &unsynced, count, SMALL),
            side("Prosody slot + PUT", prosody.pid(), prosody.slots.several(count), SMALL, None),
            side("ejabberd slot + PUT", ejabberd.pid(), ejabberd.slots.several(count), SMALL, None),
            confirmations(&mut component, site.user.jid(), count),
        ];
        let sides = alternate(options.time, sides);
        let case = format!("upload 10 KiB, {count} at a time");
        report.rate(&case, "/s", &sides[0], &sides[2], Goal::AtLeast(1.0));
        report.rate(&case, "/s", &sides[0], &sides[3], Goal::AtLeast(0.7));
        report.p99(&case, &sides[0], &sides[2], Goal::None);
        report.p99(&case, &sides[0], &sides[3], Goal::None);
        report.rate("  the cost of fsync", "/s", &sides[0], &sides[1], Goal::None);
        report.rate("  the cost of the confirmation", "/s", &sides[0], &sides[4], Goal::None);
    }
}

/// Files of 8 MiB.
pub fn large(options: &Options, report: &mut Report) {
    Large::start().compare(options.time, report, "upload 8 MiB", LARGE, 1);
    Large::start().compare(options.time, report, "upload 8 MiB", LARGE, 8);
}

/// Files of 1 GiB, one for each client and round.
pub fn largest(_: &Options, report: &mut Report) {
    let servers = Large::start();
    let idle = servers.idle();
    let sides = servers.compare(Duration::ZERO, report, "upload 1 GiB", LARGEST, 1);
    let above = (sides[0].peak() as f64 - idle as f64) / 1024.0;
    report.value("  its memory above idle", "MiB", above, None, Goal::AtMost(HELD_MIB));
    servers.compare(Duration::ZERO, report, "upload 256 MiB", LARGEST_OF_MANY, 8);
}

/// The servers that take large files.
struct Large {
    site: Site,
    unsynced: Site,
    ejabberd: Ejabberd,
    nginx: Nginx,
}

impl Large {
    fn start() -> Self {
        Self {
            site: Site::start(&[]),
            unsynced: Site::start(UNSYNCED),
            ejabberd: Ejabberd::start(),
            nginx: Nginx::start(),
        }
    }

    /// KiB of the media server's memory.
    fn idle(&self) -> u64 {
        Tree(self.site.server.pid()).memory()
    }

    fn compare(
        &self,
        time: Duration,
        report: &mut Report,
        what: &str,
        bytes: u64,
        count: usize,
    ) -> Vec<Measured> {
        let slots: Vec<ToSlots> = self.ejabberd.slots.several(count);
        let puts = ToNginx::several(count, self.nginx.port());
        let sides = vec![
            ours("media server", &self.site, count, bytes),
            ours("itself without fsync", &self.unsynced, count, bytes),
            side("ejabberd PUT", self.ejabberd.pid(), slots, bytes, Some(self.ejabberd.uploads())),
            side("nginx DAV PUT", self.nginx.pid(), puts, bytes, Some(self.nginx.uploads())),
            hashes(count, bytes),
        ];
        let sides = alternate(time, sides);
        let mib = bytes as f64 / f64::from(1 << 20);
        let rate = |turn: &crate::rounds::Turn| turn.rate * mib;
        for peer in &sides[2..4] {
            let case = format!("{what}, {count} at a time");
            report.compare(&case, "MiB/s", &sides[0], peer, Goal::AtLeast(0.5), rate);
            report.compare("  without fsync", "MiB/s", &sides[1], peer, Goal::AtLeast(1.0), rate);
        }
        report.compare("  that, beside SHA-1", "MiB/s", &sides[1], &sides[4], Goal::None, rate);
        sides
    }
}
